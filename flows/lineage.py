"""A clause's way from the draft to its final form: what changed, why, with what effect and at what cost.

What people are shown at the policy gate and in the report, so that they can follow *their* clause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.budget import money
from prefect_ratify.clause_changes import ClauseChange
from prefect_ratify.flows.word_difference import Piece, word_difference
from prefect_ratify.records import Clause, Policy, WorkedExample

SHOWN_FAILURES = 3
WORTH_SEEING = 0.03  # of another clause's rate


@dataclass(frozen=True)
class Step:
    """One change of a clause. `before` and `after` are the rates at which it is estimated to be upheld.

    `others` are the other clauses that moved by some points with it, each with its two rates, the
    greatest loss first.
    """

    change: ClauseChange
    words: list[Piece]
    before: float | None
    after: float | None
    others: list[tuple[str, float, float]]

    @property
    def text(self) -> str:
        """The clause's wording after the change."""
        return wording(self.change.new)

    @property
    def rewords(self) -> bool:
        """Whether the wording is another one."""
        return self.text != wording(self.change.old)


@dataclass(frozen=True)
class ClauseLineage:
    """A draft clause, its final form, and the steps between."""

    draft: Clause
    final: tuple[Clause, ...]
    steps: list[Step]

    @property
    def added(self) -> list[WorkedExample]:
        """The worked examples that the final form has and the draft has not."""
        return [example for part in self.final for example in part.examples if example not in self.draft.examples]


def lineages(draft: Policy, final: Policy, changes: Sequence[ClauseChange]) -> list[ClauseLineage]:
    """Every draft clause's way, in the order of the draft."""
    return [
        ClauseLineage(
            clause, final.parts(clause.id), [_step(change) for change in changes if change.clause_id == clause.id]
        )
        for clause in draft.clauses
    ]


def wording(parts: Sequence[Clause]) -> str:
    """A clause's text; its parts on a line each."""
    return "\n".join(part.text for part in parts)


def reasons(change: ClauseChange) -> list[str]:
    """Why a clause was changed: in a sentence, then what people asked for and some of what failed."""
    said = [change.why, *(f"asked for: {comment}" for comment in change.comments)]
    said += [f"{failure.scenario_id}: {failure.reason}" for failure in change.failures[:SHOWN_FAILURES]]
    return [*said, f"a judge says that it adds: {change.adds}"] if change.adds else said


def cost(change: ClauseChange) -> str:
    """What proposing and trying a change took."""
    dollars = f", {money(change.dollars)}" if change.dollars else ""
    return f"{change.calls} calls{dollars}"


def _step(change: ClauseChange) -> Step:
    return Step(
        change,
        word_difference(wording(change.old), wording(change.new)),
        change.before.get(change.clause_id),
        change.after.get(change.clause_id),
        _moved(change.clause_id, change.before, change.after),
    )


def _moved(clause_id: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, float, float]]:
    found = [(c, before[c], after[c]) for c in before if c in after and c != clause_id]
    found = [moved for moved in found if abs(moved[2] - moved[1]) >= WORTH_SEEING]
    return sorted(found, key=lambda moved: (moved[2] - moved[1], moved[0]))
