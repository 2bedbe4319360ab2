"""GEPA over a policy's clauses, each a component with its own id and text.

GEPA (Agrawal et al. 2025, arXiv 2507.19457, section 3) keeps a pool of candidates, lets one
mutate, and accepts a mutation that does better. Here a component is a draft clause in its present
form, so that every accepted change names the draft clause that it came from; the objectives whose
Pareto front is kept are the clauses, and what helps one and breaks another is not accepted.

The search has no state of its own on disk: after a kill it goes the same way again, by its seed,
with the answers that are in the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_ratify.budget import Payment
from prefect_ratify.clause_changes import ClauseChange, Failure, Refusal
from prefect_ratify.policy_modules.refiner import (
    Candidate,
    Follow,
    Search,
    SearchTask,
    change_of,
    cut_short,
    outcomes,
    share_upheld,
)
from prefect_ratify.policy_modules.rewording import Parts, Proposal, Proposer, Task, assembled
from prefect_ratify.records import Clause, Policy, Scenario, Verdict, digest

ATTEMPTS = 8  # at a form of a clause, before others have their turn for good
SURE = 0.05  # one-sided: a clause that is lost with less than this chance of noise is lost


def refine_by_gepa(task: SearchTask) -> Search:
    """Refine a draft on development scenarios; the caller compares the candidates with the draft on all of them."""
    import gepa

    draft, used = task.draft, task.used
    adapter = _ClauseAdapter(draft, task.follow, task.propose, task.spent)
    result = gepa.optimize(
        seed_candidate={clause.id: _text(task.start.parts(clause.id)) for clause in draft.clauses},
        trainset=used,
        valset=used,
        adapter=adapter,
        module_selector=adapter.select,
        candidate_selection_strategy="pareto",
        frontier_type="objective",
        reflection_minibatch_size=len(used),
        acceptance_criterion=adapter,
        stop_callbacks=lambda state: (
            adapter.incomplete
            or adapter.scored + len(used) > task.budget
            or adapter.exhausted(state)
            or not task.room()
        ),
        logger=_Quiet(),
        seed=task.seed,
    )
    ranked = sorted(range(len(result.candidates)), key=lambda index: -result.val_aggregate_scores[index])
    found = [Candidate(_policy(draft, result.candidates[i]), adapter.lineage(result, i)) for i in ranked]
    return Search(found, adapter.refusals, tried=len(adapter._scores) - 1)


@dataclass
class _ClauseAdapter:
    """What GEPA asks of the system that it optimises (gepa.core.adapter.GEPAAdapter), and whom it asks what to keep."""

    draft: Policy
    follow: Follow
    propose: Proposer
    spent: Callable[[], Payment]
    refusals: list[Refusal] = field(default_factory=list)
    incomplete: bool = False
    _scores: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    _attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _pending: ClauseChange | None = None
    _before: Payment = field(default_factory=Payment)
    _accepted: dict[str, ClauseChange] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """How many (policy, scenario) pairs were scored."""
        return sum(len(scores) for scores in self._scores.values())

    def evaluate(self, batch: list[Scenario], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Score scenarios by the share of their decided clauses that are upheld."""
        from gepa.core.adapter import EvaluationBatch

        responses, verdicts = followed = self.follow(_policy(self.draft, candidate), batch)
        self.incomplete = self.incomplete or cut_short(followed)
        by_scenario: dict[str, list[Verdict]] = {scenario.id: [] for scenario in batch}
        for verdict in verdicts:
            by_scenario[verdict.scenario_id].append(verdict)
        texts = {response.scenario_id: response.text for response in responses}
        found = [by_scenario[scenario.id] for scenario in batch]
        decided = self._scores[digest(candidate)] = [outcomes(verdicts) for verdicts in found]
        return EvaluationBatch(
            outputs=[texts[scenario.id] for scenario in batch],
            scores=[share_upheld(of_one) or 0.0 for of_one in decided],
            trajectories=[(s, texts[s.id], v) for s, v in zip(batch, found, strict=True)] if capture_traces else None,
            objective_scores=decided,
        )

    def select(
        self,
        state: Any,
        trajectories: list[Any],
        subsample_scores: list[float],
        candidate_idx: int,
        candidate: dict[str, str],
    ) -> list[str]:
        """The clause that fails most often, among those for which something is still to be tried."""
        failed = Counter(
            verdict.clause_id
            for _, _, verdicts in trajectories
            for verdict in verdicts
            if verdict.outcome == "violated"
        )
        ranked = sorted(candidate, key=lambda clause_id: -failed[clause_id])
        return [next((c for c in ranked if failed[c] and not self._is_stuck(candidate, c)), ranked[0])]

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The failures of the chosen clauses."""
        return {
            clause_id: [
                {"scenario_id": scenario.id, "query": scenario.query, "response": text, "reason": verdict.reason}
                for scenario, text, verdicts in eval_batch.trajectories
                for verdict in verdicts
                if verdict.clause_id == clause_id and verdict.outcome == "violated"
            ]
            for clause_id in components_to_update
        }

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The proposer's next form of the chosen clause; its present one where there is none."""
        (clause_id,) = components_to_update
        self._before, self._pending = self.spent(), None
        text = candidate[clause_id]
        if self._is_stuck(candidate, clause_id):
            return {clause_id: text}
        attempt = self._attempts[clause_id, text]
        self._attempts[clause_id, text] += 1
        failures = [Failure(**f) for f in reflective_dataset[clause_id]]
        proposed = self.propose(Task(self.draft.clause(clause_id), _parts(text), failures, attempt))
        if isinstance(proposed, Refusal):
            self.refusals.append(proposed)
        if not isinstance(proposed, Proposal):
            return {clause_id: text}
        new = {clause_id: _text(proposed.parts)}
        if digest({**candidate, **new}) in self._scores:  # it was tried before
            return {clause_id: text}
        self._pending = change_of(clause_id, _parts(text), proposed, failures)
        return new

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether a mutation did better, and lost no clause by more than noise (GEPA's acceptance criterion)."""
        before, after = proposal.eval_before, proposal.eval_after
        if self._pending is None or self.incomplete or proposal.candidate in state.program_candidates:
            return False
        lost = _lost(before.objective_scores, after.objective_scores)
        if sum(after.scores) <= sum(before.scores):
            return self._refuse("it did not do better on the development scenarios")
        if lost:
            return self._refuse(f"it cost {', '.join(lost)}")
        took = self.spent() - self._before
        self._accepted[digest(proposal.candidate)] = self._pending.model_copy(
            update={"calls": took.calls, "dollars": took.dollars}
        )
        return True

    def _refuse(self, why: str) -> bool:
        assert self._pending is not None
        texts = tuple(part.text for part in self._pending.new)
        self.refusals.append(Refusal(clause_id=self._pending.clause_id, texts=texts, why=why))
        return False

    def exhausted(self, state: Any) -> bool:
        """Whether nothing is left to try for any failing clause of any candidate that may be chosen."""
        from gepa.gepa_utils import find_dominator_programs

        front = find_dominator_programs(state.get_pareto_front_mapping(), state.per_program_tracked_scores)
        return all(self._is_done(state.program_candidates[index]) for index in front)

    def lineage(self, result: Any, index: int) -> list[ClauseChange]:
        """The accepted changes from the start to a candidate, with what was measured before and after each."""
        steps = []
        while (parent := result.parents[index][0]) is not None:
            change = self._accepted[digest(result.candidates[index])]
            rates = (result.val_aggregate_subscores[parent], result.val_aggregate_subscores[index])
            steps.append(change.model_copy(update={"before": rates[0], "after": rates[1]}))
            index = parent
        return steps[::-1]

    def _is_done(self, candidate: dict[str, str]) -> bool:
        scores = self._scores[digest(candidate)]
        failing = {clause_id for found in scores for clause_id, upheld in found.items() if not upheld}
        return all(self._is_stuck(candidate, clause_id) for clause_id in failing)

    def _is_stuck(self, candidate: dict[str, str], clause_id: str) -> bool:
        return self._attempts[clause_id, candidate[clause_id]] >= ATTEMPTS


class _Quiet:
    """GEPA's own log is for its developers; what happened stands in the lineage."""

    def log(self, message: str) -> None:
        pass


def _policy(draft: Policy, candidate: Mapping[str, str]) -> Policy:
    return assembled(draft, {clause_id: _parts(text) for clause_id, text in candidate.items()})


def _text(parts: Parts) -> str:
    return json.dumps([part.model_dump(mode="json") for part in parts], ensure_ascii=False)


def _parts(text: str) -> Parts:
    return tuple(Clause.model_validate(part) for part in json.loads(text))


def _lost(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> list[str]:
    """The clauses that a change cost: an exact one-sided sign test over scenarios (McNemar 1947)."""
    from scipy.stats import binomtest

    moves: dict[str, Counter[int]] = {}
    for old, new in zip(before, after, strict=True):
        for clause_id in old.keys() & new.keys():
            moves.setdefault(clause_id, Counter())[int(new[clause_id] - old[clause_id])] += 1
    return sorted(
        clause_id
        for clause_id, count in moves.items()
        if count[-1] and binomtest(count[-1], count[-1] + count[1], alternative="greater").pvalue < SURE
    )
