"""The refiner: GEPA over a policy's clauses, each a component with its own id and text.

GEPA (Agrawal et al. 2025, arXiv 2507.19457, section 3) keeps a pool of candidates, lets one
mutate, and accepts a mutation that does better on a small batch. Here a component is a clause,
so that every accepted change names the draft clause that it came from. What a mutation is,
depends on the model that follows the policy:

* a capable model is helped by wording: a refiner model rewords the clause that fails most;
* a model as small as the embedded one is not: it is given the clause's worked examples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy import polarity_of
from prefect_ratify.policy_modules.models import Prompt, predict_all
from prefect_ratify.records import (
    Clause,
    ClauseChange,
    Policy,
    Response,
    Sampling,
    Scenario,
    Verdict,
    WorkedExample,
    digest,
)

SAMPLING = Sampling(temperature=1.0, max_tokens=400)
LONGEST_CLAUSE = 600  # characters
FEEDBACK_BATCH = 16  # small batches cost nearly as much as this

Followed = tuple[list[Response], list[Verdict]]


@dataclass(frozen=True)
class Failure:
    """A response that violated a clause, and why."""

    query: str
    response: str
    reason: str


# A proposer gives a clause's next form, or None where it knows none.
Proposer = Callable[[Clause, Clause, Sequence[Failure]], Clause | None]


def refine(
    draft: Policy,
    start: Policy,
    scenarios: Sequence[Scenario],
    follow: Callable[[Policy, Sequence[Scenario]], Followed],
    propose: Proposer,
    *,
    budget: int,
    selection: int,
    folder: Path,
    seed: int = 0,
) -> tuple[Policy, list[ClauseChange]]:
    """Refine a draft on development scenarios; returns the policy and what changed, in order.

    The search begins at `start`: the draft, or what an earlier round made of it.
    `follow` answers scenarios under a policy and judges the answers. `budget` bounds how many
    (policy, scenario) pairs are scored; feedback and selection use the first `selection`
    scenarios, by a hash of their ids, so that a small batch's answers serve the whole as well.
    `folder` keeps GEPA's state, so that a killed refinement goes on. The caller compares the
    result with the draft, and lets the draft stand where it is not better.
    """
    import gepa

    adapter = _ClauseAdapter(draft, follow, propose)
    used = sorted(scenarios, key=lambda scenario: digest(scenario.id))[:selection]
    result = gepa.optimize(
        seed_candidate={clause.id: clause.model_dump_json() for clause in start.clauses},
        trainset=used,
        valset=used,
        adapter=adapter,
        module_selector=adapter.select,
        candidate_selection_strategy="current_best",
        reflection_minibatch_size=FEEDBACK_BATCH,
        max_metric_calls=budget,
        stop_callbacks=adapter.exhausted,
        run_dir=str(folder),
        logger=_Quiet(),
        seed=seed,
    )
    return _policy(draft, result.best_candidate), _lineage(result)


def add_examples(examples: Mapping[str, tuple[WorkedExample, ...]]) -> Proposer:
    """Propose a clause with its authors' worked examples, once."""

    def propose(draft: Clause, current: Clause, failures: Sequence[Failure]) -> Clause | None:
        given = examples.get(draft.id, ())
        if not given or current.examples == given:
            return None
        return current.model_copy(update={"examples": given})

    return propose


def reword(
    model: LanguageModel, store: CallStore, scenarios: Sequence[Scenario], comments: Sequence[str] = ()
) -> Proposer:
    """Propose a wording by a model, which sees the draft, its notes, the gates' comments and the failures.

    A wording that is empty, too long, turns the clause's polarity or quotes a scenario is not
    proposed.
    """
    from prefect_ratify.policy_modules.signatures import RefineClause, fenced

    prompt = Prompt(RefineClause, SAMPLING)
    known = [_grams(scenario.query) for scenario in scenarios]

    def propose(draft: Clause, current: Clause, failures: Sequence[Failure]) -> Clause | None:
        shown = "\n\n".join(f"{fenced(f.response)}\nWhy not: {f.reason}" for f in failures[:4])
        fields = {
            "draft": draft.text,
            "current": current.text,
            "notes": "\n".join(draft.notes),
            "asked": "\n".join(comments) or "nothing",
            "failures": shown or "none",
        }
        said = predict_all(prompt, [fields], model, store)[0]
        text = " ".join(str(said["clause"]).split()) if said else ""
        return current.model_copy(update={"text": text}) if acceptable(text, draft, known) else None

    return propose


def amend(draft: Policy, start: Policy, propose: Proposer, asked: Sequence[str]) -> tuple[Policy, list[ClauseChange]]:
    """Let a refiner amend the clauses as people asked; returns the policy and what changed.

    A comment that names clauses by their ids concerns those, any other comment all of them.
    """
    if not asked:
        return start, []
    concerned: set[str] = set()
    for text in asked:
        named = [clause_id for clause_id in draft.clause_ids if re.search(rf"\b{re.escape(clause_id)}\b", text)]
        concerned.update(named or draft.clause_ids)
    changes = []
    for clause in start.clauses:
        if clause.id not in concerned:
            continue
        new = propose(draft.clause(clause.id), clause, ())
        if new is not None and new != clause:
            why = "asked for at a gate: " + " / ".join(asked)
            changes.append(
                ClauseChange(
                    clause_id=clause.id, old=clause, new=new, why=why, before={}, after={}, proposer="refiner model"
                )
            )
    by_id = {change.clause_id: change.new for change in changes}
    clauses = tuple(by_id.get(clause.id, clause) for clause in start.clauses)
    return start.model_copy(update={"clauses": clauses, "parent": digest(draft)}) if changes else start, changes


def acceptable(text: str, draft: Clause, scenario_grams: Sequence[set[tuple[str, ...]]]) -> bool:
    """Whether a wording may stand for the draft clause at all."""
    if not text or len(text) > LONGEST_CLAUSE:
        return False
    if (polarity_of(text) == "must not") != (draft.polarity == "must not"):
        return False
    if len(_NEGATION.findall(draft.text)) > 0 and not _NEGATION.search(text):
        return False
    return not any(_grams(text) & grams for grams in scenario_grams)


_NEGATION = re.compile(r"\b(?:not|never|no|nor|don't|without|avoid)\b", re.IGNORECASE)


class _ClauseAdapter:
    """What GEPA asks of the system that it optimises (gepa.core.adapter.GEPAAdapter)."""

    def __init__(
        self, draft: Policy, follow: Callable[[Policy, Sequence[Scenario]], Followed], propose: Proposer
    ) -> None:
        self.draft, self.follow, self.propose = draft, follow, propose
        self.tried: set[tuple[str, str]] = set()
        self.stuck: set[str] = set()

    def evaluate(self, batch: list[Scenario], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Score scenarios by the share of their decided clauses that are upheld."""
        from gepa.core.adapter import EvaluationBatch

        responses, verdicts = self.follow(_policy(self.draft, candidate), batch)
        by_scenario: dict[str, list[Verdict]] = {scenario.id: [] for scenario in batch}
        for verdict in verdicts:
            by_scenario[verdict.scenario_id].append(verdict)
        texts = {response.scenario_id: response.text for response in responses}
        found = [by_scenario[scenario.id] for scenario in batch]
        return EvaluationBatch(
            outputs=[texts[scenario.id] for scenario in batch],
            scores=[_score(verdicts) for verdicts in found],
            trajectories=[(s, texts[s.id], v) for s, v in zip(batch, found, strict=True)] if capture_traces else None,
            objective_scores=[_by_clause(verdicts) for verdicts in found],
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
        return [next((c for c in ranked if c not in self.stuck), ranked[0])]

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The failures of the chosen clauses."""
        return {
            clause_id: [
                {"query": scenario.query, "response": text, "reason": verdict.reason}
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
        """The proposer's next form of each chosen clause; its present one where there is none."""
        new = {}
        for clause_id in components_to_update:
            failures = [Failure(**f) for f in reflective_dataset[clause_id]]
            current = Clause.model_validate_json(candidate[clause_id])
            proposed = self.propose(self.draft.clause(clause_id), current, failures) if failures else None
            text = proposed.model_dump_json() if proposed else candidate[clause_id]
            if text == candidate[clause_id] or (clause_id, text) in self.tried:
                self.stuck.add(clause_id)
            self.tried.add((clause_id, text))
            new[clause_id] = text
        return new

    def exhausted(self, state: Any) -> bool:
        """Whether no clause is left for which something could be proposed."""
        return self.stuck >= set(self.draft.clause_ids)


class _Quiet:
    """GEPA's own log is for its developers; what happened stands in the lineage."""

    def log(self, message: str) -> None:
        pass


def _policy(draft: Policy, candidate: Mapping[str, str]) -> Policy:
    clauses = tuple(Clause.model_validate_json(candidate[clause_id]) for clause_id in draft.clause_ids)
    if clauses == draft.clauses:
        return draft
    return draft.model_copy(update={"clauses": clauses, "parent": digest(draft)})


def _lineage(result: Any) -> list[ClauseChange]:
    """The accepted changes from the draft to the best candidate."""
    steps = []
    index = result.best_idx
    while (parent := result.parents[index][0]) is not None:
        steps.append((parent, index))
        index = parent
    changes = []
    for parent, child in reversed(steps):
        before, after = result.val_aggregate_subscores[parent], result.val_aggregate_subscores[child]
        for clause_id, text in result.candidates[child].items():
            old = Clause.model_validate_json(result.candidates[parent][clause_id])
            new = Clause.model_validate_json(text)
            if old != new:
                what = "worked examples added" if old.text == new.text else "reworded"
                changes.append(
                    ClauseChange(
                        clause_id=clause_id,
                        old=old,
                        new=new,
                        why=f"{what}: it failed most often among those left",
                        before=before,
                        after=after,
                        proposer="authors' worked examples" if old.text == new.text else "refiner model",
                    )
                )
    return changes


def _score(verdicts: Sequence[Verdict]) -> float:
    decided = [v.outcome == "upheld" for v in verdicts if v.outcome in ("upheld", "violated")]
    return sum(decided) / len(decided) if decided else 0.0


def _by_clause(verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {v.clause_id: float(v.outcome == "upheld") for v in verdicts if v.outcome in ("upheld", "violated")}


def _grams(text: str, size: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
