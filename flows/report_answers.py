"""The report's answers side by side, with the passages that checks found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefect_ratify.flows.compare import FINETUNED
from prefect_ratify.flows.pages import SIGNS
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.word_difference import Piece
from prefect_ratify.records import Response, Scenario, Verdict
from prefect_ratify.scenarios.checks import Finding
from prefect_ratify.store import read_records

SHOWN_SCENARIOS = 8
SHOWN_UNRELATED = 4

T = TypeVar("T")
Judged = Mapping[tuple[str, str], Sequence[Verdict]]


@dataclass(frozen=True)
class Answer:
    """A response, cut into pieces, with its verdicts."""

    condition: str
    response: Response
    pieces: list[Piece]
    verdicts: Sequence[Verdict]


def answers(run: Run, names: Sequence[str]) -> dict[str, Any]:
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
