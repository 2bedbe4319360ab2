"""What a gate shows: a short description in the form, and Prefect artifacts to look into."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.flows.compare import Final
from prefect_ratify.flows.data_evidence import data_details, data_summary
from prefect_ratify.flows.gate_picture import comparison_picture
from prefect_ratify.flows.markdown import escaped, listing, percent
from prefect_ratify.flows.pluralism_markdown import voices
from prefect_ratify.flows.policy_evidence import contested, policy_details, policy_summary, pulling_apart
from prefect_ratify.flows.prototype import Gaps
from prefect_ratify.flows.refine import prototyped
from prefect_ratify.flows.regression_words import RULINGS, arrow, cautions, findable
from prefect_ratify.flows.report import judge_words, signed
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.records import Response, Verdict, digest
from prefect_ratify.scenarios.comparing import ALL, Comparison, rates
from prefect_ratify.scenarios.conflicts import conflicts
from prefect_ratify.scenarios.rules import RuleFinding, examine, parse_rules
from prefect_ratify.store import read_record, read_records

QUESTIONS = {
    "draft": "Does the draft say what the group meant?",
    "policy": "May the refined policy stand for the draft?",
    "data": "May a model be trained on these rows?",
    "release": "May this model be released?",
}
REQUESTS = {
    "draft": "If you request changes, the run goes on, the refiner works with your comment, and you see the outcome "
    "at the policy gate. To stop it, reject.",
    "policy": "If you request changes, the refiner reads your comment and the wording is done again.",
    "data": "If you request changes, the rows are made again.",
    "release": "If you request changes, the training is done again, and where stakeholders.yaml says so its data too.",
}
SHOWN_ROWS = 6


def describe(gate: str, evidence: str, link: str, problem: str, waiting_for: str) -> str:
    """The text over the form: short, because the form squeezes it."""
    lines = [f"**The last answer was not counted: {escaped(problem)}.**", ""] if problem else []
    lines += [f"**{QUESTIONS[gate]}** Waiting for {escaped(waiting_for)}.", ""]
    lines += [f"[Read the evidence]({link}) (digest `{evidence[:16]}`) before you decide.", ""]
    # In the classic UI a list of choices does not open by mouse.
    lines += ["To open the list of decisions, move to it with Tab and press the space bar. " + REQUESTS[gate]]
    return "\n".join(lines)


def publish(run: Run, gate: str, votes: Sequence[LedgerEntry]) -> str:
    """Create the gate's artifact; returns the path at which the Prefect UI shows it."""
    from prefect.artifacts import create_markdown_artifact

    parts = [f"# {QUESTIONS[gate]}", _votes(votes), summary(run, gate), details(run, gate)]
    artifact = create_markdown_artifact(
        markdown="\n\n".join(part for part in parts if part), key=f"gate-{gate}-{run.id}", description=QUESTIONS[gate]
    )
    return f"/v2/artifacts/artifact/{artifact}"


def _votes(votes: Sequence[LedgerEntry]) -> str:
    if not votes:
        return ""
    lines = [
        f"- {escaped(vote.approver)}: {vote.decision}" + (f" – {escaped(vote.comment)}" if vote.comment else "")
        for vote in votes
    ]
    return "Decided so far:\n\n" + "\n".join(lines)


def summary(run: Run, gate: str) -> str:
    """The gate's numbers in a few lines of Markdown."""
    if gate == "draft":
        return _draft_summary(run)
    if gate == "policy":
        comparison = read_record(run.stage_folder("regress") / "comparison.json", Comparison)
        # Rules are held against the whole suite; but who tunes a wording must not learn which held-out scenario it is.
        return "\n\n".join([policy_summary(run), *_compared(run, comparison, _veiled(run, comparison))])
    if gate == "data":
        return data_summary(run)
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    shown = [c for c in final.comparisons if c.first in ("base", "refined")]
    return "\n\n".join([*(part for c in shown for part in _compared(run, c, c)), *voices(run)])


def details(run: Run, gate: str) -> str:
    """What a person should read before deciding."""
    if gate == "draft":
        clauses = [f"- **{escaped(clause.id)}**: {escaped(clause.text)}" for clause in run.project.policy.clauses]
        found = pulling_apart(conflicts(prototyped(run), run.project.policy.clause_ids))
        answers = _side_by_side(run, "prototype", ("base", "draft"))
        parts = ("\n".join(clauses), contested(run.project.policy), found, answers)
        return "\n\n".join(part for part in parts if part)
    if gate == "policy":
        return "\n\n".join([policy_details(run), _side_by_side(run, "regress", ("draft", "refined"))])
    if gate == "data":
        return data_details(run)
    return _side_by_side(run, "compare", ("base", "refined", "finetuned")) + f"\n\n{_report_link(run)}"


def comparison_table(comparison: Comparison) -> str:
    """A comparison as a Markdown table, a row a clause."""
    by_clause = {(r.condition, r.clause_id): r.interval for r in comparison.rates}
    lines = [
        f"| clause | {escaped(comparison.first)} | {escaped(comparison.second)} | difference | | |",
        "|---|---|---|---|---|---|",
    ]
    for d in comparison.differences:
        first, second = by_clause[comparison.first, d.clause_id], by_clause[comparison.second, d.clause_id]
        name = f"**{d.clause_id}**" if d.clause_id == ALL else escaped(d.clause_id)
        moved = f"{arrow(d)} {signed(d.interval)}".strip()
        lines.append(f"| {name} | {percent(first)} | {percent(second)} | {moved} | {d.finding} | {findable(d)} |")
    lines.append(
        f"\nScenario × clause: {comparison.count('fixed')} fixed, {comparison.count('regressed')} regressed, "
        f"{comparison.count('unchanged')} unchanged, {comparison.count('undecided')} undecided."
    )
    return "\n".join(lines)


def findings_table(findings: Sequence[RuleFinding]) -> str:
    """What a comparison says to the regression rules, as a Markdown table; empty where there are none."""
    if not findings:
        return ""
    lines = ["| regression rule | | why |", "|---|---|---|"]
    for found in findings:
        outcome = f"{RULINGS[found.outcome]} {found.outcome}"
        outcome = f"**{outcome}**" if found.outcome == "broken" else outcome
        lines.append(f"| {escaped(found.rule)} | {outcome} | {escaped(found.reason)} |")
    return "\n".join(lines)


def _compared(run: Run, comparison: Comparison, named: Comparison) -> list[str]:
    """A comparison's picture and table, what the project's rules say to it, and what it cannot tell.

    `named` is the same comparison, with the names under which scenarios may be shown.
    """
    clause_ids = [d.clause_id for d in comparison.differences if d.clause_id != ALL]
    rules = findings_table(examine(parse_rules(run.project.stakeholders.regression, clause_ids), named))
    said = cautions(comparison.model_copy(update={"tag_differences": ()}))  # tags are not shown here
    parts = [comparison_picture(comparison), comparison_table(comparison), rules, listing(said)]
    return [part for part in parts if part]


def _veiled(run: Run, comparison: Comparison) -> Comparison:
    """A comparison in which held-out scenarios have numbers for names, in no order that tells which is which."""
    held_out = sorted((scenario.id for scenario in run.project.suite.split("held_out")), key=digest)
    names = {scenario_id: f"held-out scenario {number}" for number, scenario_id in enumerate(held_out, start=1)}
    cells = [c.model_copy(update={"scenario_id": names.get(c.scenario_id, c.scenario_id)}) for c in comparison.cells]
    return comparison.model_copy(update={"cells": tuple(cells)})


def _draft_summary(run: Run) -> str:
    # Of the development scenarios alone: people who tune a draft must not see how it does on the others.
    shown = {scenario.id for scenario in run.project.suite.split("develop")}
    found = read_records(run.stage_folder("prototype") / "verdicts.jsonl", Verdict)
    verdicts = [verdict for verdict in found if verdict.scenario_id in shown]
    gaps = read_record(run.stage_folder("prototype") / "gaps.json", Gaps)
    clause_ids = run.project.policy.clause_ids
    columns = {
        name: {r.clause_id: r.interval for r in rates([v for v in verdicts if v.condition == name], clause_ids)}
        for name in ("base", "draft")
    }
    lines = ["| clause | without the policy | with the draft |", "|---|---|---|"]
    for clause_id in [*clause_ids, ALL]:
        lines.append(
            f"| {clause_id} | {percent(columns['base'][clause_id])} | {percent(columns['draft'][clause_id])} |"
        )
    lines += ["", f"Scenarios that no clause covers: {', '.join(gaps.uncovered) or 'none'}."]
    if gaps.pulling_apart:
        lines.append(f"Scenarios on which clauses pull apart: {', '.join(gaps.pulling_apart)}.")
    if words := judge_words(run):
        lines += ["", listing(words)]
    if gaps.undecided_clauses:
        undecided = ", ".join(gaps.undecided_clauses)
        lines.append(f"Nobody can decide these clauses (no check, and no judge that may): {undecided}.")
    return "\n".join(lines)


def _side_by_side(run: Run, stage: str, names: Sequence[str]) -> str:
    """The first answers to some scenarios, under each condition."""
    held_out = stage == "compare"
    files = [run.stage_folder("prototype"), run.stage_folder(stage)]
    found = [r for folder in files for r in read_records(folder / "responses.jsonl", Response)]
    texts = {(r.scenario_id, r.condition): r.text for r in found if r.sample == 0}
    # Who tunes a wording must not read how it does on the held-out scenarios.
    scenarios = run.project.suite.split("held_out" if held_out else "develop")[:SHOWN_ROWS]
    shown = [[(s.query, "")] + [(texts.get((s.id, name), "–"), name) for name in names] for s in scenarios]
    return "## Some answers\n\n" + _listed(shown)


def _listed(rows: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Long texts, each with its label: tables of the classic UI do not break lines."""
    lines = []
    for (request, _), *answers in rows:
        lines += [f"**{escaped(request)}**", ""]
        for text, label in answers:
            lines += [f"> *{escaped(label)}:* {escaped(text)}", ""]
    return "\n".join(lines)


def _report_link(run: Run) -> str:
    from prefect_ratify.flows.serving import publish_report

    address = publish_report(run)
    if address:
        return f"[The whole report]({address})"
    return f"The whole report is the file {escaped(str(run.folder / 'report.html'))} on the worker."
