"""Which prompts decode together, and which rows move when others finish: no tensors here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefect_ratify.records import Sampling

STEP_COST = 25  # reading so many prompt tokens takes as long as one step of a small batch (measured)


@dataclass(frozen=True)
class Prompt:
    """What to continue: token ids of the whole prompt, and how to sample (`seed` included)."""

    tokens: tuple[int, ...]
    sampling: Sampling
    seed: int


def batches(prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[int]]:
    """Prompts with long common beginnings together.

    One stranger in a batch would make every row read again what the others share. A batch
    ends early where that costs more than the steps of a batch of its own.
    """
    order = sorted(range(len(prompts)), key=lambda i: (prompts[i].sampling.max_tokens, prompts[i].tokens))
    batch: list[int] = []
    shared = 0
    for index in order:
        tokens = prompts[index].tokens
        common = common_length([prompts[batch[0]].tokens, tokens]) if batch else 0
        reread = len(batch) * (shared - common)
        if len(batch) == batch_size or reread > STEP_COST * prompts[index].sampling.max_tokens:
            yield batch
            batch = []
        shared = min(shared, common) if batch else len(tokens)
        batch.append(index)
    if batch:
        yield batch


def closed_ranks(keep: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """The order of the kept places after the last ones have moved into the holes; holes; movers."""
    count = len(keep)
    movers = [place for place in keep if place >= count]
    staying = set(keep)
    holes = [place for place in range(count) if place not in staying]
    order = list(range(count))
    for hole, mover in zip(holes, movers, strict=True):
        order[hole] = mover
    return order, holes, movers


def common_length(distinct: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all prompts share, leaving at least one token to each."""
    first, last = distinct[0], distinct[-1]  # sorted, so these two differ the earliest
    limit = min(len(tokens) for tokens in distinct) - 1
    return next((i for i in range(limit) if first[i] != last[i]), limit)
