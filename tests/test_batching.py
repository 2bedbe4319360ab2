"""Prompts are batched whole, each once, and rows that stay keep their places where they can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.batching import Prompt, batches, closed_ranks, common_length
from prefect_ratify.records import Sampling


def test_common_beginnings_leave_every_prompt_a_token() -> None:
    assert common_length([(1, 2, 3)]) == 2
    assert common_length([(1, 2, 3), (1, 2, 4)]) == 2
    assert common_length([(1, 2), (1, 2, 4)]) == 1
    assert common_length([(1, 5), (2, 5)]) == 0


def test_prompts_with_another_long_beginning_get_their_own_batch() -> None:
    sampling = Sampling(max_tokens=40)
    first = [Prompt((*range(300), 1000 + i), sampling, i) for i in range(20)]
    second = [Prompt((*range(500, 800), 1000 + i), sampling, i) for i in range(20)]
    found = [set(batch) for batch in batches(first + second, 128)]
    assert found == [set(range(20)), set(range(20, 40))]


def test_every_prompt_is_in_exactly_one_batch() -> None:
    prompts = [Prompt((i % 7, i % 3, i), Sampling(max_tokens=8 + i % 2), i) for i in range(300)]
    seen = [index for batch in batches(prompts, 64) for index in batch]
    assert sorted(seen) == list(range(300))


@given(st.sets(st.integers(0, 40)))
def test_closing_ranks_keeps_every_kept_row_once_and_moves_only_the_last(keep: set[int]) -> None:
    order, holes, movers = closed_ranks(sorted(keep))
    assert sorted(order) == sorted(keep)
    assert len(holes) == len(movers) and all(
        mover >= len(keep) > hole for hole, mover in zip(holes, movers, strict=True)
    )
    assert all(order[place] == place for place in range(len(keep)) if place not in holes)
