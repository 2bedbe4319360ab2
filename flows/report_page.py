"""The HTML report: one self-contained file for people who read no code.

Text from models and people is untrusted: the template escapes all of it, and the page allows
no script and no outside resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from prefect_ratify import __version__
from prefect_ratify.budget import money
from prefect_ratify.clause_changes import ClauseChange, Refusal
from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.dataset import SUPERVISED
from prefect_ratify.finetune.origins import origin
from prefect_ratify.finetune.row_search import spread_rows
from prefect_ratify.flows.change_map import ChangeMap, change_map
from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.jury_page import jury_section
from prefect_ratify.flows.jury_words import jury_of
from prefect_ratify.flows.ledger import head_digest, read_ledger
from prefect_ratify.flows.lineage import cost, lineages, reasons, wording
from prefect_ratify.flows.pages import day, templates
from prefect_ratify.flows.pictures import Dot, axis, lanes
from prefect_ratify.flows.pluralism_page import pluralism_section
from prefect_ratify.flows.pluralism_words import pluralism_of
from prefect_ratify.flows.policy_evidence import measured
from prefect_ratify.flows.refine import Refinement, refined_policy
from prefect_ratify.flows.regress import BySplit
from prefect_ratify.flows.regression_words import findable, rows_of, verdicts_of
from prefect_ratify.flows.report import limits
from prefect_ratify.flows.report_answers import answers
from prefect_ratify.flows.report_in_short import HEADLINE, by_place, in_short
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES
from prefect_ratify.flows.training_curves import training_steps
from prefect_ratify.flows.voting import dissent, released, standing
from prefect_ratify.flows.word_difference import word_difference
from prefect_ratify.policy_modules.responder import with_examples
from prefect_ratify.records import Response, Verdict, digest
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference
from prefect_ratify.scenarios.yardstick import EXPECTATION
from prefect_ratify.store import read_json, read_record, read_records

LABELS = {
    "base": "base model",
    "draft": "prompted, draft",
    "refined": "prompted, refined",
    "examples": "prompted, worked examples",
    FINETUNED: "finetuned",
}
SHOWN_ROWS = 6


@dataclass(frozen=True)
class DifferenceRow:
    """Finetuned against one condition, on one clause, by checks and (where there are any) audit checks."""

    first: str
    clause_id: str
    checks: Difference
    audit: Difference | None


def page(run: Run) -> str:
    """The whole report of a compared run, as HTML."""
    environment = templates()
    environment.globals.update(labels=LABELS, all_clauses=ALL, findable=findable)
    environment.globals.update(reasons_of=reasons, cost_of=cost, wording_of=wording, words_between=word_difference)
    environment.globals.update(money=money, origin_of=origin)
    template = environment.get_template("report.html.jinja")
    return template.render(_everything(run))


def _everything(run: Run) -> dict[str, Any]:
    """What the template shows, section by section."""
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    names = list(dict.fromkeys(rate.condition for rate in final.rates))
    return {
        "run": run,
        "version": __version__,
        "date": _date(run),
        "policy": run.project.policy,
        "names": names,
        "clause_rows": [*run.project.policy.clause_ids, ALL],
        "final": final,
        "in_short": in_short(
            final, len(run.project.suite.split("held_out")), len(run.project.suite.unrelated_split("held_out"))
        ),
        "headline": [name for name in HEADLINE if name in names],
        "rates": by_place(final.rates),
        "applied": by_place(final.over_application),
        "evasion": {(found.requests, found.condition): found for found in final.evasion},
        "expected": {r.condition: r.interval.value for r in final.expectations if r.clause_id == EXPECTATION},
        "axis": axis(),
        "pictures": _pictures(final, names, run.project.policy.clause_ids),
        "differences": _difference_rows(final),
        "map": _map(run, final),
        "accounts": [
            (title, counted(list(final.accounts.values())))
            for title, counted in (("answers", rows_of), ("verdicts", verdicts_of))
        ],
        "limits": limits(run),
        **_voices(run),
        **_gates(run),
        **_refinement(run),
        **answers(run, names),
        **_training(run),
    }


def _map(run: Run, final: Final) -> ChangeMap:
    """What finetuning changed against the refined policy as prompt: there, what training lost shows best."""
    comparison = next((c for c in final.comparisons if c.first == "refined"), final.comparisons[0])
    folder = run.stage_folder("compare")
    return change_map(
        comparison,
        refined_policy(run).joined(),
        run.project.suite.split("held_out"),
        read_records(folder / "responses.jsonl", Response),
        read_records(folder / "verdicts.jsonl", Verdict),
        LABELS,
    )


def _voices(run: Run) -> dict[str, Any]:
    """What was measured of pluralism, and what the jury found; None where nothing was."""
    pluralism, jury = pluralism_of(run), jury_of(run)
    responses = read_records(run.stage_folder("compare") / "responses.jsonl", Response) if jury else []
    return {
        "pluralism": pluralism_section(pluralism, LABELS) if pluralism else None,
        "jury": jury_section(jury, run.project.suite.split("held_out"), responses, LABELS) if jury else None,
    }


def _gates(run: Run) -> dict[str, Any]:
    """The decisions, what they come to, and what was said against them."""
    ledger = read_ledger(run.folder)
    counted = [entry for entry in ledger if not entry.refused]
    evidence = {gate: evidence_digest(run, gate) for gate in GATES}
    stands = {gate: standing(run, gate, evidence[gate], unattended=run.unattended) for gate in GATES}
    decision, votes = released(run)
    return {
        "decisions": counted,
        "refused_answers": len(ledger) - len(counted),
        "undecided_gates": [gate for gate in GATES if stands[gate] is None],
        "unattended": list(dict.fromkeys(entry.gate for entry in counted if entry.unattended)),
        "release": decision,
        "release_by": votes,
        "dissent": dissent(run),
        "proven": all(entry.proven for entry in counted if not entry.unattended),
        "head": head_digest(run.folder),
    }


def _refinement(run: Run) -> dict[str, Any]:
    """The policy before and after, and why."""
    draft, refined = run.project.policy, refined_policy(run)
    changes = read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
    guides = {clause_id: run.project.suite.guide(clause_id).examples for clause_id in draft.clause_ids}
    return {
        "refinement": read_record(run.stage_folder("refine") / "refinement.json", Refinement),
        "regression": read_record(run.stage_folder("regress") / "comparison.json", Comparison),
        "by_split": read_record(run.stage_folder("regress") / "by_split.json", BySplit),
        "measured": measured(run),
        "lineages": lineages(draft, refined, changes),
        "refused": read_records(run.stage_folder("refine") / "refusals.jsonl", Refusal),
        "refined": refined,
        "all_examples_in": with_examples(refined, guides).clauses == refined.clauses,
        "digests": {"draft": digest(draft), "refined": digest(refined)},
    }


def _training(run: Run) -> dict[str, Any]:
    """The training data and the steps of the training."""
    return {
        "counts": read_record(run.stage_folder("generate") / "counts.json", DataCounts),
        "rows": spread_rows(run.stage_folder("generate") / SUPERVISED, SHOWN_ROWS),
        "training": read_json(run.stage_folder("train") / "training.json"),
        "training_steps": training_steps(run.stage_folder("train")),
    }


def _pictures(final: Final, names: Sequence[str], clause_ids: Sequence[str]) -> dict[str, Markup]:
    """For each clause, and for all together, its lanes."""
    found = by_place(final.rates)

    def drawn(clause_id: str) -> Markup:
        there = [name for name in names if (name, clause_id) in found]
        return lanes(clause_id, [Dot(n, LABELS.get(n, n), found[n, clause_id].interval) for n in there])

    return {clause_id: drawn(clause_id) for clause_id in [*clause_ids, ALL]}


def _difference_rows(final: Final) -> list[DifferenceRow]:
    audits = {(d.first, d.clause_id): d for c in final.audit_comparisons for d in c.differences}
    return [
        DifferenceRow(d.first, d.clause_id, d, audits.get((d.first, d.clause_id)))
        for comparison in final.comparisons
        for d in comparison.differences
    ]


def _date(run: Run) -> str:
    """When the comparison was written."""
    at = (run.stage_folder("compare") / "comparison.json").stat().st_mtime
    return day(datetime.fromtimestamp(at, UTC).isoformat())
