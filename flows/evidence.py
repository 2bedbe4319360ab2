"""What a gate shows: a short description in the form, and Prefect artifacts to look into."""

from __future__ import annotations

import re

from prefect.artifacts import create_markdown_artifact

from prefect_ratify.finetune.dataset import DataCounts
from prefect_ratify.flows.compare import Final
from prefect_ratify.flows.prototype import Gaps
from prefect_ratify.flows.refine import Refinement, refined_policy
from prefect_ratify.flows.report import signed
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.records import Demonstration, Response, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, rates
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import read_record, read_records

QUESTIONS = {
    "draft": "Does the draft say what the group meant?",
    "policy": "May the refined policy stand for the draft?",
    "data": "May a model be trained on these rows?",
    "release": "May this model be released?",
}
SHOWN_ROWS = 6


def describe(run: Run, gate: str, evidence: str, links: list[str], problem: str) -> str:
    """The text over the form: short, because the form squeezes it."""
    lines = [f"**{problem}**\n"] if problem else []
    lines += [f"**{QUESTIONS[gate]}**", "", summary(run, gate), ""]
    lines += [f"[Look at the evidence](/v2/artifacts/artifact/{link}), digest `{evidence[:16]}`" for link in links]
    # In the classic UI a list of choices does not open by mouse.
    return "\n".join([*lines, "", "To open the list of decisions, move to it with Tab and press the space bar."])


def publish(run: Run, gate: str) -> list[str]:
    """Create the gate's artifacts; returns their ids."""
    title = f"{QUESTIONS[gate]}\n\n"
    artifact = create_markdown_artifact(
        markdown=title + summary(run, gate) + "\n\n" + details(run, gate),
        key=f"gate-{gate}",
        description=QUESTIONS[gate],
    )
    return [str(artifact)]


def summary(run: Run, gate: str) -> str:
    """The gate's numbers in a few lines of Markdown."""
    if gate == "draft":
        return _draft_summary(run)
    if gate == "policy":
        outcome = read_record(run.stage_folder("refine") / "refinement.json", Refinement)
        comparison = read_record(run.stage_folder("regress") / "comparison.json", Comparison)
        stands = f"The draft stands: {outcome.why}." if outcome.draft_stands else "The refined policy was better."
        return f"{stands}\n\n{comparison_table(comparison)}"
    if gate == "data":
        counts = read_record(run.stage_folder("generate") / "counts.json", DataCounts)
        lost = "; ".join(f"{n} × {escaped(reason)}" for reason, n in counts.lost.items()) or "none"
        return f"{counts.demonstrations} demonstrations, {counts.retained} retain rows; lost: {lost}."
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    return "\n\n".join(comparison_table(c) for c in final.comparisons if c.first in ("base", "refined"))


def details(run: Run, gate: str) -> str:
    """What a person should read before deciding."""
    if gate == "draft":
        clauses = [f"- **{escaped(clause.id)}**: {escaped(clause.text)}" for clause in run.project.policy.clauses]
        return "\n".join([*clauses, "", _samples(run)])
    if gate == "policy":
        draft, refined = run.project.policy, refined_policy(run)
        rows = [
            f"| {escaped(old.id)} | {escaped(old.text)} | {escaped(new.text)} | {len(new.examples)} |"
            for old, new in zip(draft.clauses, refined.clauses, strict=True)
        ]
        return "| clause | draft | refined | worked examples |\n|---|---|---|---|\n" + "\n".join(rows)
    if gate == "data":
        sampled = read_records(run.stage_folder("generate") / "rows.jsonl", Demonstration)
        rows = [
            f"| {escaped(row.prompt[-1].content)} | {escaped(row.completion[0].content)} |"
            for row in sampled[:: max(1, len(sampled) // SHOWN_ROWS)][:SHOWN_ROWS]
        ]
        return "| request | answer to learn |\n|---|---|\n" + "\n".join(rows)
    return f"The whole report is the file `{run.folder / 'report.html'}` on the worker."


def comparison_table(comparison: Comparison) -> str:
    """A comparison as a Markdown table, a row a clause."""
    by_clause = {(r.condition, r.clause_id): r.interval for r in comparison.rates}
    lines = [
        f"| clause | {comparison.first} | {comparison.second} | difference | |",
        "|---|---|---|---|---|",
    ]
    for d in comparison.differences:
        first, second = by_clause[comparison.first, d.clause_id], by_clause[comparison.second, d.clause_id]
        name = f"**{d.clause_id}**" if d.clause_id == ALL else escaped(d.clause_id)
        lines.append(f"| {name} | {percent(first)} | {percent(second)} | {signed(d.interval)} | {d.finding} |")
    lines.append(
        f"\nScenario × clause: {comparison.count('fixed')} fixed, {comparison.count('regressed')} regressed, "
        f"{comparison.count('unchanged')} unchanged, {comparison.count('undecided')} undecided."
    )
    return "\n".join(lines)


def percent(interval: Interval) -> str:
    """`54 % [40, 68]`, or a dash where nothing was decided."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value:.0%} [{interval.low * 100:.0f}, {interval.high * 100:.0f}]"


def escaped(text: str) -> str:
    """Foreign text for a Markdown table: no markup of its own, no line breaks, no HTML."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", flat)


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
    if gaps.undecided_clauses:
        lines.append(f"Nobody can decide these clauses (no check, no judge): {', '.join(gaps.undecided_clauses)}.")
    return "\n".join(lines)


def _samples(run: Run) -> str:
    responses = read_records(run.stage_folder("prototype") / "responses.jsonl", Response)
    base = {r.scenario_id: r.text for r in responses if r.condition == "base"}
    rows = [
        f"| {escaped(s.query)} | {escaped(base[s.id])} | {escaped(r.text)} |"
        for s in run.project.suite.split("develop")[:SHOWN_ROWS]
        for r in responses
        if r.scenario_id == s.id and r.condition == "draft"
    ]
    return "| request | without the policy | with the draft |\n|---|---|---|\n" + "\n".join(rows)
