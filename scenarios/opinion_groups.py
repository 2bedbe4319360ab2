"""Opinion groups: who votes alike, found as Polis finds it.

Small, Bjorkegren, Erkkilä, Shaw and Megill 2021 (Polis: Scaling deliberation by mapping high
dimensional opinion spaces, Recerca 26(2), the section on its algorithms); what the paper leaves
open is as in Polis' own software. People are put on a plane by principal components, gathered in up to a
hundred base clusters, and these in two to five groups, as many as the silhouette says.

A plane has room for two ways of differing: of more than three groups that have nothing in common, some
fall together on it.

Nothing is drawn at random, and nothing depends on the order of people or statements (but for
rounding). What differs from Polis: it starts from the groups that it found before; here k-means
starts from the parts of Su and Dy 2007 (In search of deterministic methods for initializing K-means
and Gaussian mixture clustering, Intelligent Data Analysis 11(4), section 3.2, Var-Part).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]  # [people, statements]: 1, 0, −1, or NaN for no vote
Points = NDArray[np.float64]  # [points, 2]
Labels = NDArray[np.intp]  # [people]: a group's number, or NOBODY
NOBODY = -1
FEWEST_VOTES = 7  # of a person who is put in a group
FEWEST_PEOPLE = 15  # where fewer have so many votes, those with most votes come in
BASES = 100
MOST_GROUPS = 5
BASES_A_GROUP = 12  # a third group needs that many base clusters, a fourth twice as many …
STEPS = 100
_EXACT = 9  # decimals of a place on the plane that are not rounding


@dataclass(frozen=True)
class OpinionGroups:
    """The group of each person, 0 for the largest; NOBODY for who has voted too little.

    `silhouettes` are those of each number of groups that was tried; empty where all vote alike.
    """

    labels: Labels
    silhouettes: dict[int, float]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many people are in each group."""
        return tuple(np.bincount(self.labels[self.labels != NOBODY]).tolist())


def opinion_groups(votes: Matrix, k: int = 0) -> OpinionGroups:
    """Put people in `k` groups by their votes, or in as many as the silhouette says; one of them has to have voted.

    There are fewer than `k` where people stand on fewer spots.
    """
    included = has_voted_enough(votes)
    base, centres, weights = _base_clusters(positions(votes)[included])
    sizes = range(2, min(MOST_GROUPS, 2 + len(centres) // BASES_A_GROUP, len(centres)) + 1)
    tried = {size: k_means(centres, weights, size) for size in {*sizes, k or 2}}
    silhouettes = {size: round(silhouette(centres, weights, tried[size]), 4) for size in sizes}
    best = k or max(silhouettes, key=lambda size: (silhouettes[size], -size), default=2)
    labels = np.full(len(votes), NOBODY, dtype=np.intp)
    labels[included] = tried[best][base]
    return OpinionGroups(largest_first(labels), silhouettes)


def has_voted_enough(votes: Matrix) -> NDArray[np.bool_]:
    """Who is put in a group: whoever voted on seven statements or all, and fifteen people if there are."""
    counts = (~np.isnan(votes)).sum(axis=1)
    enough: NDArray[np.bool_] = counts >= max(1, min(FEWEST_VOTES, votes.shape[1]))
    if enough.sum() < FEWEST_PEOPLE:
        last = np.sort(counts)[::-1][:FEWEST_PEOPLE][-1]  # all who have as many come in, in any order
        enough |= counts >= max(1, last)
    return enough


def positions(votes: Matrix) -> Points:
    """People on the plane of the first two principal components, `[people, 2]`.

    A missing vote counts as its statement's mean, which draws who has voted little to the middle;
    so each place is scaled by the root of statements / votes cast.
    """
    from scipy.linalg import eigh

    voted = ~np.isnan(votes)
    means = np.where(voted, votes, 0.0).sum(axis=0) / np.maximum(voted.sum(axis=0), 1)
    centred = np.where(voted, votes - means, 0.0)
    size = votes.shape[1]
    _, vectors = eigh(centred.T @ centred, subset_by_index=[max(0, size - 2), size - 1])
    placed = centred @ vectors * np.sqrt(size / np.maximum(voted.sum(axis=1), 1))[:, np.newaxis]
    plane: Points = np.round(np.pad(placed, ((0, 0), (0, 2 - placed.shape[1]))), _EXACT)
    return plane


def _base_clusters(points: Points) -> tuple[Labels, Points, Points]:
    """The base cluster of each point, and the clusters' centres and numbers of people."""
    labels = k_means(points, np.ones(len(points)), BASES)
    weights = np.bincount(labels).astype(np.float64)
    return labels, _centres(points, np.ones(len(points)), labels), weights


def k_means(points: Points, weights: NDArray[np.float64], k: int) -> Labels:
    """Lloyd's algorithm on weighted points: the cluster of each. There may be fewer than `k`, none is empty."""
    from scipy.spatial.distance import cdist

    centres, labels = _starts(points, weights, k), np.full(len(points), NOBODY, dtype=np.intp)
    for _ in range(STEPS):
        nearest = cdist(points, centres, "sqeuclidean").argmin(axis=1)
        _, nearest = np.unique(nearest, return_inverse=True)
        if (nearest == labels).all():
            break
        labels, centres = nearest, _centres(points, weights, nearest)
    return labels


def _starts(points: Points, weights: NDArray[np.float64], k: int) -> Points:
    """Where the clusters begin: the part that is spread most is cut at its mean, along its longer side."""
    parts = [np.arange(len(points))]
    spreads = [_spread(points, weights)]
    while len(parts) < k:
        widest = int(np.argmax([spread.sum() for spread in spreads]))
        axis = int(spreads[widest].argmax())
        part = parts[widest]
        line = np.average(points[part, axis], weights=weights[part])
        above = points[part, axis] > line + 10**-_EXACT
        if not above.any():
            break  # all that is left stands on one spot
        parts[widest : widest + 1] = [part[~above], part[above]]
        spreads[widest : widest + 1] = [_spread(points[p], weights[p]) for p in (part[~above], part[above])]
    return np.array([np.average(points[part], axis=0, weights=weights[part]) for part in parts])


def _spread(points: Points, weights: NDArray[np.float64]) -> Points:
    """The sum of squares around the mean, along each axis."""
    mean = np.average(points, axis=0, weights=weights)
    squares: Points = weights @ (points - mean) ** 2
    return squares


def _centres(points: Points, weights: NDArray[np.float64], labels: Labels) -> Points:
    sums = [np.bincount(labels, weights * points[:, axis]) for axis in range(points.shape[1])]
    centres: Points = np.stack(sums, axis=1) / np.bincount(labels, weights)[:, np.newaxis]
    return centres


def silhouette(points: Points, weights: NDArray[np.float64], labels: Labels) -> float:
    """The mean silhouette (Rousseeuw 1987, section 2) of people, of whom `weights` stand on each point.

    It is how much nearer people are to their own cluster than to the next, from −1 to 1; 0 for who
    is alone in a cluster. With a hundred base clusters it takes as long for any number of people.
    """
    from scipy.spatial.distance import cdist

    count = int(labels.max()) + 1
    people = np.bincount(labels, weights, minlength=count)
    member = labels[:, np.newaxis] == np.arange(count)
    sums = cdist(points, points) @ (member * weights[:, np.newaxis])
    own = sums[member] / np.maximum(people[labels] - 1, 1)
    others = np.where(member, np.inf, sums / people).min(axis=1)
    most = np.maximum(own, others)
    scores = np.where((people[labels] > 1) & (most > 0), (others - own) / np.where(most > 0, most, 1), 0.0)
    return float(np.average(scores, weights=weights))


def largest_first(labels: Labels) -> Labels:
    """The same groups, numbered by size; of those as large the one of whom comes first in the list is first."""
    there = labels != NOBODY
    _, first, group, sizes = np.unique(labels[there], return_index=True, return_inverse=True, return_counts=True)
    rank = np.lexsort((first, -sizes)).argsort()
    renamed = np.full(len(labels), NOBODY, dtype=np.intp)
    renamed[there] = rank[group]
    return renamed


def adjusted_rand_index(one: Labels, other: Labels) -> float:
    """How far two groupings of the same people agree: 1 for the same, about 0 for chance.

    Hubert and Arabie 1985 (Comparing partitions, Journal of Classification 2, equation 5), over the people
    who are in a group of both; 1 where both have all of them in one.
    """
    pairs = _shared(one, other)
    both, rows, columns, total = (
        float((n * (n - 1) / 2).sum()) for n in (pairs, pairs.sum(axis=1), pairs.sum(axis=0), pairs.sum())
    )
    chance = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return (both - chance) / (most - chance) if most != chance else 1.0


def share_together(one: Labels, other: Labels) -> float:
    """The share of people in the same group of both, each group taken for the one that makes it most."""
    from scipy.optimize import linear_sum_assignment

    pairs = _shared(one, other)
    return float(pairs[linear_sum_assignment(pairs, maximize=True)].sum() / max(1, pairs.sum()))


def _shared(one: Labels, other: Labels) -> NDArray[np.int64]:
    """How many people each group of one has in common with each of the other."""
    both = (one != NOBODY) & (other != NOBODY)
    shared = np.zeros((int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(shared, (one[both], other[both]), 1)
    return shared
