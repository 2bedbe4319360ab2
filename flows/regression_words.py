"""What a comparison is said to show: the same words and marks at a terminal, in Markdown and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect_ratify.scenarios.comparing import ALL, Cell, Change, Comparison, Difference
from prefect_ratify.scenarios.statistics import Interval

if TYPE_CHECKING:
    from prefect_ratify.flows.regressing import Regression
    from prefect_ratify.scenarios.running import Account

ARROWS = {"better": "▲", "worse": "▼"}
CHANGES: dict[Change, str] = {"fixed": "▲", "regressed": "▼", "unchanged": "·", "undecided": "?"}
RULINGS = {"kept": "✓", "broken": "✗", "not shown": "?"}
UNNOTICED = 0.1  # a drop larger than this is one that nobody would want to miss


def arrow(difference: Difference) -> str:
    """▲ or ▼ for what moved; empty for what was not shown to."""
    return ARROWS.get(difference.finding, "")


def findable(difference: Difference) -> str:
    """How large a drop could have been found; empty where an older run did not measure it."""
    if "smallest_found" not in difference.model_fields_set:
        return ""
    if difference.smallest_found is None:
        return "could have found no drop of any size"
    return f"could have found a drop of {_points(difference.smallest_found)}"


def cautions(comparison: Comparison) -> list[str]:
    """What keeps "no difference shown" from being read as "no regression", in sentences."""
    found = []
    missed = [d for d in comparison.differences if _unsure(d)]
    if missed:
        count = max(d.interval.scenarios for d in missed)
        found.append(
            "“No difference shown” is not “no regression”. A drop that is smaller than this would most likely be "
            f"missed, with so few scenarios ({count}): {', '.join(_missed(d) for d in missed)}."
        )
    tags = [d for d in comparison.tag_differences if _unsure(d)]
    if tags:
        of = len(comparison.tag_differences)
        found.append(
            f"{len(tags)} of {of} tags have so few scenarios that even a large drop would most likely be missed."
        )
    for d in comparison.differences:
        low, high = d.if_undecided or (math.inf, -math.inf)
        if (d.finding == "better" and low <= 0) or (d.finding == "worse" and high >= 0):
            name = "All clauses together" if d.clause_id == ALL else d.clause_id
            found.append(f"{name}: {d.finding}, but not if the undecided verdicts fell the other way.")
    return found


def regressed(comparison: Comparison) -> dict[str, list[Cell]]:
    """The cells that got worse, by scenario."""
    found: dict[str, list[Cell]] = {}
    for cell in comparison.cells:
        if cell.change == "regressed":
            found.setdefault(cell.scenario_id, []).append(cell)
    return found


def rows_of(accounts: Sequence[Account]) -> dict[str, list[int]]:
    """What became of every answer asked for, condition by condition; the last row is the total."""
    return _table([account.responses for account in accounts], ["answered"])


def verdicts_of(accounts: Sequence[Account]) -> dict[str, list[int]]:
    """The verdicts by kind, condition by condition; the last row is the total."""
    return _table([account.verdicts for account in accounts], ["upheld", "violated"])


def totals(regression: Regression) -> dict[tuple[str, str], Difference]:
    """The difference over all clauses of each two conditions, as (first, second)."""
    found = [comparison.total() for comparison in (*regression.comparisons, *regression.between)]
    return {(d.first, d.second): d for d in found}


def turned(difference: Difference) -> Difference:
    """The same difference, seen from the other side."""
    old = difference.interval
    interval = Interval(value=_minus(old.value), low=_minus(old.high), high=_minus(old.low), scenarios=old.scenarios)
    finding = {"better": "worse", "worse": "better"}.get(difference.finding, difference.finding)
    return difference.model_copy(
        update={"first": difference.second, "second": difference.first, "interval": interval, "finding": finding}
    )


def _unsure(d: Difference) -> bool:
    if d.finding in ARROWS or not findable(d):
        return False
    return d.smallest_found is None or d.smallest_found > UNNOTICED


def _missed(d: Difference) -> str:
    return f"{d.clause_id} {'a drop of any size' if d.smallest_found is None else _points(d.smallest_found)}"


def _points(share: float) -> str:
    """A size in whole points, rounded up: a suite is never said to find more than it does."""
    number = math.ceil(share * 100 - 1e-9)
    return f"{number} point{'' if number == 1 else 's'}"


def _table(counted: Sequence[Mapping[str, int]], first: Sequence[str]) -> dict[str, list[int]]:
    kinds = dict.fromkeys([*first, *sorted({kind for counts in counted for kind in counts})])
    rows = {kind: [counts.get(kind, 0) for counts in counted] for kind in kinds}
    return {**rows, "total": [sum(counts.values()) for counts in counted]}


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
