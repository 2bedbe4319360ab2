"""What a search for a better wording needs of a run: scenarios, answers, verdicts, proposals, and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.flows.prototype import Gaps
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.clause_search import refine
from prefect_ratify.policy_modules.gepa_search import refine_by_gepa
from prefect_ratify.policy_modules.guards import grams_of, why_refused_as_a_whole
from prefect_ratify.policy_modules.intent import compare_intent
from prefect_ratify.policy_modules.proposing import MOST_PROPOSALS, ProposedClause, propose_clauses
from prefect_ratify.policy_modules.refiner import Candidate, Followed, Search
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.policy_modules.rewording import Proposer, Refiner, Task, add_examples, reword
from prefect_ratify.policy_modules.whole_policy import Trial, refine_whole
from prefect_ratify.records import Clause, ClauseChange, Policy, Refusal, Scenario, Verdict, digest
from prefect_ratify.scenarios.precedents import Ruling
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import read_record

CALLS_OF_A_PROPOSAL = 3  # the refiner's, and a judge's in both directions
WHOLE = "the whole policy"  # in the place of a clause's id


@dataclass(frozen=True)
class Refining:
    """What a search needs of a run: its development scenarios, answers and verdicts on them, and a budget."""

    run: Run
    spending: Spending

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios on which wordings are tried: never a held-out one."""
        return self.run.project.suite.split("develop")

    def follow(self, policy: Policy, scenarios: Sequence[Scenario]) -> Followed:
        """Answers under a policy, judged by the clauses as people drafted them."""
        found = self.run.evaluate(scenarios, self._under(policy), self.run.project.policy, spending=self.spending)
        return found.responses, found.verdicts

    def has_room(self) -> bool:
        """Whether the budget has room for another proposal, its trial, and a trial of the best on all scenarios.

        By what this way has needed so far, and not by what was paid: after a kill it is the same.
        """
        draft, walked, limit = self.run.project.policy, self.spending.walked, self.spending.budget
        if limit == Budget():
            return True
        new = draft.model_copy(update={"context": f"{draft.context}\n\nNobody has tried this yet."})
        ahead = self.run.plan_at_most(self.scenarios, self._under(new), draft)
        calls = walked.calls + ahead.calls + CALLS_OF_A_PROPOSAL
        return (limit.calls is None or calls <= limit.calls) and (
            limit.dollars is None or walked.dollars + ahead.dollars <= limit.dollars
        )

    def intent(self, draft: Clause, text: str) -> tuple[str, str]:
        """What a judge says that a wording lacks of its draft, and what it adds; nothing where there is no judge."""
        judges = self.run.judges()
        if not judges:
            return "", ""
        found = compare_intent(draft.text, text, judges[0].model, self.run.store, self.spending)
        return found.missing, found.adds

    def proposals(self, verdicts: Sequence[Verdict]) -> list[ProposedClause]:
        """New clauses for people to take or leave, from what still fails and from what no clause covers."""
        run, by_id = self.run, {scenario.id: scenario for scenario in self.scenarios}
        gaps = read_record(run.stage_folder("prototype") / "gaps.json", Gaps)
        limit = self.spending.budget
        affordable = limit.calls is None or self.spending.walked.calls + MOST_PROPOSALS <= limit.calls
        return propose_clauses(
            run.project.policy,
            [by_id[scenario_id] for scenario_id in gaps.uncovered if scenario_id in by_id],
            [(by_id[verdict.scenario_id], verdict) for verdict in verdicts if verdict.outcome == "violated"],
            run.model("refiner") if run.settings.models.refiner and affordable else None,
            run.store,
            spending=self.spending,
        )

    def _under(self, policy: Policy) -> Condition:
        return Condition("refined", self.run.model("responder"), preamble(policy))


def search(work: Refining, start: Policy, propose: Proposer) -> Search:
    """The candidates that the run's optimiser finds, best first."""
    settings, draft = work.run.settings, work.run.project.policy
    if settings.refine_with == "miprov2":
        return _search_whole(work)
    by = refine_by_gepa if settings.refine_with == "gepa" else refine
    return by(
        draft,
        start,
        work.scenarios,
        work.follow,
        propose,
        budget=settings.refine_budget,
        selection=settings.refine_selection,
        room=work.has_room,
        spent=lambda: work.spending.walked,
        seed=work.run.seed("refine"),
    )


def _search_whole(work: Refining) -> Search:
    """The policy's wordings as a whole, best first; then the draft. What the guards refuse is no candidate."""
    settings, draft = work.run.settings, work.run.project.policy
    used = sorted(work.scenarios, key=lambda scenario: digest(scenario.id))[: settings.refine_selection]
    before = work.spending.walked
    _, trials = refine_whole(
        draft,
        used,
        work.follow,
        work.run.model("refiner"),
        work.run.store,
        trials=settings.refine_budget // len(used),
        room=work.has_room,
        spending=work.spending,
        seed=work.run.seed("refine"),
    )
    first, known = trials[0], grams_of(work.run.project.suite.scenarios)
    candidates, refusals = list[Candidate](), list[Refusal]()
    for trial in sorted(trials[1:], key=lambda trial: -(trial.score or 0.0)):
        why = _why_not(work, trial, first, known)
        if why:
            refusals.append(Refusal(clause_id=WHOLE, texts=(trial.wording,), why=why))
            continue
        now = work.spending.walked
        change = ClauseChange(
            clause_id=WHOLE,
            old=draft.clauses,
            new=(Clause(id="wording", text=trial.wording, polarity="must"),),
            why=f"it did best of {len(trials)} wordings on the development scenarios",
            proposer="MIPROv2",
            before={WHOLE: first.score or 0.0},
            after={WHOLE: trial.score or 0.0},
            calls=now.calls - before.calls,
            dollars=now.dollars - before.dollars,
        )
        policy = draft.model_copy(update={"wording": trial.wording, "parent": digest(draft)})
        candidates.append(Candidate(policy, [change]))
    return Search([*candidates, Candidate(draft, [])], refusals)


def _why_not(work: Refining, trial: Trial, first: Trial, known: Sequence[frozenset[tuple[str, ...]]]) -> str:
    """Why a wording of the whole policy is no candidate; empty where it is one."""
    draft = work.run.project.policy
    if (trial.score or 0.0) <= (first.score or 0.0):
        return "it did not do better on the development scenarios"
    why = why_refused_as_a_whole(trial.wording, draft, known)
    for clause in draft.clauses if not why else ():
        missing, _ = work.intent(clause, trial.wording)
        if missing:
            return f"a judge says that it drops of {clause.id}: {missing}"
    return why


def proposer(work: Refining, asked: Sequence[str]) -> Proposer:
    """Who proposes wordings: the refiner model, which reads what people asked for, or the authors' examples."""
    run = work.run
    if not run.settings.models.refiner:
        return add_examples({key: guide.examples for key, guide in run.project.suite.guides.items()})
    defined = "\n".join(f"{item.term}: {item.text}" for item in run.project.policy.definitions)
    return reword(
        Refiner(
            run.model("refiner"),
            run.store,
            run.project.suite.scenarios,
            comments=asked,
            told=defined,
            rulings=lambda task: _rulings(run, task),
            keeps_intent=work.intent,
            spending=work.spending,
        )
    )


def _rulings(run: Run, task: Task) -> tuple[Ruling, ...]:
    """People's rulings on the clause, of development scenarios alone, those most like its failures first."""
    failed = " ".join(f"{failure.query} {failure.response}" for failure in task.failures)
    return run.cases().only("develop").nearest(task.draft.id, failed or task.draft.text)
