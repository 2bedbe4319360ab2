"""Judging: a verdict for every response and every clause that its scenario touches.

Order of authority: a person's precedent on this very response, the clause's check, a judge
model. A clause that none of them can decide is *undecided*: counted and shown, never scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prefect_ratify.records import Clause, Policy, Precedent, Response, Scenario, Verdict
from prefect_ratify.scenarios.checks import Check
from prefect_ratify.scenarios.precedents import ruling_on

CHECK = "check"
EXPECTATION = "expectation"  # stands for a clause id in verdicts on what one scenario alone expects


class JudgeModel(Protocol):
    """A model that judges; one Verdict for each (scenario, response, clause), in order."""

    def __call__(self, cases: Sequence[tuple[Scenario, Response, Clause]]) -> list[Verdict]: ...


def judge(
    responses: Sequence[Response],
    scenarios: Sequence[Scenario],
    policy: Policy,
    checks: Mapping[str, Check | None],
    *,
    precedents: Sequence[Precedent] = (),
    judge_model: JudgeModel | None = None,
    every_clause: bool = False,
) -> list[Verdict]:
    """Judge responses clause by clause, in the order of the responses.

    With `every_clause`, clauses that a scenario does not touch are judged too: that is how
    over-application is measured. Otherwise they get no verdict.
    """
    by_id = {scenario.id: scenario for scenario in scenarios}
    verdicts: list[Verdict | None] = []
    for_model: list[tuple[int, tuple[Scenario, Response, Clause]]] = []
    for response in responses:
        scenario = by_id[response.scenario_id]
        touched = policy.clause_ids if every_clause else scenario.clause_ids
        for clause in policy.clauses:
            if clause.id not in touched:
                continue
            decided = _decide(response, clause, checks.get(clause.id), precedents)
            if decided is None and judge_model is not None:
                for_model.append((len(verdicts), (scenario, response, clause)))
                verdicts.append(None)
            else:
                verdicts.append(decided or undecided(response, clause.id, "there is no check and no judge model"))
    if judge_model is not None and for_model:
        judged = judge_model([case for _, case in for_model])
        for (place, _), verdict in zip(for_model, judged, strict=True):
            verdicts[place] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def judge_expectations(responses: Sequence[Response], expectations: Mapping[str, Check]) -> list[Verdict]:
    """Verdicts on the responses to scenarios that expect something of their own, by scenario id."""
    found = []
    for response in responses:
        check = expectations.get(response.scenario_id)
        if check is not None and response.error:
            found.append(undecided(response, EXPECTATION, f"there is no response ({response.error})"))
        elif check is not None:
            found.append(_by_check(response, EXPECTATION, check))
    return found


def undecided(response: Response, clause_id: str, reason: str, by: str = "nobody") -> Verdict:
    """The verdict where nobody can tell."""
    return _verdict(response, clause_id, "undecided", 0.0, reason, by)


def _decide(response: Response, clause: Clause, check: Check | None, precedents: Sequence[Precedent]) -> Verdict | None:
    if response.error:
        return undecided(response, clause.id, f"there is no response ({response.error})")
    ruling = ruling_on(response, clause.id, precedents)
    if ruling is not None:
        reason = ruling.reason or "ruled before"
        return _verdict(response, clause.id, ruling.outcome, 1.0, reason, f"precedent by {ruling.by}")
    if check is None:
        return None
    return _by_check(response, clause.id, check)


def _by_check(response: Response, clause_id: str, check: Check) -> Verdict:
    finding = check(response.text, response.finished)
    if finding.holds is None:
        return undecided(response, clause_id, finding.reason, CHECK)
    outcome = "upheld" if finding.holds else "violated"
    return _verdict(response, clause_id, outcome, 1.0, finding.reason, CHECK)


def _verdict(response: Response, clause_id: str, outcome: str, confidence: float, reason: str, by: str) -> Verdict:
    return Verdict(
        scenario_id=response.scenario_id,
        condition=response.condition,
        sample=response.sample,
        clause_id=clause_id,
        outcome=outcome,  # type: ignore[arg-type]
        confidence=confidence,
        reason=reason,
        judge=by,
    )
