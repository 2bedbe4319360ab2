"""Statements that may become clauses: their words made plain, and those that say the same put together.

Two statements say the same where they have the same words, or nearly (cosine of TF-IDF vectors from
ALIKE on) with the same negations and numbers, and as many people agree with both as far as the votes
can tell (Wilson intervals that overlap). One word may turn a sentence round; its votes tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.errors import readable
from prefect_ratify.policy import plain
from prefect_ratify.scenarios.consensus import agreement, tally
from prefect_ratify.scenarios.opinion_groups import Matrix
from prefect_ratify.scenarios.similarity import by_words, words
from prefect_ratify.scenarios.votes import Votes

ALIKE = 0.9  # cosine; of 275 statements of Collective Constitutional AI one pair is above 0.86, and says the same
_MARKS = re.compile(r"^(?:(?:[-*+>#]+|\d+[.)])\s+)+")
_TURNS = re.compile(r"\b(?:not|never|no|nor|none|nobody|cannot|without|non|un\w+|only)\b|n't\b|\d+", re.IGNORECASE)


def one_sentence(text: str) -> str:
    """A statement on one line, without marks that would make a list or heading of it, and with � for what is unseen."""
    return _MARKS.sub("", " ".join(readable(text).split()))


def merged(votes: Votes) -> Votes:
    """The conversation with one statement for those that say the same: the one with the most votes.

    It has the votes of all: of who voted on several, agreements and disagreements are set against each
    other, and as many of both make a pass.
    """
    texts = [one_sentence(statement.text) for statement in votes.statements]
    counts = (~np.isnan(votes.matrix)).sum(axis=0)
    statements, columns = [], []
    for places in sorted(_same(texts, votes.matrix), key=min):
        first, *rest = sorted(places, key=lambda place: (-counts[place], votes.statements[place].id))
        same = tuple(sorted(votes.statements[place].id for place in rest))
        statements.append(votes.statements[first].model_copy(update={"text": texts[first], "same": same}))
        columns.append(votes.matrix[:, first] if not rest else united(votes.matrix[:, list(places)]))
    return replace(votes, statements=tuple(statements), matrix=np.stack(columns, axis=1))


def united(matrix: Matrix) -> NDArray[np.float32]:
    """One vote for each person's votes on statements that say the same; NaN without any."""
    summed = np.sign(np.nansum(matrix, axis=1))
    result: NDArray[np.float32] = np.where(np.isnan(matrix).all(axis=1), np.nan, summed).astype(np.float32)
    return result


def _same(texts: list[str], matrix: Matrix) -> list[list[int]]:
    """The places of statements, those that say the same together (also by way of a third)."""
    from scipy.sparse.csgraph import connected_components

    similarity = by_words(texts)
    similar = np.stack([similarity(text) for text in texts]) >= ALIKE
    low, high = (bound[0] for bound in _agreement(matrix))
    as_many = (low[:, np.newaxis] <= high) & (low <= high[:, np.newaxis])
    same_words = _equal([tuple(words(text)) for text in texts])
    alike = same_words | (similar & as_many & _equal([_turns(text) for text in texts]))
    _, labels = connected_components(alike, directed=False)
    return [np.flatnonzero(labels == label).tolist() for label in range(int(labels.max()) + 1)]


def _agreement(matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return agreement(tally(matrix, np.zeros(len(matrix), dtype=np.intp), 1))


def _turns(text: str) -> tuple[str, ...]:
    """The words of a text that turn what it says, in alphabetical order."""
    return tuple(sorted(word.lower() for word in _TURNS.findall(plain(text))))


def _equal(keys: Sequence[tuple[str, ...]]) -> NDArray[np.bool_]:
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    place = np.array([numbers[key] for key in keys])
    same: NDArray[np.bool_] = place[:, np.newaxis] == place
    return same
