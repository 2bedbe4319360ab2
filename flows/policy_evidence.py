"""What the policy gate shows of a refinement: each clause from draft to final, why, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_ratify.budget import money
from prefect_ratify.clause_changes import ClauseChange, Refusal
from prefect_ratify.flows.lineage import ClauseLineage, Step, cost, lineages, reasons, wording
from prefect_ratify.flows.markdown import escaped, listing, percent, points, table
from prefect_ratify.flows.proposed import FILE as PROPOSALS
from prefect_ratify.flows.refine import CONFLICTS, Refinement, refined_policy
from prefect_ratify.flows.refining import WHOLE
from prefect_ratify.flows.regress import BySplit
from prefect_ratify.flows.report import judge_words
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.word_difference import word_difference
from prefect_ratify.policy_modules.proposing import ProposedClause
from prefect_ratify.records import Policy
from prefect_ratify.scenarios.comparing import ALL
from prefect_ratify.scenarios.conflicts import Conflict
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import read_json, read_record, read_records

SHOWN_REFUSALS = 8
SHOWN_CASES = 5
SHOWN_DOUBTFUL = 3


def policy_summary(run: Run) -> str:
    """Which policy stands and why, on the scenarios it was chosen by and on the others, and what it took."""
    outcome = read_record(run.stage_folder("refine") / "refinement.json", Refinement)
    stands = f"{'The draft' if outcome.draft_stands else 'The refined policy'} stands: {escaped(outcome.why)}."
    return "\n\n".join(part for part in (stands, listing(judge_words(run)), _by_split(run), _taken(outcome)) if part)


def policy_details(run: Run) -> str:
    """What was asked for, the wording, each changed clause's way from draft to final, and what was refused."""
    changes = read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
    refused = read_records(run.stage_folder("refine") / "refusals.jsonl", Refusal)
    found = lineages(run.project.policy, refined_policy(run), changes)
    rates = measured(run)
    parts = [_asked(run), _wording(run), _whole(run, changes), *(_lineage(each, rates) for each in found)]
    parts += [_proposed(run), pulling_apart(read_records(run.stage_folder("refine") / CONFLICTS, Conflict))]
    parts.append(_refused(refused))
    return "\n\n".join(part for part in parts if part)


def _by_split(run: Run) -> str:
    """The gain on development scenarios, by which the wording was chosen, beside that on held-out ones."""
    splits = read_record(run.stage_folder("regress") / "by_split.json", BySplit)
    rows = []
    for name, comparison in (("development (chosen by)", splits.develop), ("held-out", splits.held_out)):
        totals = {rate.condition: rate.interval for rate in comparison.rates if rate.clause_id == ALL}
        before, after = (percent(totals[of]) for of in (comparison.first, comparison.second))
        rows.append([name, before, after, points(comparison.total().interval)])
    return table(["scenarios", "draft", "refined", "difference in points"], rows)


def _taken(outcome: Refinement) -> str:
    limits = [f"{outcome.budget_calls} calls"] if outcome.budget_calls is not None else []
    limits += [money(outcome.budget_dollars)] if outcome.budget_dollars is not None else []
    of = f" of at most {' and '.join(limits)}" if limits else ""
    dollars = f" ({money(outcome.paid.dollars)})" if outcome.paid.dollars else ""
    were = "1 proposal was" if outcome.refused == 1 else f"{outcome.refused} proposals were"
    return f"Refinement took {outcome.paid.calls} calls{dollars}{of}; {were} not taken."


def _asked(run: Run) -> str:
    """What people asked to be changed, and whether anything could come of it."""
    asked = read_record(run.stage_folder("refine") / "refinement.json", Refinement).asked
    if not asked:
        return ""
    lines = ["## What was asked for", "", *[f"> {escaped(comment)}\n" for comment in asked]]
    if not run.settings.models.refiner:
        lines.append("No refiner model was given: nothing reads these comments (`ratify run --refiner MODEL`).")
    elif run.settings.refine_with == "miprov2":
        lines.append("MIPROv2 rewords the policy as a whole, and does not read these comments.")
    return "\n".join(lines)


def _wording(run: Run) -> str:
    """Every clause, from the wording that people saw last to the one of now."""
    earlier, refined = run.earlier("refine"), refined_policy(run).joined()
    before = Policy.model_validate(read_json(earlier / "policy.json")).joined() if earlier else run.project.policy
    name = "changes since the last round" if earlier else "changes to the draft"
    old = {clause.id: clause.text for clause in before.clauses}
    rows = [[escaped(new.id), marked(old.get(new.id, ""), new.text), str(len(new.examples))] for new in refined.clauses]
    return f"## The wording\n\n{table(['clause', name, 'worked examples'], rows)}"


def _whole(run: Run, changes: list[ClauseChange]) -> str:
    """A wording of the policy as a whole, and what was lost with it."""
    refined = refined_policy(run)
    if not refined.wording:
        return ""
    change = next((change for change in reversed(changes) if change.clause_id == WHOLE), None)
    lines = "\n".join(f"> {escaped(line)}" for line in refined.wording.split("\n"))
    if change is None:
        return f"## The policy as a whole\n\nModels are told this instead of the clauses:\n\n{lines}"
    return (
        f"## The policy as a whole\n\n{escaped(change.proposer)} reworded the policy as a whole: {escaped(change.why)} "
        f"({cost(change)}). Models are told this instead of the clauses, and nobody can follow a single clause in it; "
        f"answers are still judged by the clauses.\n\n{lines}"
    )


def measured(run: Run) -> dict[tuple[str, str], Interval]:
    """The rate of each clause on the development scenarios, by `draft` or `refined` and clause id."""
    splits = read_record(run.stage_folder("regress") / "by_split.json", BySplit)
    return {(rate.condition, rate.clause_id): rate.interval for rate in splits.develop.rates}


def _lineage(found: ClauseLineage, rates: Mapping[tuple[str, str], Interval]) -> str:
    """A clause's way, a row a step, between what was measured first and last; nothing where it did not change."""
    if not found.steps:
        return ""
    first, last = (percent(rates[name, found.draft.id]) for name in ("draft", "refined"))
    rows = [["draft", escaped(found.draft.text), "", f"measured: {first}", "", ""]]
    rows += [_row(number, step) for number, step in enumerate(found.steps, start=1)]
    final = "unchanged" if wording(found.final) == found.draft.text else escaped(wording(found.final))
    rows.append(["final", final, "", f"measured: {last}", "", ""])
    head = ["step", "wording", "why", "upheld (steps: estimated)", "other clauses", "proposal and first trial"]
    return f"### {escaped(found.draft.id)}: from draft to final\n\n{table(head, rows)}"


def _row(number: int, step: Step) -> list[str]:
    words = marked(wording(step.change.old), step.text) if step.rewords else "unchanged"
    new = [example for part in step.change.new for example in part.examples]
    old = [example for part in step.change.old for example in part.examples]
    if added := [example for example in new if example not in old]:
        words += f" (+ {len(added)} worked example{'s' if len(added) > 1 else ''}: “{escaped(added[0].sentence)}”)"
    moved = ", ".join(f"{escaped(c)} {_change(before, after)}" for c, before, after in step.others) or "unmoved"
    why = "; ".join(escaped(reason) for reason in reasons(step.change))
    return [str(number), words, why, _change(step.before, step.after), moved, cost(step.change)]


def _refused(refusals: list[Refusal]) -> str:
    """What was proposed and not taken, and why: the guards at work."""
    if not refusals:
        return ""
    said = [f"{r.clause_id}: {r.why}. {' '.join(f'“{text}”' for text in r.texts)}" for r in refusals[:SHOWN_REFUSALS]]
    more = f"\n\n… and {len(refusals) - SHOWN_REFUSALS} more." if len(refusals) > SHOWN_REFUSALS else ""
    return f"## Proposals that were not taken\n\n{listing(said)}{more}"


def _proposed(run: Run) -> str:
    """New clauses for people to take or leave."""
    proposals = read_records(run.stage_folder("refine") / PROPOSALS, ProposedClause)
    if not proposals:
        return ""
    rows = [
        [f"`{new.id}`", escaped(new.text) or "*not worded*", escaped(new.why), _named(new.scenario_ids)]
        for new in proposals
    ]
    return (
        f"## Proposed clauses\n\n{_called_for_by(proposals)} None is added unless people take it: request changes "
        f"with a line `take {proposals[0].id}` (or `take {proposals[0].id}: the clause in your own words`) in the "
        "comment. "
        f"To leave them, approve.\n\n{table(['', 'clause', 'why', 'seen in'], rows)}"
    )


def contested(policy: Policy) -> str:
    """What the group is divided on, with what people say to it, for the draft gate; empty where there is nothing."""
    if not policy.contested:
        return ""
    rows = [[escaped(clause.id), escaped(clause.text), escaped("; ".join(clause.notes))] for clause in policy.contested]
    return (
        "## Contested clauses\n\nNot in force, and told to no model. They are offered again at the policy gate, where "
        f"people may take them.\n\n{table(['', 'clause', 'what people say'], rows)}"
    )


def _called_for_by(proposals: Sequence[ProposedClause]) -> str:
    contested = [proposal for proposal in proposals if proposal.kind == "contested"]
    recurring = "These keep coming back." if len(contested) < len(proposals) else ""
    divided = "On those that are seen in no scenario the group is divided." if contested else ""
    return " ".join(part for part in (recurring, divided) if part)


def pulling_apart(conflicts: Sequence[Conflict]) -> str:
    """Pairs of clauses that pull apart on the same scenarios: those beyond noise, and a few that may be."""
    sure = [conflict for conflict in conflicts if conflict.finding == "more than noise"]
    shown = [*sure, *[conflict for conflict in conflicts if conflict not in sure][:SHOWN_DOUBTFUL]]
    if not shown:
        return ""
    rows = [
        [f"{escaped(c.first)} and {escaped(c.second)}", escaped(c.summary), escaped(c.where), _named(c.scenarios)]
        for c in shown
    ]
    left = len(conflicts) - len(shown)
    more = f"\n\n{left} more were seen, none beyond noise." if left else ""
    return f"## Clauses that pull apart\n\n{table(['clauses', '', 'between', 'scenarios'], rows)}{more}"


def _named(scenario_ids: Sequence[str]) -> str:
    shown = ", ".join(escaped(name) for name in scenario_ids[:SHOWN_CASES])
    more = len(scenario_ids) - SHOWN_CASES
    return f"{shown} and {more} more" if more > 0 else shown


def marked(old: str, new: str) -> str:
    """A text with what went struck out, and what came in bold."""
    tones = {"": "{}", "deleted": "~~{}~~", "inserted": "**{}**"}
    pieces = [
        tones[piece.tone].format(escaped(piece.text)) for piece in word_difference(old, new) if piece.text.strip()
    ]
    return " ".join(pieces)


def _change(before: float | None, after: float | None) -> str:
    return "–" if before is None or after is None else f"{before:.0%} → {after:.0%}"
