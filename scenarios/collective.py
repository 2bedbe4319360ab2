"""What many votes come to: opinion groups, what each says to each statement, and how that fits the file.

The statements that moderators rejected are left out from the start. Those that they did not look at
stay: under strict moderation such a statement was shown to nobody, and without votes of every group
its consensus is low; under any other it was voted on like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from prefect_ratify.errors import InputError
from prefect_ratify.records import Record
from prefect_ratify.scenarios.consensus import Opinion, Standing, Support, opinions, tally
from prefect_ratify.scenarios.opinion_groups import (
    NOBODY,
    Labels,
    OpinionGroups,
    adjusted_rand_index,
    largest_first,
    opinion_groups,
    share_together,
)
from prefect_ratify.scenarios.statements import merged
from prefect_ratify.scenarios.votes import REJECTED, Statement, Votes

OF_THE_FILE = "file"


class Fit(Record):
    """How the groups agree with those that the file names: the share of people in the same one, and Rand's index.

    `by_number` is the index where the file's groups, in the order of its rows, are given to people in
    the order of their numbers; None where that is the same order. `published` is by how much at most
    the file's own figures of agreement differ from agrees / votes in its own groups.
    """

    groups: int
    together: float
    rand: float
    by_number: float | None = None
    published: float | None = None


@dataclass(frozen=True)
class Rated:
    """A statement and what people say to it."""

    statement: Statement
    opinion: Opinion


@dataclass(frozen=True)
class Collective:
    """A conversation's result: `rated` are its statements, the highest group-aware consensus first."""

    votes: Votes
    groups: OpinionGroups
    rated: tuple[Rated, ...]
    rejected: int
    fit: Fit | None


def collective(conversation: Votes, groups: str = "") -> Collective:
    """Group the people and rate the statements of a conversation.

    `groups` is a number of groups, or `file` for those that the file names; otherwise there are as many as
    the file names, since Polis found that number by the silhouette too, or else as the silhouette says.
    InputError where nobody has voted on anything that was not rejected.
    """
    kept = np.array([statement.moderated != REJECTED for statement in conversation.statements])
    if not kept.any() or np.isnan(conversation.matrix[:, kept]).all():
        raise InputError("nobody voted on a statement that the moderators did not reject")
    votes = merged(conversation.only(kept))
    theirs = _named_groups(votes)
    found = _grouped(votes, groups, theirs)
    rated = [Rated(*pair) for pair in zip(votes.statements, opinions(votes.matrix, found.labels), strict=True)]
    rated.sort(key=lambda each: (-each.opinion.consensus, each.statement.id))
    fit = _fit(conversation, found.labels, theirs) if (theirs != NOBODY).any() else None
    return Collective(votes, found, tuple(rated), int((~kept).sum()), fit)


def _named_groups(votes: Votes) -> Labels:
    """The groups that the file names, the largest first."""
    numbers = {name: number for number, name in enumerate(sorted(set(votes.groups) - {""}))}
    labels = np.array([numbers.get(name, NOBODY) for name in votes.groups], dtype=np.intp)
    return largest_first(labels) if numbers else labels


def _grouped(votes: Votes, groups: str, theirs: Labels) -> OpinionGroups:
    named = int(theirs.max(initial=NOBODY)) + 1
    if groups == OF_THE_FILE:
        if not named:
            raise InputError("the file names no group of anybody", "leave out --groups file: they are found here")
        return OpinionGroups(theirs, {})
    return opinion_groups(votes.matrix, int(groups) if groups else named if named > 1 else 0)


def _fit(conversation: Votes, ours: Labels, theirs: Labels) -> Fit:
    return Fit(
        groups=int(theirs.max()) + 1,
        together=round(share_together(ours, theirs), 4),
        rand=round(adjusted_rand_index(ours, theirs), 4),
        by_number=_rand_by_number(conversation.people, ours, theirs),
        published=_published(conversation),
    )


def _rand_by_number(people: tuple[str, ...], ours: Labels, theirs: Labels) -> float | None:
    """Rand's index with the column of groups sorted apart from its rows, as a careless join would leave it."""
    if not all(person.isdecimal() for person in people):
        return None
    order = np.argsort([int(person) for person in people], kind="stable")
    if (order == np.arange(len(order))).all():
        return None
    moved = np.full(len(order), NOBODY, dtype=np.intp)
    moved[order] = theirs
    return round(adjusted_rand_index(ours, moved), 4)


def _published(conversation: Votes) -> float | None:
    """The largest gap between the file's own figures and agrees / votes in its own groups."""
    gaps = []
    for name in sorted(set(conversation.groups) - {""}):
        members = np.array([group != name for group in conversation.groups]).astype(np.intp)  # theirs are group 0
        counts = tally(conversation.matrix, members, 1)
        for place, statement in enumerate(conversation.statements):
            if name in statement.published and counts.votes[0, place]:
                share = counts.agrees[0, place] / counts.votes[0, place]
                gaps.append(abs(share - statement.published[name]))
    return round(max(gaps), 6) if gaps else None


def by_standing(found: Collective) -> dict[Standing, list[Rated]]:
    """The statements by how they stand: contested ones by how far the groups are apart, others by consensus."""
    names: tuple[Standing, ...] = get_args(Standing)
    parts = {name: [each for each in found.rated if each.opinion.standing == name] for name in names}
    parts["contested"].sort(key=lambda each: -each.opinion.gap)
    return parts


def group_name(number: int) -> str:
    """A, B, C …, and after Z a number."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def support_words(support: Support) -> str:
    """`92% of 51 [81, 97]`, or that there is no vote."""
    if support.share is None:
        return "no vote"
    return f"{support.share:.0%} of {support.votes} [{support.low * 100:.0f}, {support.high * 100:.0f}]"


def opinion_words(opinion: Opinion) -> str:
    """What people say to a statement, in a line."""
    groups = (f"group {group_name(i)} {support_words(group)}" for i, group in enumerate(opinion.groups))
    return f"agree: {support_words(opinion.everyone)}; {', '.join(groups)}; consensus {opinion.consensus:.2f}"
