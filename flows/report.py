"""The report: report.json for machines, report.html for people, a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect_ratify import __version__, embedded
from prefect_ratify.clause_changes import ClauseChange
from prefect_ratify.errors import RatifyError
from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.ledger import head_digest, read_ledger
from prefect_ratify.flows.refine import Refinement, refined_policy
from prefect_ratify.flows.regress import BySplit
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.records import digest
from prefect_ratify.scenarios.comparing import ALL, Comparison, Rate
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.scenarios.yardstick import EXPECTATION
from prefect_ratify.store import read_json, read_record, read_records, write_json, write_text


def write_report(run: Run) -> Path:
    """Write both reports and the model card into the run's folder; returns the HTML one's path.

    RatifyError where the run has not been compared yet.
    """
    from prefect_ratify.flows.model_card import model_card
    from prefect_ratify.flows.report_page import page

    if not run.stage_folder("compare").exists():
        raise RatifyError(f"run {run.id} is not finished; go on with: ratify run {run.project.folder}")
    write_json(run.folder / "report.json", report_numbers(run))
    write_text(run.folder / "report.html", page(run))
    write_text(run.folder / "model_card.md", model_card(run))
    return run.folder / "report.html"


def report_numbers(run: Run) -> dict[str, Any]:
    """Everything that the HTML report shows as a number, as plain JSON."""
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    ledger = read_ledger(run.folder)
    return {
        "run": run.id,
        "version": __version__,
        "project": run.project.policy.title,
        "policy": {"draft": digest(run.project.policy), "refined": digest(refined_policy(run))},
        "settings": run.settings.model_dump(mode="json"),
        "unattended": any(entry.unattended for entry in ledger),
        "ledger": {"head": head_digest(run.folder), "entries": [entry.model_dump(mode="json") for entry in ledger]},
        "conditions": _conditions(final),
        "differences": [
            *_differences(final.comparisons, "checks"),
            *_differences(final.audit_comparisons, "audit"),
        ],
        "lineage": [
            change.model_dump(mode="json")
            for change in read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
        ],
        "refined_by_split": _by_split(run),
        "refinement": read_record(run.stage_folder("refine") / "refinement.json", Refinement).model_dump(
            mode="json", exclude={"development": {"cells"}}
        ),
        "data": read_record(run.stage_folder("generate") / "counts.json", DataCounts).model_dump(mode="json"),
        "training": read_json(run.stage_folder("train") / "training.json"),
        "stage_seconds": {
            path.parent.name: read_json(path)["seconds"] for path in sorted(run.folder.glob("*/stage.json"))
        },
        "limits": limits(run),
        **_voices(run),
    }


def _voices(run: Run) -> dict[str, Any]:
    """What was measured of pluralism, and what the jury found, where there is anything."""
    from prefect_ratify.flows.jury_words import jury_of
    from prefect_ratify.flows.pluralism_words import pluralism_of

    found = {"pluralism": pluralism_of(run), "jury": jury_of(run)}
    return {name: each.model_dump(mode="json") for name, each in found.items() if each}


def limits(run: Run) -> list[str]:
    """What a reader has to know before believing the numbers, in sentences."""
    models = run.settings.models
    judged = "checks that the policy's authors wrote" + (f", and judge models ({models.judge})" if models.judge else "")
    found = [
        f"Verdicts come from {judged}. Precedents by people: {len(run.project.precedents)}.",
        "The same checks chose the training rows and score the result. "
        + (
            "The audit checks were written apart and are used for nothing but the comparison; where the two "
            "disagree, believe the lower one."
            if run.project.suite.audits
            else "There were no audit checks, so that nothing independent scored it."
        ),
    ]
    if run.stage_folder("compare").exists():
        found.append(_cut_answers(read_record(run.stage_folder("compare") / "comparison.json", Final)))
    undecidable = [c for c in run.project.policy.clause_ids if not run.project.suite.guide(c).check]
    if undecidable and not models.judge:
        found.append(f"Nobody could decide these clauses, for want of a check and a judge: {', '.join(undecidable)}.")
    if models.responder != models.student:
        found.append(
            f"Two models are compared: base and finetuned are {models.student}; what is prompted is {models.responder}."
        )
    found += judge_words(run)
    if not models.critic:
        found.append(
            "The training answers were composed sentence by sentence from worked examples, and partly from the "
            "authors' opening words; no model criticised or revised them."
        )
    if models.student == embedded.NAME:
        found.append(
            "The student has 135 million parameters. It learns the form of the policy and not the subject: what it "
            "says of the law, or of anything else, is often wrong, and is no advice."
        )
    if run.settings.scenario_limit:
        found.append(f"Only {run.settings.scenario_limit} scenarios of each split were used (--limit).")
    return found


def judge_words(run: Run) -> list[str]:
    """Where a judge may not decide, and where nobody knows what it is worth; nothing where none is asked."""
    return run.project.judge_words(run.project.policy, run.settings.models.judges)


def _by_split(run: Run) -> dict[str, Any]:
    splits = read_record(run.stage_folder("regress") / "by_split.json", BySplit)
    both = {"develop": splits.develop, "held_out": splits.held_out}
    return {name: next(d for d in _differences([each], "") if d["clause"] == ALL) for name, each in both.items()}


def _cut_answers(final: Final) -> str:
    shares = ", ".join(f"{f.condition} {1 - f.finished:.0%}" for f in final.fluency)
    return (
        f"Answers are cut at a limit of tokens; so many were: {shares}. What a cut answer did not say by then "
        "counts as not said."
    )


def terminal_table(run: Run) -> str:
    """The held-out rates of every condition, and what finetuning changed, for a terminal."""
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    names = list(dict.fromkeys(rate.condition for rate in final.rates))
    clause_ids = [*dict.fromkeys(rate.clause_id for rate in final.rates)]
    shown = {(rate.condition, rate.clause_id): rate.interval for rate in final.rates}
    width = max(len(clause_id) for clause_id in clause_ids)
    lines = ["", "Held-out scenarios: clauses upheld, in %, with 95 % intervals", ""]
    lines.append(" " * width + "".join(f"{name:>16}" for name in names))
    for clause_id in clause_ids:
        lines.append(f"{clause_id:<{width}}" + "".join(f"{_percent(shown[n, clause_id]):>16}" for n in names))
    lines.append("")
    audits = {c.first: c.total().interval for c in final.audit_comparisons}
    for comparison in final.comparisons:
        change = comparison.total()
        audit = f"   (by audit checks {signed(audits[comparison.first])})" if comparison.first in audits else ""
        lines.append(f"{FINETUNED} − {comparison.first:<9} {signed(change.interval)}  {change.finding}{audit}")
    return "\n".join([*lines, "", *_voice_lines(run)])


def _voice_lines(run: Run) -> list[str]:
    from prefect_ratify.flows.jury_words import jury_lines, jury_of
    from prefect_ratify.flows.pluralism_words import lines, pluralism_of

    pluralism, jury = pluralism_of(run), jury_of(run)
    return [*([*lines(pluralism), ""] if pluralism else []), *([*jury_lines(jury), ""] if jury else [])]


def _conditions(final: Final) -> dict[str, Any]:
    names = dict.fromkeys(rate.condition for rate in final.rates)
    return {
        name: {
            "held_out": _by_clause(final.rates, name),
            "audit": _by_clause(final.audit_rates, name),
            "unrelated": _by_clause(final.over_application, name),
            "expectation": _by_clause(final.expectations, name).get(EXPECTATION),
            "evasion": {
                found.requests.replace(" ", "_"): found.model_dump(mode="json", exclude={"condition", "requests"})
                for found in final.evasion
                if found.condition == name
            },
            "account": final.accounts[name].model_dump() if name in final.accounts else None,
            "fluency": next(f.model_dump(exclude={"condition"}) for f in final.fluency if f.condition == name),
        }
        for name in names
    }


def _by_clause(found: Sequence[Rate], condition: str) -> dict[str, Any]:
    return {
        rate.clause_id: {
            "rate": rate.interval.value,
            "low": rate.interval.low,
            "high": rate.interval.high,
            "scenarios": rate.interval.scenarios,
            "verdicts": rate.verdicts,
        }
        for rate in found
        if rate.condition == condition
    }


def _differences(comparisons: Sequence[Comparison], by: str) -> list[dict[str, Any]]:
    return [
        {
            "first": d.first,
            "second": d.second,
            "by": by,
            "clause": d.clause_id,
            "difference": d.interval.value,
            "low": d.interval.low,
            "high": d.interval.high,
            "scenarios": d.interval.scenarios,
            "p_value": d.p_value,
            "finding": d.finding,
            "tag": d.tag,
            "if_undecided": d.if_undecided,
            "smallest_found": d.smallest_found,
        }
        for comparison in comparisons
        for d in (*comparison.differences, *comparison.tag_differences)
    ]


def _percent(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value * 100:.0f} [{interval.low * 100:.0f}, {interval.high * 100:.0f}]"


def signed(interval: Interval) -> str:
    """`+0.64 [+0.59, +0.69]`, or a dash where there is nothing to compare."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
