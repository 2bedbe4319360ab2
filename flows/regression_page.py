"""The page of a regression: one self-contained file for people, without script.

Text from models and people is untrusted: the template escapes all of it, and the page allows
no script and no outside resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prefect_ratify import __version__
from prefect_ratify.flows.change_map import ChangeMap, change_map
from prefect_ratify.flows.pages import templates
from prefect_ratify.flows.pictures import ARROW_HEADS, Arrow, Dot, axis, lanes, looks
from prefect_ratify.flows.regressing import Regression
from prefect_ratify.flows.regression_words import (
    RULINGS,
    arrow,
    cautions,
    findable,
    rows_of,
    totals,
    turned,
    verdicts_of,
)
from prefect_ratify.records import Policy, Response, Scenario, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference, Rate
from prefect_ratify.scenarios.rules import RuleFinding

SPLITS = {"held_out": "held-out scenarios", "develop": "development scenarios", "all": "scenarios (the whole suite)"}


@dataclass(frozen=True)
class Row:
    """A clause (or a tag): its lanes, the rates by condition, and the differences."""

    name: str
    text: str
    picture: Markup
    differences: list[Difference]
    rates: dict[str, Rate]

    @property
    def undecided(self) -> list[Rate]:
        """The rates that rest on some undecided verdicts."""
        return [rate for rate in self.rates.values() if rate.if_undecided is not None]

    @property
    def is_too_few(self) -> bool:
        """Whether none of the differences can be told."""
        return all(d.finding == "too few scenarios to tell" for d in self.differences)


@dataclass(frozen=True)
class Section:
    """One comparison: what the rules say to it, what it cannot tell, and its map."""

    comparison: Comparison
    findings: Sequence[RuleFinding]
    cautions: Sequence[str]
    map: ChangeMap


def page(
    regression: Regression,
    policy: Policy,
    scenarios: Sequence[Scenario],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
) -> str:
    """The whole page, as HTML."""
    environment = templates()
    environment.globals.update(arrow=arrow, findable=findable, all_clauses=ALL, rulings=RULINGS)
    subject, *others = [measured.name for measured in regression.conditions]
    drawn = [*others, subject]
    texts = {clause.id: clause.text for clause in policy.clauses}
    clause_ids = list(dict.fromkeys(d.clause_id for c in regression.comparisons for d in c.differences))
    tags = list(dict.fromkeys(d.tag for c in regression.comparisons for d in c.tag_differences))
    return environment.get_template("regression.html.jinja").render(
        regression=regression,
        policy=policy,
        version=__version__,
        subject=subject,
        others=others,
        drawn=drawn,
        looks=looks(drawn),
        measured=SPLITS.get(regression.split, regression.split),
        heads=ARROW_HEADS,
        axis=axis(),
        clauses=[_row(regression, drawn, clause_id, "", texts.get(clause_id, "")) for clause_id in clause_ids],
        tags=[_row(regression, drawn, ALL, tag, "") for tag in tags],
        matrix=_matrix(regression, drawn) if len(drawn) > 2 else [],
        sections=[
            Section(
                comparison,
                findings,
                cautions(comparison),
                change_map(comparison, policy, scenarios, responses, verdicts, prefix=f"m{number}"),
            )
            for number, (comparison, findings) in enumerate(
                zip(regression.comparisons, regression.findings, strict=True)
            )
        ],
        broken=sum(found.outcome == "broken" for findings in regression.findings for found in findings),
        answers=rows_of([m.account for m in regression.conditions]),
        verdicts=verdicts_of([m.account for m in regression.conditions]),
    )


def _row(regression: Regression, drawn: Sequence[str], clause_id: str, tag: str, text: str) -> Row:
    rates: dict[str, Rate] = {}
    differences = []
    for comparison in regression.comparisons:
        for rate in comparison.tag_rates if tag else comparison.rates:
            if (rate.clause_id, rate.tag) == (clause_id, tag):
                rates[rate.condition] = rate
        for d in comparison.tag_differences if tag else comparison.differences:
            if (d.clause_id, d.tag) == (clause_id, tag):
                differences.append(d)
    there = [name for name in drawn if name in rates]
    return Row(
        name=tag or clause_id,
        text=text,
        picture=_picture(tag or clause_id, there, rates, differences, looks(drawn)),
        differences=differences,
        rates={name: rates[name] for name in there},
    )


def _picture(
    name: str,
    there: Sequence[str],
    rates: Mapping[str, Rate],
    differences: Sequence[Difference],
    look: Mapping[str, str],
) -> Markup:
    dots = [Dot(look[condition], condition, rates[condition].interval) for condition in there]
    arrows = [
        Arrow(there.index(d.first), there.index(d.second), "better" if d.finding == "better" else "worse")
        for d in differences
        if arrow(d) and d.first in there and d.second in there
    ]
    return lanes(name, dots, arrows)


def _matrix(regression: Regression, names: Sequence[str]) -> list[tuple[str, list[Difference | None]]]:
    """The differences over all clauses, the row minus the column."""
    found = totals(regression)

    def cell(row: str, column: str) -> Difference | None:
        return found.get((column, row)) or (turned(found[row, column]) if (row, column) in found else None)

    return [(row, [cell(row, column) for column in names]) for row in names]
