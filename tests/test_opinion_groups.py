"""Opinion groups: hand-worked places and silhouettes, planted groups found, and the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.scenarios.opinion_groups import (
    NOBODY,
    Matrix,
    adjusted_rand_index,
    has_voted_enough,
    k_means,
    largest_first,
    opinion_groups,
    positions,
    share_together,
    silhouette,
)

NAN = np.nan


def planted(groups: int, people: int, statements: int, seed: int) -> tuple[Matrix, np.ndarray[tuple[int], np.dtype]]:
    """Votes by which people of a group agree with their own statements nine times in ten, half of them missing."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, groups, people)
    minds = random.choice([-1, 1], size=(groups, statements))
    votes = minds[truth] * np.where(random.random((people, statements)) < 0.9, 1, -1)
    return np.where(random.random((people, statements)) < 0.5, votes, NAN).astype(np.float32), truth


def test_places_worked_by_hand() -> None:
    # Means 0 and 0; the first axis is (1, 1)/√2. Who voted on one of two statements is scaled by √2.
    votes = np.array([[1, 1], [-1, -1], [1, NAN], [-1, NAN]], dtype=np.float32)
    plane = positions(votes)
    angle = np.arctan2(2 * 2, 4 - 2) / 2  # of the covariance [[4, 2], [2, 2]]
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = np.array([[1, 1], [-1, -1], [np.sqrt(2), 0], [-np.sqrt(2), 0]]) @ axes
    # The axes come in order of their size, the larger last; their signs are free.
    np.testing.assert_allclose(np.abs(plane[:, ::-1]), np.abs(expected), atol=1e-8)


def test_a_missing_vote_is_the_statement_s_mean() -> None:
    votes = np.array([[1], [1], [-1], [NAN]], dtype=np.float32)
    np.testing.assert_allclose(np.abs(positions(votes)[:, 0]), [2 / 3, 2 / 3, 4 / 3, 0], atol=1e-8)


def test_silhouette_worked_by_hand() -> None:
    points = np.array([[0.0, 0], [1, 0], [4, 0]])
    # Clusters {0, 1} and {4}: a = 1, b = 4: 3/4; a = 1, b = 3: 2/3; alone: 0.
    assert silhouette(points, np.ones(3), np.array([0, 0, 1])) == pytest.approx((3 / 4 + 2 / 3) / 3)
    # Two people on each spot: a = (0 + 2·1)/3, b = 4: 5/6; b = 3: 7/9; who stands with another: 1.
    expected = (5 / 6 + 7 / 9 + 1) / 3
    assert silhouette(points, np.full(3, 2.0), np.array([0, 0, 1])) == pytest.approx(expected)


def test_weights_stand_for_people_on_one_spot() -> None:
    points = np.array([[0.0, 0], [1, 0], [5, 0], [6, 1]])
    weights, labels = np.array([3.0, 1, 2, 2]), np.array([0, 0, 1, 1])
    each = np.repeat(np.arange(4), weights.astype(int))
    assert silhouette(points, weights, labels) == pytest.approx(silhouette(points[each], np.ones(8), labels[each]))
    np.testing.assert_array_equal(k_means(points, weights, 2)[each], k_means(points[each], np.ones(8), 2))


def test_k_means_has_no_more_clusters_than_spots() -> None:
    points = np.array([[0.0, 0], [0, 0], [1, 1]])
    assert k_means(points, np.ones(3), 5).tolist() == [0, 0, 1]


@pytest.mark.parametrize("groups", [2, 3])
def test_planted_groups_are_found(groups: int) -> None:
    votes, truth = planted(groups, 300, 60, seed=groups)
    found = opinion_groups(votes)
    assert len(found.sizes) == groups
    assert adjusted_rand_index(found.labels, truth) > 0.95
    assert list(found.sizes) == sorted(found.sizes, reverse=True)


def test_so_many_groups_as_are_asked_for() -> None:
    votes, _ = planted(3, 300, 60, seed=3)
    assert len(opinion_groups(votes, 2).sizes) == 2


def test_all_of_one_mind_are_one_group_however_many_are_asked_for() -> None:
    votes = np.ones((30, 5), dtype=np.float32)
    assert opinion_groups(votes).sizes == (30,)
    assert opinion_groups(votes, 4).sizes == (30,)


def test_two_minds_are_two_groups() -> None:
    votes = np.array([[1, -1]] * 6 + [[-1, 1]] * 4, dtype=np.float32)
    found = opinion_groups(votes)
    assert found.labels.tolist() == [0] * 6 + [1] * 4 and found.silhouettes == {2: 1.0}


def test_who_has_voted_too_little_is_in_no_group() -> None:
    votes = np.full((40, 20), NAN, dtype=np.float32)
    votes[:20, :7], votes[20:39, :6] = 1, 1
    assert has_voted_enough(votes).tolist() == [True] * 20 + [False] * 20
    assert (opinion_groups(votes).labels[20:] == NOBODY).all()
    few = votes[10:]  # ten with seven votes, nineteen with six: those come in, who has none never
    assert has_voted_enough(few).tolist() == [True] * 29 + [False]


def test_one_person_is_a_group() -> None:
    assert opinion_groups(np.array([[1, 0, -1]], dtype=np.float32)).sizes == (1,)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 3), st.integers(0, 10_000))
def test_order_does_not_matter(groups: int, seed: int) -> None:
    votes, _ = planted(groups, 80, 20, seed)
    random = np.random.default_rng(seed)
    rows, columns = random.permutation(80), random.permutation(20)
    found, mixed = opinion_groups(votes), opinion_groups(votes[rows][:, columns])
    assert mixed.silhouettes == pytest.approx(found.silhouettes, abs=1e-3)
    assert adjusted_rand_index(mixed.labels, found.labels[rows]) == pytest.approx(1)


def test_groups_are_numbered_by_size() -> None:
    assert largest_first(np.array([5, 3, 3, NOBODY, 3, 5])).tolist() == [1, 0, 0, NOBODY, 0, 1]
    assert largest_first(np.array([2, 1])).tolist() == [0, 1]


def test_agreement_of_groupings_worked_by_hand() -> None:
    one, other = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    # Pairs together in both: 1 + 1 = 2; in one 3 + 3 = 6, in the other 3, of 15: chance 18/15.
    assert adjusted_rand_index(one, other) == pytest.approx((2 - 1.2) / (4.5 - 1.2))
    assert adjusted_rand_index(one, 1 - one) == 1
    assert share_together(one, 1 - one) == 1
    assert share_together(one, other) == pytest.approx(4 / 6)
    assert share_together(np.array([0, NOBODY, 1]), np.array([0, 0, 1])) == 1
