"""A regression as a comment on a pull request: rules first, then the table, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prefect_ratify.flows.evidence import findings_table
from prefect_ratify.flows.markdown import escaped, percent
from prefect_ratify.flows.pages import percent as share
from prefect_ratify.flows.pages import signed_points
from prefect_ratify.flows.regressing import Regression
from prefect_ratify.flows.regression_words import (
    CHANGES,
    arrow,
    cautions,
    findable,
    regressed,
    rows_of,
    totals,
    turned,
    verdicts_of,
)
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference

SHOWN_SCENARIOS = 200  # a comment on GitHub may have 65 536 characters


def markdown(regression: Regression) -> str:
    """The whole comment."""
    return "\n".join(_lines(regression)) + "\n"


def _lines(regression: Regression) -> Iterator[str]:
    subject, *others = [escaped(measured.name) for measured in regression.conditions]
    yield f"## {subject} against {', '.join(others)}"
    yield ""
    broken = sum(found.outcome == "broken" for findings in regression.findings for found in findings)
    if broken:
        yield f"**▼ {broken} rule{' is' if broken == 1 else 's are'} broken.**"
        yield ""
    yield f"{regression.scenarios} scenarios ({escaped(regression.split.replace('_', ' '))})."
    yield ""
    several = len(regression.comparisons) > 1
    for comparison, findings in zip(regression.comparisons, regression.findings, strict=True):
        if findings:
            yield from [f"Against {escaped(comparison.first)}:", ""] if several else []
            yield from [findings_table(findings), ""]
    for comparison in regression.comparisons:
        yield from _comparison(comparison, several=several)
    if len(regression.conditions) > 2:
        yield from _matrix(regression)
    if regression.not_run:
        yield from _alert([f"The budget was spent: {regression.not_run} calls were not made."])
    yield from _alert(regression.judge_words)
    yield "<details><summary>Every answer and verdict</summary>"
    yield ""
    yield from _accounts(regression, "answers", rows_of([m.account for m in regression.conditions]))
    yield from _accounts(regression, "verdicts", verdicts_of([m.account for m in regression.conditions]))
    yield "</details>"


def _comparison(comparison: Comparison, *, several: bool) -> Iterator[str]:
    if several:
        yield f"### Against {escaped(comparison.first)}"
        yield ""
    yield from _differences(comparison, "clause", comparison.differences)
    if comparison.tag_differences:
        yield f"<details><summary>By tag ({len(comparison.tag_differences)})</summary>"
        yield ""
        yield from _differences(comparison, "tag, all clauses", comparison.tag_differences)
        yield "</details>"
        yield ""
    counts = ", ".join(f"{mark} {comparison.count(change)} {change}" for change, mark in CHANGES.items())
    yield f"Scenario × clause: {counts}"
    yield ""
    yield from _alert(cautions(comparison))
    worse = regressed(comparison)
    if worse:
        yield f"<details><summary>▼ {len(worse)} scenario{' has' if len(worse) == 1 else 's have'} regressed</summary>"
        yield ""
        for scenario_id, cells in list(worse.items())[:SHOWN_SCENARIOS]:
            told = ", ".join(f"{escaped(c.clause_id)} {share(c.first)} → {share(c.second)}" for c in cells)
            yield f"- ▼ **{escaped(scenario_id)}**: {told}"
        if len(worse) > SHOWN_SCENARIOS:
            yield f"- and {len(worse) - SHOWN_SCENARIOS} more"
        yield ""
        yield "</details>"
        yield ""


def _differences(comparison: Comparison, title: str, differences: Sequence[Difference]) -> Iterator[str]:
    rates = {(r.condition, r.clause_id, r.tag): r for r in (*comparison.rates, *comparison.tag_rates)}
    yield f"| {title} | {escaped(comparison.first)} | {escaped(comparison.second)} | difference in points | | |"
    yield "|---|---|---|---|---|---|"
    for d in differences:
        name = escaped(d.tag) if d.tag else "**all clauses**" if d.clause_id == ALL else escaped(d.clause_id)
        first, second = ((rates.get((c, d.clause_id, d.tag))) for c in (comparison.first, comparison.second))
        cells = [percent(rate.interval) if rate else "–" for rate in (first, second)]
        yield f"| {name} | {' | '.join(cells)} | {_points(d)} | {d.finding} | {_more(d)} |"
    yield ""


def _points(d: Difference) -> str:
    value, low, high = d.interval.value, d.interval.low, d.interval.high
    if value is None or low is None or high is None:
        return "–"
    return f"{arrow(d)} **{signed_points(value)}** \\[{signed_points(low)}, {signed_points(high)}\\]".strip()


def _more(d: Difference) -> str:
    said = [findable(d)] if findable(d) else []
    if d.if_undecided is not None:
        low, high = d.if_undecided
        said.append(f"{signed_points(low)} to {signed_points(high)} if undecided verdicts fell one way")
    return "; ".join(said)


def _matrix(regression: Regression) -> Iterator[str]:
    found = totals(regression)
    names = [measured.name for measured in regression.conditions]
    yield "All clauses together, in points: the row minus the column."
    yield ""
    yield "| | " + " | ".join(escaped(name) for name in names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for row in names:
        cells = []
        for column in names:
            d = found.get((column, row)) or (turned(found[row, column]) if (row, column) in found else None)
            cells.append("·" if d is None else f"{arrow(d)} {signed_points(d.interval.value or 0.0)}".strip())
        yield f"| {escaped(row)} | " + " | ".join(cells) + " |"
    yield ""


def _accounts(regression: Regression, title: str, counted: Mapping[str, Sequence[int]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(escaped(m.name) for m in regression.conditions) + " |"
    yield "|---|" + "---:|" * len(regression.conditions)
    for kind, counts in counted.items():
        name = "**total**" if kind == "total" else escaped(kind)
        yield f"| {name} | " + " | ".join(str(count) for count in counts) + " |"
    yield ""


def _alert(sentences: Sequence[str]) -> Iterator[str]:
    """A box that GitHub draws, and elsewhere a quotation."""
    if sentences:
        yield "> [!WARNING]"
        for sentence in sentences:
            yield f"> - {escaped(sentence)}"
        yield ""
