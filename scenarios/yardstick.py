"""What answers are measured by, and the verdicts that need no model.

Order of authority: a person's precedent on this very response, the clause's check, the judge
models. A clause that none of them can decide is *undecided*: counted and shown, never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.language_models import LanguageModel
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
from prefect_ratify.scenarios.precedents import Cases, Ruling, case_text, ruling_on

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

    `prompt` is the digest of how it is asked and read. `question` is given the rulings by people
    that it shows. `read` never fails: an answer that it cannot read is undecided.
    """

    model: LanguageModel
    prompt: str
    question: Callable[[Case, Sequence[Ruling]], Call]
    read: Callable[[str], Judgement]

    def key(self, case: Case, rulings: Sequence[Ruling] = ()) -> str:
        """The digest of all that a judgement depends on."""
        scenario, response, clause = case
        texts = [[r.query, r.response, r.outcome, r.by, r.reason] for r in rulings]
        return digest(
            ["judgement", self.model.digest, self.prompt, clause.text, scenario.messages, response.text, texts]
        )


@dataclass(frozen=True)
class Yardstick:
    """What answers are measured by: a policy's clauses, and what decides each.

    Of several judges, more than half have to agree. `barred` are the names of judges, each with
    the id of a clause on which it is not asked. `cases` are people's rulings, of which judges see
    those on the same clause that are most similar. With `every_clause`, clauses that a scenario
    does not touch are judged too: that is how over-application is measured. Otherwise they get no
    verdict.
    """

    policy: Policy
    checks: Mapping[str, Check | None]
    precedents: Sequence[Precedent] = ()
    judges: tuple[JudgeModel, ...] = ()
    every_clause: bool = False
    barred: Collection[tuple[str, str]] = ()
    cases: Cases | None = None

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
            return decided(response, clause.id, ruling.outcome, 1.0, reason, f"precedent by {ruling.by}")
        check = self.checks.get(clause.id)
        if check is not None:
            return _by_check(response, clause.id, check)
        if not self.judges:
            return undecided(response, clause.id, "there is no check and no judge model")
        if not self.judges_on(clause.id):
            return undecided(response, clause.id, _barred(self.judges))
        return None

    def judges_on(self, clause_id: str) -> tuple[JudgeModel, ...]:
        """The judges that may decide a clause."""
        return tuple(judge for judge in self.judges if (judge.model.name, clause_id) not in self.barred)

    def rulings_like(self, case: Case) -> tuple[Ruling, ...]:
        """What people ruled on the clause for similar responses, the most similar first."""
        return self.cases.nearest(*_asked(case)) if self.cases else ()

    def all_rulings_like(self, cases: Sequence[Case]) -> list[tuple[Ruling, ...]]:
        """The same for several cases, which an embedder is asked about at once."""
        if self.cases:
            self.cases.prepare(map(_asked, cases))
        return [self.rulings_like(case) for case in cases]

    def knows_rulings_like(self, case: Case) -> bool:
        """Whether that is known without asking an embedder."""
        return self.cases is None or self.cases.can_tell([_asked(case)])

    def longest_rulings(self, case: Case) -> tuple[Ruling, ...]:
        """What takes most to show of what people ruled on the clause."""
        return self.cases.longest(case[2].id) if self.cases else ()


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


def decided(response: Response, clause_id: str, outcome: Outcome, confidence: float, reason: str, by: str) -> Verdict:
    """The verdict where somebody, or a check, can tell."""
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


def undecided(response: Response, clause_id: str, reason: str, by: str = NOBODY) -> Verdict:
    """The verdict where nobody can tell."""
    return decided(response, clause_id, "undecided", 0.0, reason, by)


def _asked(case: Case) -> tuple[str, str]:
    """A case as people's rulings are asked about it."""
    scenario, response, clause = case
    return clause.id, case_text(scenario.query, response.text)


def _barred(judges: Sequence[JudgeModel]) -> str:
    names = ", ".join(judge.model.name for judge in judges)
    who, was, it = ("judges", "were", "they were") if len(judges) > 1 else ("judge", "was", "it was")
    return f"the {who} {names} {was} not shown to be better than chance on this clause when {it} calibrated"


def _by_check(response: Response, clause_id: str, check: Check) -> Verdict:
    finding = check(response.text, response.finished)
    if finding.holds is None:
        return undecided(response, clause_id, finding.reason, CHECK)
    outcome: Outcome = "upheld" if finding.holds else "violated"
    return decided(response, clause_id, outcome, 1.0, finding.reason, CHECK)
