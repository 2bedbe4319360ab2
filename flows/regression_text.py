"""A regression at a terminal: dots and intervals drawn in characters, readable without colour.

Text of people (names, ids, rules) is put into `Text`, which obeys no markup, with nothing in it
that a terminal obeys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.pages import gap, percent, signed_points
from prefect_ratify.flows.regressing import Regression
from prefect_ratify.flows.regression_lanes import Sheet, axis, drawn_rate, sheet_for
from prefect_ratify.flows.regression_words import (
    CHANGES,
    RULINGS,
    arrow,
    cautions,
    findable,
    regressed,
    rows_of,
    totals,
    turned,
    verdicts_of,
)
from prefect_ratify.flows.terminal import STYLES, heading, indented, line, table
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference, Rate
from prefect_ratify.scenarios.statistics import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

TOO_FEW = "too few scenarios to tell"
SHOWN_SCENARIOS = 15  # are shown with what got worse there; of more, the names


def show(regression: Regression) -> None:
    """Print a regression: rates and differences, what changed where, every row, the rules."""
    from rich.console import Console

    console = Console(highlight=False)
    for part in _parts(regression, sheet_for(regression, console.width)):
        console.print(part)


def _parts(regression: Regression, sheet: Sheet) -> Iterator[RenderableType]:
    subject, *others = [measured.name for measured in regression.conditions]
    yield ""
    yield line(f"{one_line(subject)} against {', '.join(one_line(name) for name in others)}", "bold")
    count = f"{regression.scenarios} scenario{'' if regression.scenarios == 1 else 's'}"
    yield line(f"{count} ({_split(regression.split)}); clauses upheld, in %, with 95 % intervals over scenarios")
    yield line("   ".join(f"{mark} {one_line(name)}" for name, mark in sheet.marks.items()))
    yield ""
    yield axis(sheet)
    for clause_id in dict.fromkeys(d.clause_id for c in regression.comparisons for d in c.differences):
        yield from _block(regression, sheet, clause_id)
    tags = list(dict.fromkeys(d.tag for c in regression.comparisons for d in c.tag_differences))
    if tags:
        yield from _tags(regression, sheet, tags)
    if len(regression.conditions) > 2:
        yield from heading("All clauses together, in points: the row minus the column")
        yield _matrix(regression, sheet)
    for comparison in regression.comparisons:
        yield from _changes(comparison, sheet, several=len(regression.comparisons) > 1)
    yield from _accounts(regression, sheet)
    yield from _rules(regression, sheet)
    yield from _warnings(regression, sheet)


def _block(regression: Regression, sheet: Sheet, clause_id: str, tag: str = "") -> Iterator[RenderableType]:
    """One clause (or tag): a line for each condition, and for each difference what it comes to."""
    name = one_line(tag or clause_id)
    yield line(name[0].upper() + name[1:] if clause_id == ALL and not tag else name, "bold")
    rates = _rates(regression, clause_id, tag)
    for condition in sheet.drawn:
        if condition in rates:
            yield drawn_rate(rates[condition], sheet)
    unsure = _undecided(rates, sheet)
    if unsure:
        yield indented(unsure, sheet.width, 4)
    for comparison in regression.comparisons:
        for d in comparison.tag_differences if tag else comparison.differences:
            if (d.clause_id, d.tag) == (clause_id, tag):
                yield from _difference(d, sheet)
    yield ""


def _tags(regression: Regression, sheet: Sheet, tags: Sequence[str]) -> Iterator[RenderableType]:
    """A block for each tag of which anything can be told, a line for each other one."""
    too_few = {
        tag for tag in tags if all(d.finding == TOO_FEW for c in regression.comparisons for d in _tagged(c, tag))
    }
    yield line("By tag, all clauses together", "bold underline")
    if len(too_few) < len(tags):
        yield axis(sheet)
    for tag in tags:
        if tag not in too_few:
            yield from _block(regression, sheet, ALL, tag)
    if too_few:
        yield line(f"  {TOO_FEW.capitalize()}:")
    for tag in tags:
        if tag in too_few:
            rates = _rates(regression, ALL, tag)
            there = [name for name in sheet.drawn if name in rates]
            shares = [f"{sheet.marks[name]} {percent(rates[name].interval.value)}" for name in there]
            count = max(rate.interval.scenarios for rate in rates.values())
            yield indented(f"{tag} ({count}): {'  '.join(shares)}", sheet.width, 4, hanging=2)


def _tagged(comparison: Comparison, tag: str) -> list[Difference]:
    return [d for d in comparison.tag_differences if d.tag == tag]


def _rates(regression: Regression, clause_id: str, tag: str) -> dict[str, Rate]:
    """The rates on one clause or tag, by condition."""
    given = [rate for c in regression.comparisons for rate in (c.tag_rates if tag else c.rates)]
    return {rate.condition: rate for rate in given if (rate.clause_id, rate.tag) == (clause_id, tag)}


def _undecided(rates: dict[str, Rate], sheet: Sheet) -> str:
    """How many verdicts nobody could give, and where the rate would be if they all fell one way."""
    told = []
    for condition in sheet.drawn:
        rate, mark = rates.get(condition), sheet.marks[condition]
        if rate is None or rate.if_undecided is None:
            continue
        low, high = rate.if_undecided
        count = f"{rate.verdicts['undecided']} of {sum(rate.verdicts.values())}, " if rate.verdicts else ""
        told.append(f"{mark} {count}{percent(low)} to {percent(high)} if all fell one way")
    return f"undecided: {'; '.join(told)}" if told else ""


def _difference(d: Difference, sheet: Sheet) -> Iterator[RenderableType]:
    from rich.text import Text

    style = STYLES.get(d.finding, "")
    told = (
        f"{gap(d.interval)} [{_reach(d.interval)}]" if d.interval.value is not None else "no scenario decided on both"
    )
    yield Text.assemble(
        "  ", (arrow(d) or " ", style), f" {sheet.marks[d.second]} − {sheet.marks[d.first]}  ", told, "  ",
        (d.finding, f"bold {style}".strip()),
    )  # fmt: skip
    more = [findable(d)] if findable(d) else []
    if d.if_undecided is not None:
        low, high = d.if_undecided
        more.append(f"{signed_points(low)} to {signed_points(high)} if undecided verdicts fell one way")
    if more:
        yield indented("; ".join(more), sheet.width, 4)


def _changes(comparison: Comparison, sheet: Sheet, *, several: bool) -> Iterator[RenderableType]:
    """How many cells changed how, and which scenarios got worse."""
    name = f", {one_line(comparison.second)} after {one_line(comparison.first)}" if several else ""
    yield from heading(f"Scenario × clause{name}")
    yield line("  " + "   ".join(f"{mark} {comparison.count(change)} {change}" for change, mark in CHANGES.items()))
    found = regressed(comparison)
    shown = list(found)[:SHOWN_SCENARIOS]
    if found:
        yield line(f"  Regressed in {len(found)} scenario{'' if len(found) == 1 else 's'}:", STYLES["worse"])
    for scenario_id in shown:
        cells = ", ".join(f"{c.clause_id} {percent(c.first)} → {percent(c.second)}" for c in found[scenario_id])
        yield indented(f"▼ {scenario_id}: {cells}", sheet.width, 4, hanging=2, dim=False)
    rest = list(found)[SHOWN_SCENARIOS:]
    if rest:
        yield indented(f"▼ and {', '.join(rest)}", sheet.width, 4, hanging=2, dim=False)


def _matrix(regression: Regression, sheet: Sheet) -> RenderableType:
    """The differences over all clauses between each two conditions."""
    found = totals(regression)
    names = list(sheet.marks)

    def cell(row: str, column: str) -> str:
        d = found.get((column, row)) or (turned(found[row, column]) if (row, column) in found else None)
        return "·" if d is None else f"{arrow(d)} {signed_points(d.interval.value or 0.0)}".strip()

    labels = [f"{sheet.marks[name]} {one_line(name)}" for name in names]
    rows = [[label, *[cell(row, column) for column in names]] for label, row in zip(labels, names, strict=True)]
    return table(["", *(sheet.marks.values())], rows)


def _accounts(regression: Regression, sheet: Sheet) -> Iterator[RenderableType]:
    """What became of every answer and every verdict; each column adds up to its totals."""
    yield from heading("Every row")
    rows = []
    for title, counted in (
        ("answers", rows_of([m.account for m in regression.conditions])),
        ("verdicts", verdicts_of([m.account for m in regression.conditions])),
    ):
        rows += [
            [f"{title} in all" if kind == "total" else kind, *map(str, counts)] for kind, counts in counted.items()
        ]
    yield table(["", *(f"{mark} {one_line(name)}" for name, mark in sheet.marks.items())], rows)


def _rules(regression: Regression, sheet: Sheet) -> Iterator[RenderableType]:
    yield from heading("Rules")
    if not any(regression.findings):
        yield line("  No rule was given: nothing here can be kept or broken.", "dim")
    for comparison, findings in zip(regression.comparisons, regression.findings, strict=True):
        against = f" (against {one_line(comparison.first)})" if len(regression.comparisons) > 1 else ""
        for found in findings:
            text = f"{RULINGS[found.outcome]} {found.outcome}: {found.rule}{against}"
            style = {"kept": STYLES["better"], "broken": STYLES["worse"]}.get(found.outcome, "")
            yield indented(text, sheet.width, 2, hanging=2, style=f"bold {style}".strip())
            yield indented(found.reason, sheet.width, 4)


def _warnings(regression: Regression, sheet: Sheet) -> Iterator[RenderableType]:
    """What a reader must know before believing the findings; always the last lines."""
    told = []
    if regression.not_run:
        told.append(
            f"The budget was spent: {regression.not_run} calls were not made, and their rows are missing above."
        )
    for comparison in regression.comparisons:
        against = f"Against {comparison.first}: " if len(regression.comparisons) > 1 else ""
        told += [f"{against}{sentence}" for sentence in cautions(comparison)]
    told += regression.judge_words
    yield ""
    for sentence in told:
        yield indented(f"! {sentence}", sheet.width, 0, hanging=2, style="bold")
    if regression.dollars:
        yield line(f"Spent: ${regression.dollars:.4f}", "dim")


def _split(split: str) -> str:
    return {"held_out": "held out", "develop": "development", "all": "the whole suite"}.get(split, one_line(split))


def _reach(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"{signed_points(interval.low)}, {signed_points(interval.high)}"
