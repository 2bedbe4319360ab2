"""What a search for a better wording needs of a run: scenarios, answers, verdicts, proposals, and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.clause_changes import ClauseChange, Refusal
from prefect_ratify.flows.prototype import Gaps
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.clause_search import refine
from prefect_ratify.policy_modules.gepa_search import refine_by_gepa
from prefect_ratify.policy_modules.guards import grams_of, why_refused_as_a_whole
from prefect_ratify.policy_modules.intent import compare_intent
from prefect_ratify.policy_modules.proposing import MOST_PROPOSALS, ProposedClause, propose_clauses
from prefect_ratify.policy_modules.refiner import Candidate, Followed, Search, SearchTask, selected
from prefect_ratify.policy_modules.responder import definitions_text, preamble
from prefect_ratify.policy_modules.rewording import Proposer, Refiner, Task, add_examples, reword
from prefect_ratify.policy_modules.whole_policy import FEWEST_TRIALS, Trial, refine_whole
from prefect_ratify.records import Clause, Policy, Scenario, Verdict, digest
from prefect_ratify.scenarios.planning import Plan
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

    @property
    def used(self) -> list[Scenario]:
        """Those of them that a trial uses."""
        return selected(self.scenarios, self.run.settings.refine_selection)

    def follow(self, policy: Policy, scenarios: Sequence[Scenario]) -> Followed:
        """Answers under a policy, judged by the clauses as people drafted them."""
        found = self.run.evaluate(scenarios, self._under(policy), self.run.project.policy, spending=self.spending)
        return found.responses, found.verdicts

    def has_room(self) -> bool:
        """Whether the budget has room for a proposal for each clause, a trial, and trying the best on all scenarios.

        By what this way has needed so far, and not by what was paid: after a kill it is the same.
        """
        draft, walked, limit = self.run.project.policy, self.spending.walked, self.spending.budget
        if limit == Budget():
            return True
        trial, whole = self._untried(self.used), self._untried(self.scenarios)
        proposals = CALLS_OF_A_PROPOSAL * len(draft.clauses)
        calls = walked.calls + self.spending.wasted + trial.calls + whole.calls + proposals
        dollars = walked.dollars + trial.dollars + whole.dollars
        return (limit.calls is None or calls <= limit.calls) and (limit.dollars is None or dollars <= limit.dollars)

    def trials(self) -> int:
        """How many wordings of the whole policy the budget holds, with a trial of the best on all scenarios."""
        most = self.run.settings.refine_budget // len(self.used)
        if self.spending.budget.calls is None:
            return most
        left = self.spending.budget.calls - self._untried(self.scenarios).calls
        intent = 2 * len(self.run.project.policy.clauses) if self.run.judges() else 0
        return max(0, min(most, left // (self._untried(self.used).calls + 2 + intent)))

    def _untried(self, scenarios: Sequence[Scenario]) -> Plan:
        """The most that following a policy takes which nobody has followed yet."""
        draft = self.run.project.policy
        new = draft.model_copy(update={"context": f"{draft.context}\n\nNobody has tried this yet."})
        return self.run.plan_at_most(scenarios, self._under(new), draft)

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
    task = SearchTask(
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
    return by(task)


def _search_whole(work: Refining) -> Search:
    """The policy's wordings as a whole, best first; then the draft. What the guards refuse is no candidate."""
    draft = work.run.project.policy
    before, count = work.spending.walked, work.trials()
    if count < FEWEST_TRIALS:
        return Search([Candidate(draft, [])], [], tried=0)
    _, trials = refine_whole(
        draft,
        work.used,
        work.follow,
        work.run.model("refiner"),
        work.run.store,
        trials=count,
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
        took = work.spending.walked - before
        change = ClauseChange(
            clause_id=WHOLE,
            old=draft.clauses,
            new=(Clause(id="wording", text=trial.wording, polarity="must"),),
            why=f"of {len(trials)} wordings it is one that did better on the development scenarios",
            proposer="MIPROv2",
            before={WHOLE: first.score or 0.0},
            after={WHOLE: trial.score or 0.0},
            calls=took.calls,
            dollars=took.dollars,
        )
        policy = draft.model_copy(update={"wording": trial.wording, "parent": digest(draft)})
        candidates.append(Candidate(policy, [change]))
    return Search([*candidates, Candidate(draft, [])], refusals, tried=len(trials) - 1)


def _why_not(work: Refining, trial: Trial, first: Trial, known: Sequence[frozenset[tuple[str, ...]]]) -> str:
    """Why a wording of the whole policy is no candidate; empty where it is one."""
    draft = work.run.project.policy
    if (trial.score or 0.0) <= (first.score or 0.0):
        return "it did not do better on the development scenarios"
    why = why_refused_as_a_whole(trial.wording, draft, known)
    for clause in draft.clauses if not why else ():
        missing, _ = work.intent(clause, trial.wording)
        if missing:
            return f"{clause.id}: {missing}"
    return why


def proposer(work: Refining, asked: Sequence[str]) -> Proposer:
    """Who proposes wordings: the refiner model, which reads what people asked for, or the authors' examples."""
    run = work.run
    if not run.settings.models.refiner:
        return add_examples({key: guide.examples for key, guide in run.project.suite.guides.items()})
    return reword(
        Refiner(
            run.model("refiner"),
            run.store,
            run.project.suite.scenarios,
            comments=asked,
            told=definitions_text(run.project.policy.definitions),
            rulings=lambda task: _rulings(run, task),
            keeps_intent=work.intent,
            spending=work.spending,
        )
    )


def _rulings(run: Run, task: Task) -> tuple[Ruling, ...]:
    """People's rulings on the clause, of development scenarios alone, those most like its failures first."""
    failed = " ".join(f"{failure.query} {failure.response}" for failure in task.failures)
    return run.cases().only("develop").nearest(task.draft.id, failed or task.draft.text)
