"""Consensus: how many of each opinion group agree with a statement, and on which statements groups differ.

Group-aware consensus (Small et al. 2021, Polis, the section on consensus; Huang et al. 2024,
Collective Constitutional AI, arXiv 2406.07814, section 3, rank by it) is the product over groups of
(agrees + 1) / (votes + 2): a statement comes high only if it does in every group, and a vote more or
less counts little where there are many. A pass is a vote that does not agree.

The groups were found by the same votes, so that they differ somewhere is no wonder: the intervals say on
what they differ and by how much, not whether there are such groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Record
from prefect_ratify.scenarios.opinion_groups import NOBODY, Labels, Matrix
from prefect_ratify.scenarios.statistics import wilson

# consensus: more than half of every group agree. contested: more than half of one, less than half of
# another, and their intervals lie apart. minority: at most half of every group. unclear: the rest,
# where there are too few votes to say that groups differ.
Standing = Literal["consensus", "contested", "unclear", "minority"]
Counts = NDArray[np.int64]


class Support(Record):
    """Votes on a statement; `low` and `high` are Wilson's 95 % interval of the share that agrees."""

    agrees: int
    disagrees: int
    passes: int
    low: float
    high: float

    @property
    def votes(self) -> int:
        return self.agrees + self.disagrees + self.passes

    @property
    def share(self) -> float | None:
        """The share of voters who agree; None without a vote."""
        return self.agrees / self.votes if self.votes else None


class Opinion(Record):
    """What people say to a statement: all voters (also those in no group), and each opinion group."""

    everyone: Support
    groups: tuple[Support, ...]
    consensus: float
    standing: Standing

    @property
    def gap(self) -> float:
        """How far the groups are apart: the largest share that agrees less the smallest."""
        shares = [group.share for group in self.groups if group.share is not None]
        return max(shares, default=0.0) - min(shares, default=0.0)


@dataclass(frozen=True)
class Tally:
    """Counts of votes, each `[groups, statements]`."""

    agrees: Counts
    disagrees: Counts
    passes: Counts

    @property
    def votes(self) -> Counts:
        counted: Counts = self.agrees + self.disagrees + self.passes
        return counted


def opinions(votes: Matrix, labels: Labels) -> list[Opinion]:
    """Each statement's opinion, in the order of the columns of `votes` `[people, statements]`."""
    count = int(labels.max(initial=NOBODY)) + 1
    by_group, all_of_them = tally(votes, labels, count), tally(votes, np.zeros(len(votes), dtype=np.intp), 1)
    groups, everyone = _supports(by_group), _supports(all_of_them)
    consensus = group_aware_consensus(by_group)
    return [
        Opinion(everyone=whole[0], groups=tuple(parts), consensus=float(value), standing=standing(parts))
        for whole, parts, value in zip(everyone, groups, consensus, strict=True)
    ]


def tally(votes: Matrix, labels: Labels, groups: int) -> Tally:
    """Count the votes of each group; people in no group are not counted."""
    member = (labels == np.arange(groups)[:, np.newaxis]).astype(np.float32)  # exact up to 16 million people
    counted = [(member @ (votes == vote).astype(np.float32)).astype(np.int64) for vote in (1, -1, 0)]
    return Tally(*counted)


def group_aware_consensus(counts: Tally) -> NDArray[np.float64]:
    """The consensus of each statement, within (0, 1)."""
    product: NDArray[np.float64] = np.prod((counts.agrees + 1) / (counts.votes + 2), axis=0)
    return product


def standing(groups: list[Support]) -> Standing:
    """Where a statement stands between the groups; a group without a vote leaves it unclear."""
    shares = [group.share for group in groups]
    known = [share for share in shares if share is not None]
    above = [group for group in groups if group.share is not None and group.share > 0.5]
    below = [group for group in groups if group.share is not None and group.share < 0.5]
    if any(high.low > low.high for high in above for low in below):
        return "contested"
    if len(known) < len(shares) or not known:
        return "unclear"
    if len(above) == len(groups):
        return "consensus"
    return "unclear" if above else "minority"


def _supports(counts: Tally) -> list[list[Support]]:
    """By statement, the support in each group."""
    low, high = agreement(counts)
    return [
        [
            Support(
                agrees=int(counts.agrees[group, statement]),
                disagrees=int(counts.disagrees[group, statement]),
                passes=int(counts.passes[group, statement]),
                low=round(float(low[group, statement]), 4),
                high=round(float(high[group, statement]), 4),
            )
            for group in range(counts.agrees.shape[0])
        ]
        for statement in range(counts.agrees.shape[1])
    ]


def agreement(counts: Tally) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's 95 % interval of the share that agrees, `[groups, statements]`; 0 to 1 where nobody has voted."""
    votes = np.maximum(counts.votes, 1)
    low, high = wilson(counts.agrees / votes, votes)
    return np.where(counts.votes > 0, low, 0.0), np.where(counts.votes > 0, high, 1.0)
