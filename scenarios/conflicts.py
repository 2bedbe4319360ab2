"""Conflicts: pairs of clauses which pull apart on the same scenario, with the scenarios as evidence.

Clauses pull apart in two ways that verdicts can show: a change of condition gains one and loses the
other on the same scenario, or no answer to a scenario upholds both although each of them can be
upheld there. Noise does both now and then, so each pair is tested for doing it more often than its
clauses' own gains and losses would by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Record, Verdict
from prefect_ratify.scenarios.statistics import CONFIDENCE, Scores, adjusted

Kind = Literal["change", "samples"]
Finding = Literal["more than noise", "no more than noise", "too few to tell"]
CONDITIONS = ("base", "draft", "refined")
SHUFFLES = 10_000
FEWEST_OTHERS = 4  # clauses that say how noisy a scenario is; of fewer, one that moves along says it all
SCORES = {"upheld": 1.0, "violated": 0.0}


class Conflict(Record):
    """Two clauses that pulled apart on `scenarios`, of so many that were looked at.

    `kind` is *change* where a condition gained one clause and lost the other, and *samples* where
    no sample of a condition upholds both, though each is upheld in some; `where` names the change
    or the condition. `p_value` is adjusted over all pairs and places; None where none of the ways
    in which these gains and losses could have fallen would have been more than noise.
    """

    first: str
    second: str
    kind: Kind
    where: str
    scenarios: tuple[str, ...]
    of: int
    p_value: float | None
    finding: Finding

    @property
    def summary(self) -> str:
        """The evidence in a few words."""
        if len(self.scenarios) == 1 and self.finding != "more than noise":
            return f"seen once: {self.scenarios[0]}"
        verb = "pull apart" if self.finding == "more than noise" else "seen"
        return f"{verb} on {len(self.scenarios)} of {self.of} scenarios ({self.finding})"


@dataclass(frozen=True)
class _Look:
    """One pair in one place: what was seen, its p-value, and the least that it could have been."""

    first: str
    second: str
    kind: Kind
    where: str
    scenarios: tuple[str, ...]
    of: int
    p: float
    least: float


def conflicts(
    verdicts: Iterable[Verdict], clause_ids: Sequence[str], conditions: Sequence[str] = CONDITIONS
) -> tuple[Conflict, ...]:
    """The pairs of clauses that pull apart, the strongest evidence first.

    Each condition is compared with the one before it, of those that there are. Where people tune,
    the caller gives verdicts on development scenarios alone. Undecided verdicts, and clauses that
    do not apply, are no evidence.

    p-values are one-sided, and adjusted by Benjamini and Hochberg over the tests that could have
    reached 5 % at all (Gilbert 2005, after Tarone 1990).
    """
    scenario_ids, scores = _tables(list(verdicts), clause_ids, conditions)
    looks = list(_looks(scenario_ids, scores, clause_ids))
    can_tell = [look.least <= 1 - CONFIDENCE for look in looks]
    p_values = adjusted([look.p if able else None for look, able in zip(looks, can_tell, strict=True)])
    found = [_conflict(look, p) for look, p in zip(looks, p_values, strict=True) if look.scenarios]
    return tuple(sorted(found, key=_weakness))  # equal ones stay in the order of the clauses


def _looks(scenario_ids: Sequence[str], scores: Mapping[str, Scores], clause_ids: Sequence[str]) -> Iterator[_Look]:
    shares = {condition: _shares(table) for condition, table in scores.items()}
    changes = {f"{a} → {b}": shares[b] - shares[a] for a, b in pairwise(shares)}
    for (i, first), (j, second) in combinations(enumerate(clause_ids), 2):
        for where, moves in changes.items():
            apart, of, p, least = _by_change(moves, i, j)
            yield _Look(first, second, "change", where, _named(scenario_ids, apart), of, p, least)
        for where, table in scores.items():
            apart, of, p, least = _by_samples(table[:, :, i], table[:, :, j])
            yield _Look(first, second, "samples", where, _named(scenario_ids, apart), of, p, least)


def _by_change(moves: Scores, i: int, j: int) -> tuple[NDArray[np.bool_], int, float, float]:
    """Where two clauses move in opposite directions; whether they do so more than their moves meet by chance.

    A permutation test of the moves' product over scenarios (Pitman 1937): which move of one clause
    meets which of the other is shuffled, so that a gain of one everywhere, and a loss of the other
    everywhere, is no evidence. It is stratified by how much the other clauses move, since some
    scenarios are noisy for all clauses.
    """
    both = ~np.isnan(moves[:, i]) & ~np.isnan(moves[:, j])
    first, second = moves[both, i], moves[both, j]
    restless = _restless(np.delete(moves[both], [i, j], axis=1))
    null, seen = np.zeros(SHUFFLES), float(first @ second)
    for seed, among in enumerate((restless, ~restless)):
        null += second[among][_orders(int(among.sum()), seed)] @ first[among]
    apart = np.where(both, moves[:, i] * moves[:, j], 0.0) < 0
    return apart, len(first), _share_below(null, seen), _share_below(null, float(null.min()))


def _restless(others: Scores) -> NDArray[np.bool_]:
    """The scenarios on which the other clauses move more than on most; none where others are too few to tell."""
    if not len(others) or others.shape[1] < FEWEST_OTHERS:
        return np.zeros(len(others), dtype=bool)
    far = np.nansum(np.abs(others), axis=1)
    restless: NDArray[np.bool_] = far > np.median(far)
    return restless


def _by_samples(first: Scores, second: Scores) -> tuple[NDArray[np.bool_], int, float, float]:
    """Where `[scenarios, samples]` of two clauses are never upheld together, though each is in some sample.

    The exact test of independence within scenarios (Birch 1964; Mehta, Patel and Gray 1985): given
    how often each is upheld in a scenario's samples, how often both are is hypergeometric.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    a, b, together = (np.where(both, each, 0.0).sum(axis=1) for each in (first, second, first * second))
    count = both.sum(axis=1)
    null = np.ones(1)
    for total, upheld, other in zip(count, a, b, strict=True):
        if upheld and other:
            null = np.convolve(null, _chances(int(total), int(upheld), int(other)))
    reachable = null[null > 0]
    p = min(1.0, float(null[: int(together.sum()) + 1].sum()))
    return (a > 0) & (b > 0) & (together == 0), int((count > 1).sum()), p, float(reachable[0])


@lru_cache(maxsize=16)
def _orders(count: int, seed: int) -> NDArray[np.intp]:
    """Random orders of so many scenarios, one a row; for a seed always the same ones."""
    return np.random.default_rng(seed).permuted(np.tile(np.arange(count), (SHUFFLES, 1)), axis=1)


def _share_below(null: Scores, value: float) -> float:
    # That there is one at least, the one seen, keeps it from being 0 (Phipson and Smyth 2010).
    return (int((null <= value + 1e-9).sum()) + 1) / (len(null) + 1)


@lru_cache(maxsize=4096)
def _chances(total: int, upheld: int, other: int) -> Scores:
    """The chances of 0, 1, 2 … samples with both, of `total` with so many of each."""
    from scipy.stats import hypergeom

    chances: Scores = hypergeom.pmf(np.arange(min(upheld, other) + 1), total, upheld, other)
    return chances


def _tables(
    verdicts: Sequence[Verdict], clause_ids: Sequence[str], conditions: Sequence[str]
) -> tuple[list[str], dict[str, Scores]]:
    """Scores `[scenarios, samples, clauses]` of each condition that there is: 1, 0, or NaN where undecided."""
    kept = [v for v in verdicts if v.clause_id in clause_ids and v.condition in conditions]
    rows = {name: i for i, name in enumerate(dict.fromkeys(v.scenario_id for v in kept))}
    samples = {number: i for i, number in enumerate(sorted({v.sample for v in kept}))}
    columns = {name: i for i, name in enumerate(clause_ids)}
    there = {v.condition for v in kept}
    shape = (len(rows), len(samples), len(columns))
    scores = {condition: np.full(shape, np.nan) for condition in conditions if condition in there}
    for v in kept:
        place = rows[v.scenario_id], samples[v.sample], columns[v.clause_id]
        scores[v.condition][place] = SCORES.get(v.outcome, np.nan)
    return list(rows), scores


def _shares(table: Scores) -> Scores:
    """The share of upheld among each scenario's decided samples, `[scenarios, clauses]`."""
    decided = (~np.isnan(table)).sum(axis=1)
    shares: Scores = np.where(decided > 0, np.nansum(table, axis=1) / np.maximum(decided, 1), np.nan)
    return shares


def _named(scenario_ids: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, seen in zip(scenario_ids, chosen, strict=True) if seen)


def _conflict(look: _Look, p: float | None) -> Conflict:
    finding: Finding = "too few to tell"
    if p is not None:
        finding = "more than noise" if p <= 1 - CONFIDENCE else "no more than noise"
    return Conflict(
        first=look.first,
        second=look.second,
        kind=look.kind,
        where=look.where,
        scenarios=look.scenarios,
        of=look.of,
        p_value=p,
        finding=finding,
    )


def _weakness(conflict: Conflict) -> tuple[float, int]:
    return (2.0 if conflict.p_value is None else conflict.p_value), -len(conflict.scenarios)
