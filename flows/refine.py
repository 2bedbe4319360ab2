"""Refine: machines do the wording, on development scenarios; the draft stands unless it is beaten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.voting import requests
from prefect_ratify.policy import render_policy
from prefect_ratify.policy_modules.refiner import Followed, Proposer, add_examples, amend, reword
from prefect_ratify.policy_modules.refiner import refine as refine_clauses
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import ClauseChange, Policy, Record, Scenario
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import read_json, read_records, write_record, write_records, write_text


class Refinement(Record):
    """What refinement came to: whether the draft stands, and how both do on the development split.

    `asked` are the comments with which people sent the run here, oldest first.
    """

    draft_stands: bool
    why: str
    development: Comparison
    asked: tuple[str, ...] = ()


def refine(run: Run, folder: Path) -> None:
    """Refine the draft, and keep the result only where it is better on development scenarios.

    After a request for changes it goes on from the wording that people saw, which the refiner
    first amends as they asked; what they asked for has only to be not worse.
    """
    draft = run.project.policy
    scenarios = run.project.suite.split("develop")

    def follow(policy: Policy, asked: Sequence[Scenario]) -> Followed:
        found = run.evaluate(asked, Condition("refined", run.model("responder"), preamble(policy)), policy)
        return found.responses, found.verdicts

    asked = requests(run, "draft", "policy")
    propose = _proposer(run, asked)
    start, changes = amend(draft, _seen(run), propose, asked) if run.settings.models.refiner else (_seen(run), [])
    refined, found = refine_clauses(
        draft,
        start,
        scenarios,
        follow,
        propose,
        budget=run.settings.refine_budget,
        selection=run.settings.refine_selection,
        folder=folder / "gepa",
        seed=run.seed("refine"),
    )
    before = [v.model_copy(update={"condition": "draft"}) for v in follow(draft, scenarios)[1]]
    comparison = compare(before, follow(refined, scenarios)[1], draft.clause_ids)
    why = reason_to_refuse(comparison, changed=refined != draft, asked=bool(changes))
    kept = "asked for, and not worse on the development split" if changes else "better on the development split"
    outcome = Refinement(draft_stands=bool(why), why=why or kept, development=comparison, asked=asked)
    write_text(folder / "policy.md", render_policy(draft if why else refined))
    write_record(folder / "policy.json", draft if why else refined)
    write_records(folder / "lineage.jsonl", [] if why else [*_lineage_before(run), *changes, *found])
    write_record(folder / "refinement.json", outcome)


def reason_to_refuse(comparison: Comparison, *, changed: bool, asked: bool = False) -> str:
    """Why the draft stands; empty where the refined policy may replace it.

    What people asked for need not do better than the draft, but must not do worse.
    """
    if not changed:
        return "no change did better"
    total = comparison.total().interval.value
    if not asked and (total is None or total <= 0):
        return "the refined policy was not better over all clauses"
    worse = [d.clause_id for d in comparison.differences if d.finding == "worse"]
    return f"the refined policy was worse on: {', '.join(worse)}" if worse else ""


def refined_policy(run: Run) -> Policy:
    """The policy that the refine stage left."""
    return Policy.model_validate(read_json(run.stage_folder("refine") / "policy.json"))


def _seen(run: Run) -> Policy:
    """The wording that people saw last: of the round before, or the draft."""
    earlier = run.earlier("refine")
    if earlier is None:
        return run.project.policy
    return Policy.model_validate(read_json(earlier / "policy.json"))


def _lineage_before(run: Run) -> list[ClauseChange]:
    earlier = run.earlier("refine")
    return read_records(earlier / "lineage.jsonl", ClauseChange) if earlier else []


def _proposer(run: Run, asked: Sequence[str]) -> Proposer:
    if run.settings.models.refiner:
        return reword(run.model("refiner"), run.store, run.project.suite.scenarios, asked)
    return add_examples({key: guide.examples for key, guide in run.project.suite.guides.items()})
