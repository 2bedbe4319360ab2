"""Training rows in shards: which rows there are to make, which shard makes them, and what is done.

prompts.jsonl          a TrainingPrompt a line: scenarios, their variations, unrelated requests
plan.json              the RowPlan
shards/00000.json      the counts of a shard whose files are all there
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from prefect_ratify.errors import InputError
from prefect_ratify.finetune.counts import ShardCounts
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, rows_in, shard_name, write_rows
from prefect_ratify.records import Record
from prefect_ratify.store import read_record, write_record
from prefect_ratify.training_rows import Demonstration, PreferencePair, TrainingPrompt

PROMPTS, PLAN, DONE = "prompts.jsonl", "plan.json", "shards"
BLOCK = 1000  # prompts: a shard reads past fewer than so many that are not its own
Way = Literal["compose", "revise", "distil", "own"]


class RowPlace(Record):
    """A row to make: its place among all rows, the place of its prompt, the way, and which sample of it."""

    place: int
    prompt: int
    way: Way
    sample: int


class RowPlan(Record):
    """How many rows there are to make, and of what; `calls` is how many that takes at most.

    The first `prompts` of prompts.jsonl give `answers` rows in each of the `ways`, one prompt after
    another. Then come `retained` rows of own answers to the `unrelated` requests in turn. `blocks`
    are the places in that file, in bytes, where each BLOCK of prompts begins.
    """

    prompts: int
    unrelated: int
    answers: int
    ways: tuple[Way, ...]
    retained: int
    shard_rows: int
    blocks: tuple[int, ...]
    calls: int = 0

    @property
    def rows_a_prompt(self) -> int:
        """How many rows a prompt gives that is not unrelated."""
        return self.answers * len(self.ways)

    @property
    def rows(self) -> int:
        """How many rows are to be made in all."""
        return self.prompts * self.rows_a_prompt + self.retained

    @property
    def shards(self) -> int:
        """How many shards they are made in."""
        return -(-self.rows // self.shard_rows)

    def places(self, shard: int) -> list[RowPlace]:
        """The rows of a shard."""
        first = shard * self.shard_rows
        return [self._row(place) for place in range(first, min(first + self.shard_rows, self.rows))]

    def _row(self, place: int) -> RowPlace:
        prompt, sample = divmod(place, self.rows_a_prompt)
        if prompt < self.prompts:
            # Rows of one prompt have a sample each, whichever way they are made: none shares another's own answer.
            return RowPlace(place=place, prompt=prompt, way=self.ways[sample % len(self.ways)], sample=sample)
        sample, prompt = divmod(place - self.prompts * self.rows_a_prompt, self.unrelated)
        return RowPlace(place=place, prompt=self.prompts + prompt, way="own", sample=sample)


def rows_to_retain(rows: int, unrelated: int, share: float | None) -> int:
    """How many own answers to unrelated requests go with so many rows to be that share of all; None is one each."""
    if not unrelated or share is None:
        return unrelated
    return round(rows * share / (1 - share))


def write_prompts(prompts: Iterable[TrainingPrompt], path: Path) -> tuple[int, ...]:
    """Write prompts as they come, one a line, whole or not at all; returns where each BLOCK of them begins."""
    blocks, place = list[int](), 0
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            for number, prompt in enumerate(prompts):
                if number % BLOCK == 0:
                    blocks.append(place)
                place += file.write(prompt.model_dump_json().encode() + b"\n")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return tuple(blocks)


def read_prompts(path: Path, blocks: Sequence[int], first: int, count: int) -> list[TrainingPrompt]:
    """So many prompts, from the one at `first` (from 0) on."""
    with path.open("rb") as file:
        file.seek(blocks[first // BLOCK])
        lines = islice(file, first % BLOCK, first % BLOCK + count)
        return [TrainingPrompt.model_validate_json(line) for line in lines]


def prompts_of(folder: Path, plan: RowPlan, places: Sequence[RowPlace]) -> list[TrainingPrompt]:
    """The prompt of each row."""
    first, last = (pick(place.prompt for place in places) for pick in (min, max))
    found = read_prompts(folder / PROMPTS, plan.blocks, first, last - first + 1)
    return [found[place.prompt - first] for place in places]


def is_made(folder: Path, number: int) -> bool:
    """Whether a shard is made, and whole."""
    return counts_of(folder, number) is not None


def counts_of(folder: Path, number: int) -> ShardCounts | None:
    """A shard's counts, which are written last; None where they are not there, or its files without those rows."""
    if not _done(folder, number).exists():
        return None
    counts = read_record(_done(folder, number), ShardCounts)
    wanted = {SUPERVISED: counts.demonstrations + counts.retained, PREFERENCES: counts.pairs}
    whole = all(_rows(folder / kind / shard_name(number)) == rows for kind, rows in wanted.items())
    return counts if whole else None


def shard_counts(folder: Path) -> Iterator[ShardCounts]:
    """What became of the rows of each shard that is made."""
    for path in sorted((folder / DONE).glob("*.json")):
        yield read_record(path, ShardCounts)


def write_shard(
    folder: Path, number: int, rows: list[Demonstration], pairs: list[PreferencePair], counts: ShardCounts
) -> None:
    """Write a shard's files; its counts come last, and with them it is made."""
    write_rows(rows, folder / SUPERVISED / shard_name(number))
    if pairs:
        write_rows(pairs, folder / PREFERENCES / shard_name(number))
    write_record(_done(folder, number), counts)


def undo_unanswered(folder: Path) -> None:
    """Shards in which rows were lost for want of an answer are not made: they are another time's to make."""
    for path in sorted((folder / DONE).glob("*.json")):
        if read_record(path, ShardCounts).unanswered:
            path.unlink()


def _rows(path: Path) -> int:
    """How many rows a file holds; -1 where it is damaged."""
    try:
        return rows_in(path) if path.exists() else 0
    except InputError:
        return -1


def _done(folder: Path, number: int) -> Path:
    return folder / DONE / f"{number:05d}.json"
