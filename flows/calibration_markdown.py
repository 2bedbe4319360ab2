"""A calibration as Markdown, for people to discuss: the figures, and every disagreement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prefect_ratify.flows.calibrating import CalibrationReport, JudgeReport
from prefect_ratify.flows.calibration_words import (
    AUC_COLUMNS,
    AUC_NOTE,
    CLAUSE_COLUMNS,
    PEOPLE_COLUMNS,
    auc_row,
    clause_row,
    opening,
    people_row,
    reasons,
    said_by,
    sentences,
    together,
)
from prefect_ratify.flows.markdown import escaped
from prefect_ratify.flows.pairwise_words import bias_lines
from prefect_ratify.scenarios.calibration import RULED, Judged
from prefect_ratify.scenarios.comparing import OUTCOMES
from prefect_ratify.scenarios.labels import Item
from prefect_ratify.scenarios.yardstick import CHECK

ITEM_COLUMNS = ("clause", "scenario", "response", "people say", "because")


def markdown(report: CalibrationReport) -> str:
    """The same as Markdown, with every disagreement."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: CalibrationReport) -> Iterator[str]:
    yield f"## Calibration: {escaped(report.title)}\n"
    yield f"{opening(report)}.\n"
    if report.people:
        yield "### People with each other\n"
        yield from _rows(PEOPLE_COLUMNS, [people_row(each) for each in report.people])
    for line in together(report):
        yield f"{escaped(line)}\n"
    for each in report.judges:
        yield from _judge(each)
    if report.disputed:
        yield "### On these people do not agree\n"
        yield from _rows(ITEM_COLUMNS, [_item_row(item) for item in report.disputed])


def _judge(report: JudgeReport) -> Iterator[str]:
    yield f"### {'The checks' if report.judge == CHECK else f'Judge {escaped(report.judge)}'}\n"
    yield from _rows(CLAUSE_COLUMNS, [clause_row(clause) for clause in report.clauses])
    pairs = [(verdict, label) for label in RULED for verdict in OUTCOMES]
    counts = [[c.clause_id, *(str(c.confusion[verdict][label]) for verdict, label in pairs)] for c in report.clauses]
    yield from _rows(("clause", *(f"{verdict}, people: {label}" for verdict, label in pairs)), counts)
    if report.judge != CHECK:
        yield f"{AUC_NOTE}\n"
        yield from _rows(AUC_COLUMNS, [auc_row(clause) for clause in report.clauses])
    yield from [*(f"- {escaped(sentence)}" for sentence in sentences(report)), ""]
    if report.disagreements:
        yield "To discuss:\n"
        rows = [_disagreement_row(each) for each in report.disagreements]
        yield from _rows((*ITEM_COLUMNS, "the judge says", "because"), rows)
    if report.bias:
        yield "Of two responses, one of which people call upheld and one violated:\n"
        yield from [*(f"- {escaped(line.strip())}" for line in bias_lines(report.bias)), ""]


def _item_row(item: Item) -> list[str]:
    return [item.clause_id, item.scenario_id, item.response, said_by(item.labels), reasons(item.labels)]


def _disagreement_row(each: Judged) -> list[str]:
    verdict = each.verdict
    return [*_item_row(each.item), f"{verdict.outcome} ({verdict.confidence:.2f})", verdict.reason]


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
    yield ""
