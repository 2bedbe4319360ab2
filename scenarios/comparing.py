"""`compare`: what changed between two lists of verdicts on the same scenarios.

Old against new policy and prompted against finetuned model are this one operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from prefect_ratify.records import Record, Scenario, Verdict
from prefect_ratify.scenarios.statistics import Interval, Scores, adjusted, difference, p_value, rate, smallest_found
from prefect_ratify.scenarios.verdict_table import Table, column_of, counted

ALL = "all clauses"
OUTCOMES = ("upheld", "violated", "not applicable", "undecided")
Change = Literal["fixed", "regressed", "unchanged", "undecided"]
Finding = Literal["better", "worse", "no difference shown", "too few scenarios to tell"]
FEWEST_SCENARIOS = 6  # below this, even a unanimous sign test cannot reach 5 %


class Rate(Record):
    """How often a clause was upheld under a condition; of the scenarios with a `tag`, where there is one.

    `verdicts` counts outcomes over all samples; `interval` is over the scenarios' shares of
    upheld among decided verdicts. `if_undecided` is what the estimate would be if all undecided
    verdicts were violations, and if all were upheld; None where there are none.
    """

    condition: str
    clause_id: str
    interval: Interval
    verdicts: dict[str, int]
    tag: str = ""
    if_undecided: tuple[float, float] | None = None


class Difference(Record):
    """Second condition minus first, on one clause, paired by scenario.

    `p_value` is from a permutation test, adjusted over the clauses (or the tags) of a comparison.
    `smallest_found` is the smallest true drop that would be found in four cases of five.
    """

    first: str
    second: str
    clause_id: str
    interval: Interval
    p_value: float | None
    finding: Finding
    tag: str = ""
    if_undecided: tuple[float, float] | None = None
    smallest_found: float | None = None


class Cell(Record):
    """One scenario and clause: the shares of upheld samples before and after, and the change."""

    scenario_id: str
    clause_id: str
    first: float | None
    second: float | None
    change: Change


class Comparison(Record):
    """Two conditions compared: rates of both, differences by clause and in total, by tag, and every cell."""

    first: str
    second: str
    rates: tuple[Rate, ...]
    differences: tuple[Difference, ...]
    cells: tuple[Cell, ...]
    tag_rates: tuple[Rate, ...] = ()
    tag_differences: tuple[Difference, ...] = ()

    def count(self, change: Change) -> int:
        """How many cells changed so."""
        return sum(cell.change == change for cell in self.cells)

    def total(self) -> Difference:
        """The difference over all clauses together."""
        return next(d for d in self.differences if d.clause_id == ALL)


def compare(
    first: Sequence[Verdict],
    second: Sequence[Verdict],
    clause_ids: Sequence[str],
    scenarios: Sequence[Scenario] = (),
) -> Comparison:
    """Compare two conditions' verdicts. Scenarios missing on one side are left out of differences.

    With `scenarios`, those that have tags are compared by tag as well, over all clauses together.
    """
    scenario_ids = list(dict.fromkeys(v.scenario_id for v in [*first, *second]))
    before, after = counted(first, scenario_ids, clause_ids), counted(second, scenario_ids, clause_ids)
    differences = [_difference(before, after, i, name) for i, name in enumerate([*clause_ids, ALL])]
    by_clause = corrected(differences[:-1])
    by_tag = {tag: _rows(scenario_ids, tagged) for tag, tagged in _tagged(scenarios).items()}
    total = len(clause_ids)
    return Comparison(
        first=before.condition,
        second=after.condition,
        rates=(*rates(first, clause_ids), *rates(second, clause_ids)),
        differences=(*by_clause, _with_finding(differences[-1], differences[-1].p_value)),
        cells=tuple(_cells(before.shares, after.shares, scenario_ids, clause_ids)),
        tag_rates=tuple(
            _rate(table.part(rows), total, ALL, {}, tag) for table in (before, after) for tag, rows in by_tag.items()
        ),
        tag_differences=tuple(
            corrected(
                [
                    _difference(before.part(rows), after.part(rows), total, ALL, tag, tests=len(by_tag))
                    for tag, rows in by_tag.items()
                ]
            )
        ),
    )


def rates(verdicts: Sequence[Verdict], clause_ids: Sequence[str]) -> list[Rate]:
    """The rate of each clause and of all together, for one condition's verdicts."""
    scenario_ids = list(dict.fromkeys(v.scenario_id for v in verdicts))
    table = counted(verdicts, scenario_ids, clause_ids)
    counts = _counts(verdicts)
    counts[ALL] = {outcome: sum(counts[c][outcome] for c in counts) for outcome in OUTCOMES}
    return [_rate(table, i, name, counts.get(name, _counts_of_none())) for i, name in enumerate([*clause_ids, ALL])]


def _rate(table: Table, index: int, clause_id: str, verdicts: dict[str, int], tag: str = "") -> Rate:
    def mean_if(outcome: Literal["upheld", "violated"]) -> float:
        return round(float(np.nanmean(column_of(table.shares_if(outcome), index))), 4)

    open_question = column_of(table.undecided, index).sum() > 0
    return Rate(
        condition=table.condition,
        clause_id=clause_id,
        interval=rate(column_of(table.shares, index)),
        verdicts=verdicts,
        tag=tag,
        if_undecided=(mean_if("violated"), mean_if("upheld")) if open_question else None,
    )


def _difference(
    before: Table, after: Table, index: int, clause_id: str, tag: str = "", tests: int | None = None
) -> Difference:
    first, second = column_of(before.shares, index), column_of(after.shares, index)
    if tests is None:
        tests = 1 if clause_id == ALL else before.upheld.shape[1]
    return Difference(
        first=before.condition,
        second=after.condition,
        clause_id=clause_id,
        interval=difference(first, second),
        p_value=p_value(first, second),
        finding="no difference shown",
        tag=tag,
        if_undecided=_range(before, after, index),
        smallest_found=smallest_found(first, second, samples=max(before.samples, after.samples), tests=tests),
    )


def _range(before: Table, after: Table, index: int) -> tuple[float, float] | None:
    """The difference where undecided verdicts all fall against the second condition, and all for it."""
    if not column_of(before.undecided, index).sum() + column_of(after.undecided, index).sum():
        return None
    worst = column_of(after.shares_if("violated"), index) - column_of(before.shares_if("upheld"), index)
    best = column_of(after.shares_if("upheld"), index) - column_of(before.shares_if("violated"), index)
    if np.isnan(worst).all():
        return None
    return round(float(np.nanmean(worst)), 4), round(float(np.nanmean(best)), 4)


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Differences of unadjusted p-values, adjusted over all of them, and what is found then."""
    p_values = adjusted([d.p_value for d in differences])
    return [_with_finding(d, p) for d, p in zip(differences, p_values, strict=True)]


def _with_finding(difference: Difference, p: float | None) -> Difference:
    return difference.model_copy(update={"p_value": p, "finding": _finding(difference.interval, p)})


def _finding(interval: Interval, p: float | None) -> Finding:
    if interval.scenarios < FEWEST_SCENARIOS or p is None:
        return "too few scenarios to tell"
    assert interval.low is not None and interval.high is not None
    if p <= 0.05 and interval.low > 0:
        return "better"
    return "worse" if p <= 0.05 and interval.high < 0 else "no difference shown"


def _tagged(scenarios: Sequence[Scenario]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for scenario in scenarios:
        for tag in scenario.tags:
            found.setdefault(tag, set()).add(scenario.id)
    return found


def _rows(scenario_ids: Sequence[str], chosen: set[str]) -> list[int]:
    return [i for i, scenario_id in enumerate(scenario_ids) if scenario_id in chosen]


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


def _counts(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for verdict in verdicts:
        counts.setdefault(verdict.clause_id, _counts_of_none())[verdict.outcome] += 1
    return counts


def _counts_of_none() -> dict[str, int]:
    return dict.fromkeys(OUTCOMES, 0)
