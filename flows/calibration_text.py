"""A calibration at a terminal: at most 100 columns, readable without colour.

Text of people and models is put into `Text`, which obeys no markup, with nothing in it that a
terminal obeys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, TypeVar

from prefect_ratify.errors import one_line
from prefect_ratify.flows.calibrating import CalibrationReport, JudgeReport
from prefect_ratify.flows.calibration_words import (
    AUC_COLUMNS,
    AUC_NOTE,
    CLAUSE_COLUMNS,
    CONFUSION_NOTE,
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
from prefect_ratify.flows.pages import SIGNS
from prefect_ratify.flows.pairwise_words import bias_lines
from prefect_ratify.flows.terminal import line
from prefect_ratify.scenarios.calibration import RULED, ClauseCalibration, Judged, State
from prefect_ratify.scenarios.comparing import OUTCOMES
from prefect_ratify.scenarios.labels import Item
from prefect_ratify.scenarios.yardstick import CHECK

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")
WIDEST = 100
SHOWN = 2  # disagreements on a clause at a terminal; Markdown has them all
LONGEST_TEXT = 200  # characters of a response or reason at a terminal
LONGEST_SENTENCE = 600  # of what figures come to, which is not to be cut off before its end
SHADES = "░▒▓█"
STYLES: dict[State, str] = {"better": "deep_sky_blue3", "barred": "bold dark_orange3", "not calibrated": "dim"}


def show(report: CalibrationReport) -> None:
    """Print a calibration: people, then each judge, its worst clauses first."""
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(console.width, WIDEST) if console.is_terminal else WIDEST
    for part in _parts(report, console.width):
        console.print(part)


def _parts(report: CalibrationReport, width: int) -> Iterator[RenderableType]:
    yield line(f"Calibration: {one_line(report.title)}", "bold")
    yield from _paragraph(opening(report), width)
    if report.people:
        yield line("\nPeople with each other, which is as much as a judge can be asked for", "bold underline")
        yield _table(PEOPLE_COLUMNS, [people_row(each) for each in report.people])
    for sentence in together(report):
        yield from _paragraph(sentence, width)
    for each in report.judges:
        yield from _judge(each, width)
    if report.disputed:
        yield line("\nOn these people do not agree", "bold underline")
    listed = _first_of_each([(item.clause_id, item) for item in report.disputed])
    for item in listed:
        yield from _disputed(item, width)
    yield from _more(len(report.disputed) - len(listed))


def _judge(report: JudgeReport, width: int) -> Iterator[RenderableType]:
    title = "The checks" if report.judge == CHECK else f"Judge {one_line(report.judge)}"
    yield line(f"\n{title}", "bold underline")
    styles = [STYLES[clause.state] for clause in report.clauses]
    yield _table(CLAUSE_COLUMNS, [clause_row(clause) for clause in report.clauses], styles)
    yield ""
    yield from _paragraph(CONFUSION_NOTE, width, longest=len(CONFUSION_NOTE))
    yield _confusion(report.clauses)
    if report.judge != CHECK:
        yield ""
        yield from _paragraph(AUC_NOTE, width, longest=len(AUC_NOTE))
        yield _table(AUC_COLUMNS, [auc_row(clause) for clause in report.clauses])
    yield ""
    for sentence in sentences(report):
        yield from _paragraph(f"! {sentence}", width, style="bold", hanging=2, longest=LONGEST_SENTENCE)
    if report.disagreements:
        yield line("\nTo discuss: what is judged otherwise than people do", "bold")
    listed = _first_of_each([(each.item.clause_id, each) for each in report.disagreements])
    for each in listed:
        yield from _disagreement(each, width)
    yield from _more(len(report.disagreements) - len(listed))
    if report.bias:
        yield line("\nOf two responses, one of which people call upheld and one violated", "bold")
        yield line("\n".join(f"  {told}" for told in bias_lines(report.bias)))


def _confusion(clauses: Sequence[ClauseCalibration]) -> Table:
    """A line for each clause: under each label of people's, what the judge says, shaded by its share."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    signs = "".join(f"{SIGNS[verdict]:>5}" for verdict in OUTCOMES)
    table.add_column(Text("\nclause"), overflow="fold")
    for label in RULED:
        table.add_column(Text(f"people: {label}\n{signs}"), no_wrap=True)
    for clause in clauses:
        table.add_row(Text(one_line(clause.clause_id)), *[_shaded(clause, label) for label in RULED])
    return table


def _shaded(clause: ClauseCalibration, label: str) -> Text:
    from rich.text import Text

    counts = {verdict: clause.confusion[verdict][label] for verdict in OUTCOMES}
    total, line = sum(counts.values()), Text()
    for verdict, count in counts.items():
        if not count:
            line.append("    ·", "dim")
            continue
        shade = SHADES[min(count * len(SHADES) // total, len(SHADES) - 1)]
        style = "deep_sky_blue3" if verdict == label else "dim" if verdict == "undecided" else "dark_orange3"
        line.append(f"{shade + str(count):>5}", style)
    return line


def _disagreement(each: Judged, width: int) -> Iterator[RenderableType]:
    item, verdict = each.item, each.verdict
    yield from _paragraph(f"{item.clause_id} · {item.scenario_id}: {item.response}", width, hanging=4)
    why = reasons(item.labels)
    yield from _paragraph(f"people: {said_by(item.labels)}{f' – {why}' if why else ''}", width, by=4, hanging=2)
    who = "check" if verdict.judge == CHECK else "judge"
    said = f"{verdict.outcome} ({verdict.confidence:.2f}) – {verdict.reason}"
    yield from _paragraph(f"{who}: {said}", width, by=4, hanging=2)


def _disputed(item: Item, width: int) -> Iterator[RenderableType]:
    yield from _paragraph(f"{item.clause_id} · {item.scenario_id}: {item.response}", width, hanging=4)
    why = reasons(item.labels)
    yield from _paragraph(f"{said_by(item.labels)}{f' – {why}' if why else ''}", width, by=4, hanging=2)


def _first_of_each(given: Sequence[tuple[str, T]]) -> list[T]:
    """The first SHOWN of each clause, in their order."""
    seen = Counter[str]()
    found = []
    for clause_id, each in given:
        seen[clause_id] += 1
        if seen[clause_id] <= SHOWN:
            found.append(each)
    return found


def _more(count: int) -> Iterator[RenderableType]:
    if count:
        yield line(f"  and {count} more: --markdown FILE has them all", "dim")


def _paragraph(
    text: str, width: int, *, by: int = 2, hanging: int = 0, style: str = "", longest: int = LONGEST_TEXT
) -> Iterator[Text]:
    first, rest = " " * by, " " * (by + hanging)
    flat = one_line(text, longest)
    yield line("\n".join(wrap(flat, width, initial_indent=first, subsequent_indent=rest)), style)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> Table:
    """Names at the left, numbers at the right; the last cell of a row in its style."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="right" if name and place else "left", overflow="fold")
    for place, row in enumerate(rows):
        *cells, last = [one_line(cell) for cell in row]
        table.add_row(*[Text(cell) for cell in cells], Text(last, styles[place] if styles else ""))
    return table
