"""What refinement did to clauses: the changes that were taken, and the wordings that were not."""

from __future__ import annotations

from pydantic import Field

from prefect_ratify.records import Clause, Record


class Failure(Record):
    """A response that violated a clause, and why."""

    scenario_id: str
    query: str
    response: str
    reason: str


class ClauseChange(Record):
    """One accepted change of the refinement, traceable to its draft clause.

    `failures` and `comments` are what the proposer saw; `adds` is what a judge says the new wording
    asks for beyond the draft. `before` and `after` are rates of upheld verdicts, by clause, on
    development scenarios. `calls` and `dollars` are what proposing and trying it took.
    """

    clause_id: str
    old: tuple[Clause, ...]
    new: tuple[Clause, ...]
    why: str
    proposer: str
    failures: tuple[Failure, ...] = ()
    comments: tuple[str, ...] = ()
    adds: str = ""
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    calls: int = 0
    dollars: float = 0.0


class Refusal(Record):
    """A form of a clause that was proposed and not taken, and why."""

    clause_id: str
    texts: tuple[str, ...]
    why: str
