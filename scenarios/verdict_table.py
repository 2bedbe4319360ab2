"""Verdicts counted by scenario and clause: what rates and differences are taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prefect_ratify.records import Verdict
from prefect_ratify.scenarios.statistics import Scores


@dataclass(frozen=True)
class Table:
    """Verdicts of one condition, counted: each array is `[scenarios, clauses]`."""

    condition: str
    upheld: Scores
    violated: Scores
    undecided: Scores

    @property
    def shares(self) -> Scores:
        """Of upheld among decided samples; NaN where none is decided."""
        return _divided(self.upheld, self.upheld + self.violated)

    def shares_if(self, outcome: Literal["upheld", "violated"]) -> Scores:
        """The same, had all undecided verdicts had that outcome."""
        count = self.upheld + self.violated + self.undecided
        return _divided(self.upheld + (self.undecided if outcome == "upheld" else 0), count)

    @property
    def samples(self) -> int:
        """The most decided verdicts that a scenario has on a clause."""
        decided = self.upheld + self.violated
        return max(1, int(decided.max())) if decided.size else 1

    def part(self, rows: Sequence[int]) -> Table:
        """The table of some scenarios alone."""
        chosen = list(rows)
        return Table(self.condition, self.upheld[chosen], self.violated[chosen], self.undecided[chosen])


def counted(verdicts: Sequence[Verdict], scenario_ids: Sequence[str], clause_ids: Sequence[str]) -> Table:
    """The table of one condition's verdicts; what is on no clause of these is left out."""
    rows = {scenario_id: i for i, scenario_id in enumerate(scenario_ids)}
    columns = {clause_id: j for j, clause_id in enumerate(clause_ids)}
    upheld, violated, undecided = np.zeros((3, len(rows), len(columns)))
    by_outcome = {"upheld": upheld, "violated": violated, "undecided": undecided}
    for verdict in verdicts:
        if verdict.clause_id in columns and verdict.outcome in by_outcome:
            by_outcome[verdict.outcome][rows[verdict.scenario_id], columns[verdict.clause_id]] += 1
    return Table(verdicts[0].condition if verdicts else "nothing", upheld, violated, undecided)


def shares(verdicts: Sequence[Verdict], scenario_ids: Sequence[str], clause_ids: Sequence[str]) -> Scores:
    """Upheld among decided samples of one condition, `[scenarios, clauses]`; NaN where none is decided."""
    return counted(verdicts, scenario_ids, clause_ids).shares


def column_of(table: Scores, index: int) -> Scores:
    """A clause's scores by scenario; the index after the last clause is the mean over clauses."""
    if index < table.shape[1]:
        return table[:, index]
    decided = ~np.isnan(table)
    return _divided(np.where(decided, table, 0.0).sum(axis=1), decided.sum(axis=1))


def _divided(upheld: Scores, count: Scores) -> Scores:
    shares: Scores = np.where(count > 0, upheld / np.maximum(count, 1), np.nan)
    return shares
