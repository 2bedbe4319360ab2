"""Refine: machines do the wording, on development scenarios; the draft stands unless it is beaten."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.flows.decisions import decisions
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy import render_policy
from prefect_ratify.policy_modules.refiner import Proposer, add_examples, follow_with, reword
from prefect_ratify.policy_modules.refiner import refine as refine_clauses
from prefect_ratify.records import Policy, Record
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.store import read_json, write_record, write_records, write_text


class Refinement(Record):
    """What refinement came to: whether the draft stands, and how both do on the development split."""

    draft_stands: bool
    why: str
    development: Comparison


def refine(run: Run, folder: Path) -> None:
    """Refine the draft, and keep the result only where it is not worse on development scenarios."""
    draft = run.project.policy
    scenarios = run.project.suite.split("develop")
    follow = follow_with(
        "refined", run.model("responder"), run.store, run.judge, run.settings.sampling, run.settings.seed
    )
    refined, changes = refine_clauses(
        draft,
        scenarios,
        follow,
        _proposer(run),
        budget=run.settings.refine_budget,
        selection=run.settings.refine_selection,
        folder=folder / "gepa",
        seed=run.settings.seed,
    )
    before = [v.model_copy(update={"condition": "draft"}) for v in follow(draft, scenarios)[1]]
    comparison = compare(before, follow(refined, scenarios)[1], draft.clause_ids)
    why = reason_to_refuse(comparison, changed=refined != draft)
    outcome = Refinement(draft_stands=bool(why), why=why or "better on the development split", development=comparison)
    write_text(folder / "policy.md", render_policy(draft if why else refined))
    write_record(folder / "policy.json", draft if why else refined)
    write_records(folder / "lineage.jsonl", [] if why else changes)
    write_record(folder / "refinement.json", outcome)


def reason_to_refuse(comparison: Comparison, *, changed: bool) -> str:
    """Why the draft stands; empty where the refined policy may replace it."""
    if not changed:
        return "no change did better"
    total = comparison.total().interval.value
    if total is None or total <= 0:
        return "the refined policy was not better over all clauses"
    worse = [d.clause_id for d in comparison.differences if d.finding == "worse"]
    return f"the refined policy was worse on: {', '.join(worse)}" if worse else ""


def refined_policy(run: Run) -> Policy:
    """The policy that the refine stage left."""
    return Policy.model_validate(read_json(run.stage_folder("refine") / "policy.json"))


def _proposer(run: Run) -> Proposer:
    if run.settings.models.refiner:
        comments = [decision.comment for decision in decisions(run.folder) if decision.comment]
        return reword(run.model("refiner"), run.store, run.project.suite.scenarios, comments)
    return add_examples({key: guide.examples for key, guide in run.project.suite.guides.items()})
