"""The HTML report: one self-contained file for people who read no code.

Text from models and people is untrusted: the template escapes all of it, and the page allows
no script and no outside resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from prefect_ratify import __version__
from prefect_ratify.budget import money
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
from prefect_ratify.flows.pages import SIGNS, day, gap, gap_reach, percent, templates
from prefect_ratify.flows.pictures import Dot, axis, lanes
from prefect_ratify.flows.pluralism_page import pluralism_section
from prefect_ratify.flows.pluralism_words import pluralism_of
from prefect_ratify.flows.policy_evidence import measured
from prefect_ratify.flows.refine import Refinement, refined_policy
from prefect_ratify.flows.regress import BySplit
from prefect_ratify.flows.regression_words import findable, rows_of, verdicts_of
from prefect_ratify.flows.report import limits
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES
from prefect_ratify.flows.training_curves import training_steps
from prefect_ratify.flows.voting import dissent, released, standing
from prefect_ratify.flows.word_difference import Piece, word_difference
from prefect_ratify.policy_modules.responder import with_examples
from prefect_ratify.records import ClauseChange, Refusal, Response, Scenario, Verdict, digest
from prefect_ratify.scenarios.checks import Finding
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference, Rate
from prefect_ratify.scenarios.judging import EXPECTATION
from prefect_ratify.store import read_json, read_record, read_records

LABELS = {
    "base": "base model",
    "draft": "prompted, draft",
    "refined": "prompted, refined",
    "examples": "prompted, worked examples",
    FINETUNED: "finetuned",
}
IN_PROSE = {
    "base": "the base model",
    "draft": "the model prompted with the draft",
    "refined": "the model prompted with the refined policy",
    "examples": "the model prompted with worked examples",
}
FINDINGS = {
    "better": "did better than",
    "worse": "did worse than",
    "no difference shown": "was not shown to differ from",
    "too few scenarios to tell": "cannot be told, on so few scenarios, from",
}
HEADLINE = ("base", "draft", "examples", FINETUNED)
SHOWN_SCENARIOS = 8
SHOWN_UNRELATED = 4
SHOWN_ROWS = 6

T = TypeVar("T")
Places = Mapping[tuple[str, str], Rate]
Judged = Mapping[tuple[str, str], Sequence[Verdict]]


@dataclass(frozen=True)
class Answer:
    """A response, cut into pieces, with its verdicts."""

    condition: str
    response: Response
    pieces: list[Piece]
    verdicts: Sequence[Verdict]


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


def spread(items: Sequence[T], count: int) -> list[T]:
    """`count` items, evenly spaced from the first to the last; all where there are no more."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def marked(text: str, findings: Mapping[str, Finding]) -> list[Piece]:
    """A response with the passages that checks found; overlapping passages become one.

    A passage's tone is "violated" where one of its clauses is, so that no fault is hidden.
    """
    found = sorted(
        (start, end, clause_id, "upheld" if finding.holds else "violated")
        for clause_id, finding in findings.items()
        if finding.holds is not None
        for start, end in finding.spans
        if start < end
    )
    pieces, done = [], 0
    while found:
        start, end = found[0][:2]
        notes: dict[str, str] = {}
        while found and found[0][0] < end:
            _, stop, clause_id, outcome = found.pop(0)
            end = max(end, stop)
            notes[clause_id] = outcome
        pieces += [Piece(text[done:start])] if start > done else []
        tone = "violated" if "violated" in notes.values() else "upheld"
        note = ", ".join(f"{clause_id} {SIGNS[outcome]}" for clause_id, outcome in notes.items())
        pieces.append(Piece(text[start:end], tone, note))
        done = end
    return [*pieces, Piece(text[done:])] if done < len(text) else pieces


def in_short(final: Final, scenario_count: int, unrelated_count: int) -> list[Markup]:
    """The main numbers in two to four sentences."""
    found = _by_place(final.rates)
    rates = {name: percent(found[name, ALL].interval.value) for name in HEADLINE if (name, ALL) in found}
    told = [f"{rates[name]} for {IN_PROSE[name]}" for name in HEADLINE[:-1] if name in rates]
    sentences = [
        Markup(
            "On {} held-out requests, which neither refinement nor training saw, the share of clauses that "
            "an answer upheld was on average {}, and <strong>{} for the finetuned model</strong>, which is shown no "
            "policy."
        ).format(scenario_count, ", ".join(told), rates.get(FINETUNED, "–")),
        Markup("By the clauses’ checks, the finetuned model {}.").format(_against_prompted(final.comparisons)),
    ]
    if final.audit_comparisons:
        sentences.append(
            Markup("By the audit checks, which were written apart and are used for nothing else, it {}.").format(
                _against_prompted(final.audit_comparisons)
            )
        )
    if final.over_application and unrelated_count:
        sentences.append(_over_applied(final, unrelated_count))
    return sentences


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
        "rates": _by_place(final.rates),
        "applied": _by_place(final.over_application),
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
        **_answers(run, names),
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


def _answers(run: Run, names: Sequence[str]) -> dict[str, Any]:
    """Responses side by side: to some held-out scenarios, and to some unrelated requests."""
    folder, suite = run.stage_folder("compare"), run.project.suite
    held_out, unrelated = suite.split("held_out"), suite.unrelated_split("held_out")
    sourced = spread([s for s in held_out if s.source], SHOWN_SCENARIOS)
    rest = [s for s in held_out if not s.source]
    chosen = [*sourced, *spread(rest, SHOWN_SCENARIOS - len(sourced))]
    shown = [name for name in ("base", "refined", FINETUNED) if name in names]
    return {
        "held_out_count": len(held_out),
        "unrelated_count": len(unrelated),
        "examples_shown": _side_by_side(run, chosen, shown, folder / "responses.jsonl", folder / "verdicts.jsonl"),
        "unrelated_shown": _side_by_side(
            run,
            spread(unrelated, SHOWN_UNRELATED),
            [name for name in shown if name != "refined"],
            folder / "unrelated_responses.jsonl",
            folder / "unrelated_verdicts.jsonl",
        ),
    }


def _side_by_side(
    run: Run, scenarios: Sequence[Scenario], names: Sequence[str], responses: Path, verdicts: Path
) -> list[tuple[Scenario, list[Answer]]]:
    """The first answer of each condition to each scenario, with its verdicts."""
    first = {(r.scenario_id, r.condition): r for r in read_records(responses, Response) if r.sample == 0}
    judged: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in read_records(verdicts, Verdict):
        if verdict.sample == 0:
            judged.setdefault((verdict.scenario_id, verdict.condition), []).append(verdict)
    return [
        (scenario, [_answer(run, scenario, first[scenario.id, n], judged) for n in names if (scenario.id, n) in first])
        for scenario in scenarios
    ]


def _answer(run: Run, scenario: Scenario, response: Response, judged: Judged) -> Answer:
    """A response as it is shown; where no clause applies, only what shows of one is marked."""
    verdicts = judged.get((response.scenario_id, response.condition), ())
    findings = {}
    for verdict in verdicts:
        check = run.project.suite.guide(verdict.clause_id).check
        if check and (scenario.clause_ids or verdict.outcome == "upheld"):
            findings[verdict.clause_id] = check(response.text, response.finished)
    return Answer(response.condition, response, marked(response.text, findings), verdicts)


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
    found = _by_place(final.rates)

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


def _against_prompted(comparisons: Sequence[Comparison]) -> Markup:
    """How finetuned did against the two ends of prompting: the draft, and all worked examples."""
    totals = [c.total() for c in comparisons if c.first in ("draft", "examples")]
    told = [
        Markup("<strong>{}</strong> {} ({}, 95\u00a0% interval {})").format(
            FINDINGS[d.finding], IN_PROSE[d.first], gap(d.interval), gap_reach(d.interval) or "–"
        )
        for d in totals
    ]
    return Markup(", and ").join(told) if told else Markup("could not be compared")


def _over_applied(final: Final, count: int) -> Markup:
    """How often clauses show in answers to unrelated requests, and where that grew most."""
    found = _by_place(final.over_application)
    grown: dict[str, float] = {}
    for (name, clause_id), rate in found.items():
        base = found.get(("base", clause_id))
        if name == FINETUNED and clause_id != ALL and base:
            grown[clause_id] = (rate.interval.value or 0.0) - (base.interval.value or 0.0)

    def told(clause_id: str, name: str) -> str:
        return percent(found[name, clause_id].interval.value) if (name, clause_id) in found else "–"

    sentence = Markup(
        "On {} requests that the policy is not about, the clauses’ behaviour showed on average in {} of the base "
        "model’s answers and in <strong>{}</strong> of the finetuned model’s"
    ).format(count, told(ALL, "base"), told(ALL, FINETUNED))
    most = max(grown, key=lambda clause_id: grown[clause_id], default="")
    if not most or grown[most] <= 0:
        return sentence + "; no clause shows there more often than before."
    return sentence + Markup("; it grew most for “{}”, from {} to {}.").format(
        most, told(most, "base"), told(most, FINETUNED)
    )


def _by_place(rates: Sequence[Rate]) -> dict[tuple[str, str], Rate]:
    return {(rate.condition, rate.clause_id): rate for rate in rates}


def _date(run: Run) -> str:
    """When the comparison was written."""
    at = (run.stage_folder("compare") / "comparison.json").stat().st_mtime
    return day(datetime.fromtimestamp(at, UTC).isoformat())
