"""Refine: machines do the wording, on development scenarios; the draft stands unless it is beaten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.budget import Payment
from prefect_ratify.clause_changes import ClauseChange, Refusal
from prefect_ratify.flows.proposed import FILE as PROPOSALS_FILE
from prefect_ratify.flows.proposed import contested_proposals, without_takes
from prefect_ratify.flows.refining import Refining, proposer, search
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.voting import requests
from prefect_ratify.policy import render_policy
from prefect_ratify.policy_modules.refiner import Candidate, cut_short
from prefect_ratify.policy_modules.rewording import amend
from prefect_ratify.progress import say
from prefect_ratify.records import Policy, Record, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, compare
from prefect_ratify.scenarios.conflicts import conflicts
from prefect_ratify.store import read_json, read_records, write_record, write_records, write_text

CONFLICTS = "conflicts.jsonl"
CUT_SHORT = "the budget ended before it was tried on all development scenarios"


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
    draft, asked = run.project.policy, without_takes(requests(run, "draft", "policy"))
    work = Refining(run, run.store.spending(f"refine {run.id} {run.round}", run.settings.refine_limit))
    propose, seen = proposer(work, asked), _seen(run)
    start, changes, refusals = seen, list[ClauseChange](), list[Refusal]()
    if run.settings.models.refiner and run.settings.refine_with != "miprov2":
        start, changes, refusals = amend(draft, seen, propose, asked)
    found = search(work, start, propose)
    offered = [Candidate(c.policy, [*changes, *c.changes]) for c in found.candidates]
    choice = _chosen(work, [*offered, Candidate(seen, [])], amended=len(changes))
    refusals += [*found.refusals, *choice.refusals]
    why = choice.why if found.tried or changes else f"{choice.why}; {_nothing_tried(work)}"
    best = Candidate(draft, []) if choice.draft_stands else choice.candidate
    taken = {(change.clause_id, tuple(part.text for part in change.new)) for change in best.changes}
    refusals = [refusal for refusal in refusals if (refusal.clause_id, refusal.texts) not in taken]
    write_text(folder / "policy.md", render_policy(best.policy))
    write_record(folder / "policy.json", best.policy)
    write_records(folder / "lineage.jsonl", [] if choice.draft_stands else [*_lineage_before(run), *best.changes])
    write_records(folder / "refusals.jsonl", refusals)
    write_records(folder / PROPOSALS_FILE, [*work.proposals(choice.verdicts), *contested_proposals(draft)])
    write_records(folder / CONFLICTS, conflicts([*prototyped(run), *choice.verdicts], draft.clause_ids))
    limit = work.spending.budget
    outcome = Refinement(
        draft_stands=choice.draft_stands,
        why=why,
        development=choice.comparison,
        asked=asked,
        paid=work.spending.walked,
        budget_calls=limit.calls,
        budget_dollars=limit.dollars,
        refused=len(refusals),
    )
    write_record(folder / "refinement.json", outcome)
    say(f"  {_in_a_line(outcome)}")


def _nothing_tried(work: Refining) -> str:
    return "nothing new was proposed" if work.has_room() else "the budget had no room to try anything"


@dataclass(frozen=True)
class Choice:
    """The candidate that is taken (or, where the draft stands, the one that came nearest), and why.

    `verdicts` are those on the development scenarios under the policy that stands.
    """

    candidate: Candidate
    comparison: Comparison
    draft_stands: bool
    why: str
    refusals: list[Refusal]
    verdicts: list[Verdict]


def _chosen(work: Refining, candidates: Sequence[Candidate], *, amended: int) -> Choice:
    """The first candidate that may replace the draft on all development scenarios.

    Where the first so many of its changes were asked for and there are no others, it need not do
    better than the draft. What better ones changed is refused, with the reason why they were.
    """
    draft, turned_down = work.run.project.policy, list[tuple[Candidate, Comparison, str]]()
    drafted = work.follow(draft, work.scenarios)[1]
    before = [v.model_copy(update={"condition": "draft"}) for v in drafted]
    for candidate in candidates:
        found = work.follow(candidate.policy, work.scenarios)
        comparison = compare(before, found[1], draft.clause_ids)
        asked = 0 < len(candidate.changes) == amended
        why = CUT_SHORT if cut_short(found) else reason_to_refuse(comparison, candidate.policy != draft, asked=asked)
        if not why:
            kept = _kept(comparison, asked=asked)
            return Choice(candidate, comparison, False, kept, _refusals(turned_down), found[1])
        turned_down.append((candidate, comparison, why))
    candidate, comparison, why = turned_down[0]
    return Choice(candidate, comparison, True, why, _refusals(turned_down), drafted)


def _refusals(turned_down: Sequence[tuple[Candidate, Comparison, str]]) -> list[Refusal]:
    """Each change of what was turned down, once, with the first reason."""
    found = dict[tuple[str, tuple[str, ...]], Refusal]()
    for candidate, _, why in turned_down:
        for change in candidate.changes:
            texts = tuple(part.text for part in change.new)
            found.setdefault((change.clause_id, texts), Refusal(clause_id=change.clause_id, texts=texts, why=why))
    return list(found.values())


def reason_to_refuse(comparison: Comparison, changed: bool, *, asked: bool = False) -> str:
    """Why a policy may not replace the draft; empty where it may.

    What people asked for need not do better than the draft, but must not do worse.
    """
    if not changed:
        return "no change did better"
    total = comparison.total()
    if not asked and total.finding == "too few scenarios to tell":
        return "too few development scenarios were decided to tell"
    if not asked and (total.interval.value is None or total.interval.value <= 0):
        return "the refined policy was not better over all clauses"
    worse = [d.clause_id for d in comparison.differences if d.finding == "worse"]
    return f"the refined policy was worse on: {', '.join(worse)}" if worse else ""


def _kept(comparison: Comparison, *, asked: bool) -> str:
    if asked:
        return "asked for, and not worse on the development split"
    if comparison.total().finding == "better":
        return "better on the development split"
    return "higher on the development split, where no difference is shown"


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
