"""How far principles explain preference pairs: each by itself, and all of them together.

Votes are an array [pairs, principles]: 1 where the principle prefers the chosen response, 0 where it
prefers the rejected one, one half where it prefers neither, NaN where that is undecided. A principle
*bears on* a pair in which it prefers one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Record
from prefect_ratify.scenarios.statistics import CONFIDENCE, Interval, Scores, adjusted, p_value, rate

NEITHER = 0.5
FEWEST = 6  # conversations: of fewer, not even all right are shown to be more than chance
Standing = Literal["explains", "contradicts", "not shown"]


class Explained(Record):
    """A principle and the pairs: those it is right on, wrong on, prefers neither in, and is undecided on.

    `alone` counts the pairs on which it is right and no other principle that explains is. `accuracy` is
    the share of right ones among those that it bears on, over conversations. It *explains* (or
    *contradicts*) the pairs where that differs from chance: `p` is of the test that it is one half,
    adjusted over all principles.
    """

    text: str
    right: int
    wrong: int
    neither: int
    undecided: int
    alone: int
    accuracy: Interval
    p: float | None
    standing: Standing

    @property
    def bears_on(self) -> int:
        return self.right + self.wrong


class Together(Record):
    """What most principles that bear on a pair prefer: right or wrong, or as many either way, or none bears on it."""

    right: int
    wrong: int
    even: int
    none: int
    accuracy: Interval


def explained(votes: Scores, texts: Sequence[str], units: Sequence[str]) -> list[Explained]:
    """How far each principle explains the pairs, in their order.

    After Findeis et al. 2024 (arXiv 2406.06560), steps 4 and 5: a principle is tested by how often it
    gives back the preference in pairs that it bears on, and those that do not are filtered out. There a
    threshold filters; here the paired permutation test against one half over conversations (`units`, one
    a pair), with Benjamini and Hochberg's adjustment (1995) over all principles.
    """
    scores = [_by_unit(_preferred(votes[:, column]), units) for column in range(len(texts))]
    accuracies = [rate(each) for each in scores]
    p_values = adjusted([p_value(np.full(len(each), NEITHER), each) for each in scores])
    standings = [_standing(*both) for both in zip(accuracies, p_values, strict=True)]
    alone = _alone(votes, [standing == "explains" for standing in standings])
    return [
        Explained(
            text=text,
            right=int((votes[:, column] == 1).sum()),
            wrong=int((votes[:, column] == 0).sum()),
            neither=int((votes[:, column] == NEITHER).sum()),
            undecided=int(np.isnan(votes[:, column]).sum()),
            alone=int(alone[column]),
            accuracy=accuracies[column],
            p=None if p_values[column] is None else round(float(p_values[column] or 0.0), 6),
            standing=standings[column],
        )
        for column, text in enumerate(texts)
    ]


def ranked(found: Sequence[Explained]) -> list[int]:
    """The places of principles: those that explain first, each by how many more pairs it is right on than wrong."""
    return sorted(
        range(len(found)),
        key=lambda place: (found[place].standing != "explains", found[place].wrong - found[place].right, place),
    )


def together(votes: Scores, units: Sequence[str]) -> Together:
    """How far several principles give back the preferences, each having one vote where it bears on a pair.

    Findeis et al. show a model the whole constitution; a majority of its principles needs no more calls,
    and anybody can check it.
    """
    preferred = np.stack([_preferred(column) for column in votes.T], axis=1) if votes.shape[1] else votes
    margin = np.nansum(2 * preferred - 1, axis=1)
    heard = (~np.isnan(preferred)).any(axis=1)
    decided = np.where(margin == 0, np.nan, (margin > 0).astype(np.float64))
    return Together(
        right=int((margin > 0).sum()),
        wrong=int((margin < 0).sum()),
        even=int((heard & (margin == 0)).sum()),
        none=int((~heard).sum()),
        accuracy=rate(_by_unit(decided, units)),
    )


def agreement(first: Scores, second: Scores) -> tuple[int, int]:
    """In how many pairs two principles prefer the same response, and in how many both prefer one; [pairs] each."""
    a, b = _preferred(first), _preferred(second)
    both = ~np.isnan(a) & ~np.isnan(b)
    return int((a[both] == b[both]).sum()), int(both.sum())


def _preferred(votes: Scores) -> Scores:
    """1 and 0 where a principle prefers a response, NaN elsewhere."""
    return np.where(votes == NEITHER, np.nan, votes)


def _by_unit(scores: Scores, units: Sequence[str]) -> Scores:
    """The mean score of each conversation; NaN where none of its pairs has one."""
    if not len(scores):
        return scores
    _, places = np.unique(np.asarray(units), return_inverse=True)
    there = ~np.isnan(scores)
    counts = np.bincount(places, there)
    sums = np.bincount(places, np.where(there, scores, 0.0))
    means: Scores = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


def _standing(accuracy: Interval, p: float | None) -> Standing:
    if p is None or accuracy.value is None or p >= 1 - CONFIDENCE:
        return "not shown"
    return "explains" if accuracy.value > NEITHER else "contradicts"


def _alone(votes: Scores, explains: Sequence[bool]) -> NDArray[np.intp]:
    """On how many pairs each principle is right where no other is that explains, [principles]."""
    right = votes == 1
    counted = right & np.array(explains, dtype=bool)
    others = counted.sum(axis=1, keepdims=True) - counted
    alone: NDArray[np.intp] = (right & (others == 0)).sum(axis=0)
    return alone
