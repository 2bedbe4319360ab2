"""`compare`: what changed between two lists of verdicts on the same scenarios.

Old against new policy and prompted against finetuned model are this one operation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from prefect_ratify.records import Record, Verdict
from prefect_ratify.scenarios.statistics import Interval, Scores, adjusted, difference, p_value, rate

ALL = "all clauses"
Change = Literal["fixed", "regressed", "unchanged", "undecided"]
Finding = Literal["better", "worse", "no difference shown", "too few scenarios to tell"]
FEWEST_SCENARIOS = 6  # below this, even a unanimous sign test cannot reach 5 %


class Rate(Record):
    """How often a clause was upheld under a condition.

    `verdicts` counts outcomes over all samples; `interval` is over the scenarios' shares of
    upheld among decided verdicts.
    """

    condition: str
    clause_id: str
    interval: Interval
    verdicts: dict[str, int]


class Difference(Record):
    """Second condition minus first, on one clause, paired by scenario.

    `p_value` is from a permutation test, adjusted over the clauses of a comparison.
    """

    first: str
    second: str
    clause_id: str
    interval: Interval
    p_value: float | None
    finding: Finding


class Cell(Record):
    """One scenario and clause: the shares of upheld samples before and after, and the change."""

    scenario_id: str
    clause_id: str
    first: float | None
    second: float | None
    change: Change


class Comparison(Record):
    """Two conditions compared: rates of both, differences by clause and in total, every cell."""

    first: str
    second: str
    rates: tuple[Rate, ...]
    differences: tuple[Difference, ...]
    cells: tuple[Cell, ...]

    def count(self, change: Change) -> int:
        """How many cells changed so."""
        return sum(cell.change == change for cell in self.cells)

    def total(self) -> Difference:
        """The difference over all clauses together."""
        return next(d for d in self.differences if d.clause_id == ALL)


def compare(first: Sequence[Verdict], second: Sequence[Verdict], clause_ids: Sequence[str]) -> Comparison:
    """Compare two conditions' verdicts. Scenarios missing on one side are left out of differences."""
    names = _name(first), _name(second)
    scenario_ids = list(dict.fromkeys(v.scenario_id for v in [*first, *second]))
    tables = [_shares(verdicts, scenario_ids, clause_ids) for verdicts in (first, second)]
    differences = [
        _difference(names, clause_id, column_of(tables[0], i), column_of(tables[1], i))
        for i, clause_id in enumerate([*clause_ids, ALL])
    ]
    corrected = [*adjusted([d.p_value for d in differences[:-1]]), differences[-1].p_value]
    return Comparison(
        first=names[0],
        second=names[1],
        rates=(*rates(first, clause_ids), *rates(second, clause_ids)),
        differences=tuple(
            d.model_copy(update={"p_value": p, "finding": _finding(d.interval, p)})
            for d, p in zip(differences, corrected, strict=True)
        ),
        cells=tuple(_cells(tables[0], tables[1], scenario_ids, clause_ids)),
    )


def rates(verdicts: Sequence[Verdict], clause_ids: Sequence[str]) -> list[Rate]:
    """The rate of each clause and of all together, for one condition's verdicts."""
    scenario_ids = list(dict.fromkeys(v.scenario_id for v in verdicts))
    table = _shares(verdicts, scenario_ids, clause_ids)
    return [
        Rate(
            condition=_name(verdicts),
            clause_id=clause_id,
            interval=rate(column_of(table, i)),
            verdicts=_counts(v for v in verdicts if clause_id in (ALL, v.clause_id)),
        )
        for i, clause_id in enumerate([*clause_ids, ALL])
    ]


def column_of(table: Scores, index: int) -> Scores:
    """A clause's scores by scenario; the index after the last clause is the mean over clauses."""
    if index < table.shape[1]:
        return table[:, index]
    decided = ~np.isnan(table)
    sums = np.where(decided, table, 0.0).sum(axis=1)
    counts = decided.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _shares(verdicts: Sequence[Verdict], scenario_ids: Sequence[str], clause_ids: Sequence[str]) -> Scores:
    """`[scenarios, clauses]`: the share of upheld among decided samples, NaN where none is."""
    samples: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.outcome in ("upheld", "violated"):
            samples[verdict.scenario_id, verdict.clause_id].append(verdict.outcome == "upheld")
    table = np.full((len(scenario_ids), len(clause_ids)), np.nan)
    for i, scenario_id in enumerate(scenario_ids):
        for j, clause_id in enumerate(clause_ids):
            if (scenario_id, clause_id) in samples:
                table[i, j] = np.mean(samples[scenario_id, clause_id])
    return table


def _difference(names: tuple[str, str], clause_id: str, first: Scores, second: Scores) -> Difference:
    return Difference(
        first=names[0],
        second=names[1],
        clause_id=clause_id,
        interval=difference(first, second),
        p_value=p_value(first, second),
        finding="no difference shown",
    )


def _finding(interval: Interval, p: float | None) -> Finding:
    if interval.scenarios < FEWEST_SCENARIOS or p is None:
        return "too few scenarios to tell"
    assert interval.low is not None and interval.high is not None
    if p <= 0.05 and interval.low > 0:
        return "better"
    return "worse" if p <= 0.05 and interval.high < 0 else "no difference shown"


def _cells(first: Scores, second: Scores, scenario_ids: Sequence[str], clause_ids: Sequence[str]) -> Iterable[Cell]:
    for i, scenario_id in enumerate(scenario_ids):
        for j, clause_id in enumerate(clause_ids):
            before, after = _share(first[i, j]), _share(second[i, j])
            if before is None and after is None:
                continue
            yield Cell(
                scenario_id=scenario_id, clause_id=clause_id, first=before, second=after, change=_change(before, after)
            )


def _change(before: float | None, after: float | None) -> Change:
    if before is None or after is None:
        return "undecided"
    if before == after:
        return "unchanged"
    return "fixed" if after > before else "regressed"


def _share(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    counts = {"upheld": 0, "violated": 0, "not applicable": 0, "undecided": 0}
    for verdict in verdicts:
        counts[verdict.outcome] += 1
    return counts


def _name(verdicts: Sequence[Verdict]) -> str:
    return verdicts[0].condition if verdicts else "nothing"
