"""Consensus: worked by hand, bounded, and the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.scenarios.consensus import (
    Support,
    Tally,
    agreement,
    group_aware_consensus,
    opinions,
    standing,
    tally,
)

NAN = np.nan
VOTE = st.sampled_from([1.0, 0.0, -1.0, NAN])


def support(agrees: int, votes: int) -> Support:
    low, high = agreement(Tally(*np.array([[[agrees]], [[votes - agrees]], [[0]]])))
    return Support(agrees=agrees, disagrees=votes - agrees, passes=0, low=float(low[0, 0]), high=float(high[0, 0]))


def test_counts_and_consensus_worked_by_hand() -> None:
    #                 group 0               group 1          none
    votes = np.array([[1, 1], [1, NAN], [0, -1], [1, 0], [-1, NAN], [1, 1]], dtype=np.float32)
    labels = np.array([0, 0, 0, 1, 1, -1])
    counts = tally(votes, labels, 2)
    assert counts.agrees.tolist() == [[2, 1], [1, 0]]
    assert counts.disagrees.tolist() == [[0, 1], [1, 0]]
    assert counts.passes.tolist() == [[1, 0], [0, 1]]
    # (2+1)/(3+2) · (1+1)/(2+2) = 0.3, and (1+1)/(2+2) · (0+1)/(1+2) = 1/6
    np.testing.assert_allclose(group_aware_consensus(counts), [0.3, 1 / 6])
    first = opinions(votes, labels)[0]
    assert (first.everyone.agrees, first.everyone.votes) == (4, 6)  # who is in no group counts here alone


def test_wilson_s_interval_worked_by_hand() -> None:
    # 8 of 10: middle (0.8 + 3.8415/20) / (1 + 0.38415) = 0.71675, reach 0.22642 (z² = 3.8415)
    low, high = agreement(Tally(*np.array([[[8, 0]], [[1, 0]], [[1, 0]]])))
    np.testing.assert_allclose(low, [[0.4902, 0.0]], atol=1e-4)
    np.testing.assert_allclose(high, [[0.9433, 1.0]], atol=1e-4)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([(90, 100), (80, 100)], "consensus"),
        ([(90, 100), (20, 100)], "contested"),
        ([(90, 100), (45, 100)], "contested"),
        ([(3, 5), (2, 5)], "unclear"),  # they differ, but the intervals overlap
        ([(90, 100), (50, 100)], "unclear"),  # half is not less than half
        ([(40, 100), (50, 100)], "minority"),
        ([(90, 100), (0, 0)], "unclear"),
        ([(1, 100), (0, 0)], "unclear"),
        ([(90, 100), (0, 0), (20, 100)], "contested"),
        ([(0, 0), (0, 0)], "unclear"),
        ([(60, 100)], "consensus"),
    ],
)
def test_where_a_statement_stands(groups: list[tuple[int, int]], expected: str) -> None:
    assert standing([support(*group) for group in groups]) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_consensus_is_within_its_bounds_and_the_same_in_any_order(data: st.DataObject) -> None:
    people, statements = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 5))
    cells = data.draw(st.lists(VOTE, min_size=people * statements, max_size=people * statements))
    votes = np.array(cells, dtype=np.float32).reshape(people, statements)
    labels = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=people, max_size=people)))
    found = group_aware_consensus(tally(votes, labels, 3))
    assert ((found > 0) & (found < 1)).all()
    rows, columns = data.draw(st.permutations(range(people))), data.draw(st.permutations(range(statements)))
    mixed = group_aware_consensus(tally(votes[rows][:, columns], labels[rows], 3))
    np.testing.assert_array_equal(mixed, found[columns])
    swapped = tally(votes, np.where(labels < 0, labels, 2 - labels), 3)  # the groups' numbers do not matter
    np.testing.assert_allclose(group_aware_consensus(swapped), found)
