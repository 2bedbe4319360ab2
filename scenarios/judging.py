"""Judging: a verdict for every response and every clause that its scenario touches.

Order of authority: a person's precedent on this very response, the clause's check, a judge
model. A clause that none of them can decide is *undecided*: counted and shown, never scored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.call_store import Asking, CallStore, pooled
from prefect_ratify.event_loop import run
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.progress import Meter
from prefect_ratify.records import (
    Call,
    Clause,
    Outcome,
    Policy,
    Precedent,
    Record,
    Response,
    Scenario,
    Verdict,
    digest,
    made,
)
from prefect_ratify.scenarios.checks import Check
from prefect_ratify.scenarios.precedents import ruling_on

CHECK = "check"
NOBODY = "nobody"
EXPECTATION = "expectation"  # stands for a clause id in verdicts on what one scenario alone expects
Case = tuple[Scenario, Response, Clause]


class Judgement(Record):
    """What a judge model says of one case."""

    outcome: Outcome
    confidence: float
    reason: str


@dataclass(frozen=True)
class JudgeModel:
    """A model that judges: how it is asked, and how its answers are read.

    `prompt` is the digest of how it is asked. `read` never fails: an answer that it cannot read
    is undecided.
    """

    model: LanguageModel
    prompt: str
    question: Callable[[Case], Call]
    read: Callable[[str], Judgement]

    def key(self, case: Case) -> str:
        """The digest of all that a judgement depends on."""
        scenario, response, clause = case
        return digest(["judgement", self.model.digest, self.prompt, clause.text, scenario.messages, response.text])


@dataclass(frozen=True)
class Yardstick:
    """What answers are measured by: a policy's clauses, and what decides each.

    With `every_clause`, clauses that a scenario does not touch are judged too: that is how
    over-application is measured. Otherwise they get no verdict.
    """

    policy: Policy
    checks: Mapping[str, Check | None]
    precedents: Sequence[Precedent] = ()
    judge_model: JudgeModel | None = None
    every_clause: bool = False

    def clauses(self, scenario: Scenario) -> list[Clause]:
        """The clauses on which a scenario's answers get a verdict."""
        return [c for c in self.policy.clauses if self.every_clause or c.id in scenario.clause_ids]

    def decide(self, response: Response, clause: Clause) -> Verdict | None:
        """The verdict that needs no model; None where a judge model has to be asked."""
        if response.error:
            return undecided(response, clause.id, f"there is no response ({response.error})")
        ruling = ruling_on(response, clause.id, self.precedents)
        if ruling is not None:
            reason = ruling.reason or "ruled before"
            return _verdict(response, clause.id, ruling.outcome, 1.0, reason, f"precedent by {ruling.by}")
        check = self.checks.get(clause.id)
        if check is not None:
            return _by_check(response, clause.id, check)
        if self.judge_model is None:
            return undecided(response, clause.id, "there is no check and no judge model")
        return None


async def verdicts_on(response: Response, scenario: Scenario, by: Yardstick, asking: Asking) -> list[Verdict]:
    """A response's verdicts, in the order of the clauses; what needs a model is asked at once."""
    decided = [(clause, by.decide(response, clause)) for clause in by.clauses(scenario)]
    waiting = [(scenario, response, clause) for clause, verdict in decided if verdict is None]
    if not waiting:
        return [verdict for _, verdict in decided if verdict is not None]
    assert by.judge_model is not None
    judged = iter(await asyncio.gather(*(_ask(by.judge_model, case, asking) for case in waiting)))
    return [verdict or next(judged) for _, verdict in decided]


def judge(
    responses: Sequence[Response], scenarios: Sequence[Scenario], by: Yardstick, store: CallStore | None = None
) -> list[Verdict]:
    """Judge responses clause by clause, in the order of the responses. A judge model needs a store."""
    by_id = {scenario.id: scenario for scenario in scenarios}
    found: dict[int, list[Verdict]] = {}

    async def work() -> None:
        assert store is not None
        with Meter("verdicts", 0) as meter:
            async with Asking(store, meter) as asking:

                async def one(place: int) -> None:
                    response = responses[place]
                    found[place] = await verdicts_on(response, by_id[response.scenario_id], by, asking)

                await pooled(one, range(len(responses)), judge_model.at_once)

    if by.judge_model is None:
        given = ((r, c) for r in responses for c in by.clauses(by_id[r.scenario_id]))
        return [verdict for response, clause in given if (verdict := by.decide(response, clause))]
    judge_model = by.judge_model.model
    run(work())
    return [verdict for place in range(len(responses)) for verdict in found[place]]


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


def undecided(response: Response, clause_id: str, reason: str, by: str = NOBODY) -> Verdict:
    """The verdict where nobody can tell."""
    return _verdict(response, clause_id, "undecided", 0.0, reason, by)


async def _ask(judge_model: JudgeModel, case: Case, asking: Asking) -> Verdict:
    _, response, clause = case
    name, key = judge_model.model.name, judge_model.key(case)
    judgement = asking.store.find(key, Judgement)
    if judgement is None:
        asking.meter.expect(1)
        answer = await asking.ask(judge_model.model, judge_model.question(case))
        if answer.error:
            return undecided(response, clause.id, f"the judge gave no answer ({answer.error})", name)
        judgement = judge_model.read(answer.text)
        asking.store.keep(key, judgement)
    return _verdict(response, clause.id, judgement.outcome, judgement.confidence, judgement.reason, name)


def _by_check(response: Response, clause_id: str, check: Check) -> Verdict:
    finding = check(response.text, response.finished)
    if finding.holds is None:
        return undecided(response, clause_id, finding.reason, CHECK)
    outcome: Outcome = "upheld" if finding.holds else "violated"
    return _verdict(response, clause_id, outcome, 1.0, finding.reason, CHECK)


def _verdict(response: Response, clause_id: str, outcome: Outcome, confidence: float, reason: str, by: str) -> Verdict:
    return made(
        Verdict,
        scenario_id=response.scenario_id,
        condition=response.condition,
        sample=response.sample,
        clause_id=clause_id,
        outcome=outcome,
        confidence=confidence,
        reason=reason,
        judge=by,
    )
