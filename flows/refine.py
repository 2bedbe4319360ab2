"""Refine: machines do the wording, on development scenarios; the draft stands unless it is beaten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.budget import Payment
from prefect_ratify.flows.proposed import FILE as PROPOSALS_FILE
from prefect_ratify.flows.refining import Refining, proposer, search
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.voting import requests
from prefect_ratify.policy import render_policy
from prefect_ratify.policy_modules.refiner import Candidate
from prefect_ratify.policy_modules.rewording import amend
from prefect_ratify.progress import say
from prefect_ratify.records import ClauseChange, Policy, Record, Refusal, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, compare
from prefect_ratify.scenarios.conflicts import conflicts
from prefect_ratify.store import read_json, read_records, write_record, write_records, write_text

CONFLICTS = "conflicts.jsonl"
TRIED_ON_ALL = 3  # of the candidates: how many are compared with the draft on every development scenario


class Refinement(Record):
    """What refinement came to: whether the draft stands, and how both do on the development split.

    `asked` are the comments with which people sent the run here, oldest first. `paid` is what
    refinement came to, of which `budget_calls` and `budget_dollars` are the most (None: no limit).
    """

    draft_stands: bool
    why: str
    development: Comparison
    asked: tuple[str, ...] = ()
    paid: Payment = Payment()
    budget_calls: int | None = None
    budget_dollars: float | None = None
    refused: int = 0


def refine(run: Run, folder: Path) -> None:
    """Refine the draft, and keep the result only where it is better on development scenarios.

    After a request for changes it goes on from the wording that people saw, which the refiner
    first amends as they asked; what they asked for has only to be not worse.
    """
    draft, asked = run.project.policy, requests(run, "draft", "policy")
    work = Refining(run, run.store.spending(f"refine {run.id} {run.round}", run.settings.refine_limit))
    propose = proposer(work, asked)
    start, changes, refusals = _seen(run), list[ClauseChange](), list[Refusal]()
    if run.settings.models.refiner:
        start, changes, refusals = amend(draft, start, propose, asked)
    found = search(work, start, propose)
    best, comparison, why = _best(work, found.candidates, asked=bool(changes))
    refusals += found.refusals
    policy = draft if why else best.policy
    verdicts = work.follow(policy, work.scenarios)[1]
    write_text(folder / "policy.md", render_policy(policy))
    write_record(folder / "policy.json", policy)
    write_records(folder / "lineage.jsonl", [] if why else [*_lineage_before(run), *changes, *best.changes])
    write_records(folder / "refusals.jsonl", refusals)
    write_records(folder / PROPOSALS_FILE, work.proposals(verdicts))
    write_records(folder / CONFLICTS, conflicts([*prototyped(run), *verdicts], draft.clause_ids))
    kept = "asked for, and not worse on the development split" if changes else "better on the development split"
    limit = work.spending.budget
    outcome = Refinement(
        draft_stands=bool(why),
        why=why or kept,
        development=comparison,
        asked=asked,
        paid=work.spending.walked,
        budget_calls=limit.calls,
        budget_dollars=limit.dollars,
        refused=len(refusals),
    )
    write_record(folder / "refinement.json", outcome)
    say(f"  {_in_a_line(outcome)}")


def _best(work: Refining, candidates: Sequence[Candidate], *, asked: bool) -> tuple[Candidate, Comparison, str]:
    """The first candidate that may replace the draft on all development scenarios, or else the first of all.

    With how it compares with the draft, and why the draft stands after all.
    """
    draft, tried = work.run.project.policy, []
    before = [v.model_copy(update={"condition": "draft"}) for v in work.follow(draft, work.scenarios)[1]]
    for candidate in candidates[:TRIED_ON_ALL]:
        comparison = compare(before, work.follow(candidate.policy, work.scenarios)[1], draft.clause_ids)
        why = reason_to_refuse(comparison, changed=candidate.policy != draft, asked=asked)
        tried.append((candidate, comparison, why))
        if not why or not work.has_room():
            break
    return next((each for each in tried if not each[2]), tried[0])


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


def _in_a_line(outcome: Refinement) -> str:
    rates = {rate.condition: rate.interval.value for rate in outcome.development.rates if rate.clause_id == ALL}
    shares = " → ".join("–" if value is None else f"{value:.0%}" for value in rates.values())
    stands = "the draft stands" if outcome.draft_stands else "refined"
    return f"{stands} ({outcome.why}): {shares} upheld on development scenarios; {outcome.paid.calls} calls"


def refined_policy(run: Run) -> Policy:
    """The policy that the refine stage left."""
    return Policy.model_validate(read_json(run.stage_folder("refine") / "policy.json"))


def _seen(run: Run) -> Policy:
    """The wording that people saw last: of the round before, or the draft. A clause taken since is as it was taken."""
    draft, earlier = run.project.policy, run.earlier("refine")
    if earlier is None:
        return draft
    seen = Policy.model_validate(read_json(earlier / "policy.json"))
    clauses = tuple(part for clause in draft.clauses for part in seen.parts(clause.id) or (clause,))
    return seen.model_copy(update={"clauses": clauses})


def prototyped(run: Run) -> list[Verdict]:
    """The prototype stage's verdicts on development scenarios."""
    ids = {scenario.id for scenario in run.project.suite.split("develop")}
    found = read_records(run.stage_folder("prototype") / "verdicts.jsonl", Verdict)
    return [verdict for verdict in found if verdict.scenario_id in ids]


def _lineage_before(run: Run) -> list[ClauseChange]:
    earlier = run.earlier("refine")
    return read_records(earlier / "lineage.jsonl", ClauseChange) if earlier else []
