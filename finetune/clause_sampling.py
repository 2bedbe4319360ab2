"""Which clauses a row is made or judged by, where not by all: a draw in which each has its turn.

Bai et al. 2022 (arXiv 2212.08073, sections 3.1 and 4.1) sample a principle for each critique and
each comparison at random. Here the draw is balanced, and depends on the row's place alone: a
restart, another process and another task runner draw the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from prefect_ratify.records import seed_from


def clause_order(clause_ids: Sequence[str], place: int, seed: int) -> tuple[str, ...]:
    """All clauses, in the order in which the row at `place` (from 0) takes them up.

    Of any `len(clause_ids)` rows that stand together from a multiple of that number on, each
    clause is first in one, second in one, and so on: a Latin square, another one each time.
    """
    if not clause_ids:
        return ()
    square, row = divmod(place, len(clause_ids))
    drawn = _permutation(tuple(clause_ids), square, seed)
    return drawn[row:] + drawn[:row]


def drawn_clauses(
    clause_ids: Sequence[str],
    touched: Collection[str],
    place: int,
    seed: int,
    *,
    first: Collection[str] = (),
    count: int = 0,
) -> tuple[str, ...]:
    """The clauses for the row at `place`: those that its scenario touches, `first` ones (violated, say) before others.

    At most `count`; 0 is all of them. Among rows that touch the same clauses each comes up evenly.
    A clause that few scenarios touch is not drawn more often there to make up for the others.
    """
    open_ = [clause_id for clause_id in clause_order(clause_ids, place, seed) if clause_id in touched]
    ordered = sorted(open_, key=lambda clause_id: clause_id not in first)  # stable: each part keeps its order
    return tuple(ordered[: count or None])


@lru_cache(maxsize=64)
def _permutation(clause_ids: tuple[str, ...], square: int, seed: int) -> tuple[str, ...]:
    # By digests, which no version of Python shuffles in another way.
    return tuple(sorted(clause_ids, key=lambda clause_id: seed_from(seed, "clauses", square, clause_id)))
