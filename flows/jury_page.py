"""The report's section on the jury: who sits on it, what responses are worth to each, and where they split.

What is laid out here are names, texts and numbers; the template escapes all of them. Every
simulated juror is marked wherever the name stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prefect_ratify.flows.jury_words import (
    AS_SEATED,
    foretold_words,
    function_words,
    jury_headline,
    named,
    ranking,
    welfare_said,
)
from prefect_ratify.flows.pages import percent
from prefect_ratify.flows.pictures import Dot
from prefect_ratify.flows.report_blocks import Block, Labels, Moved, Row, Table, figure, label, row
from prefect_ratify.flows.tenths import tenths, worth
from prefect_ratify.records import Message, Response, Scenario
from prefect_ratify.scenarios.pluralism.jury_records import Foretold, Juror, JuryFindings, JuryWelfare, Split
from prefect_ratify.scenarios.statistics import Interval

NO_TENTHS = (0,) * 11
TITLE = "How content is the jury as a whole?"
ASKS = (
    "A welfare function makes one number of what a response is worth to each juror: their mean, their geometric mean "
    "(Nash: nobody may be left with nothing), or what it is worth to the least content (Rawls). A power mean lies "
    "between the mean and Rawls, the nearer to Rawls the lower its power."
)


@dataclass(frozen=True)
class Seat:
    """A juror: whether simulated, what the juror goes by, and the picture of what responses are worth to them."""

    juror: Juror
    about: str
    picture: Markup
    undecided: Sequence[str]


@dataclass(frozen=True)
class SplitCase:
    """A response on which jurors differ: the request, the response, and each juror's worth of it, the least first."""

    scenario_id: str
    condition: str
    messages: Sequence[Message]
    response: Response | None
    worths: Sequence[tuple[str, str, Markup]]


@dataclass(frozen=True)
class JurySection:
    """The whole section. `agreement` is how far people rule alike."""

    headline: Sequence[str]
    conditions: Sequence[str]
    seats: Sequence[Seat]
    welfare: Block | None
    splits: Sequence[SplitCase]
    agreement: Table | None
    notes: Sequence[str]


def jury_section(
    found: JuryFindings, scenarios: Sequence[Scenario], responses: Sequence[Response], labels: Labels
) -> JurySection:
    """Lay out what the jury found, with the requests and responses on which jurors split."""
    conditions = list(dict.fromkeys([*found.spread, *(rate.condition for rate in found.rates)]))
    messages = {scenario.id: scenario.messages for scenario in scenarios}
    by_place = {(r.scenario_id, r.condition, r.sample): r for r in responses}
    return JurySection(
        jury_headline(found),
        conditions,
        [_seat(juror, found, conditions, labels) for juror in found.jurors],
        _welfare(found, labels),
        [_split(split, found, messages, by_place) for split in found.splits],
        _agreement(found),
        found.notes,
    )


def _seat(juror: Juror, found: JuryFindings, conditions: Sequence[str], labels: Labels) -> Seat:
    rates = {rate.condition: rate for rate in found.rates if rate.juror == juror.name}
    drawn = [
        (
            Dot(condition, label(condition, labels), rates[condition].interval),
            found.spread.get(condition, {}).get(juror.name, NO_TENTHS),
        )
        for condition in conditions
        if condition in rates
    ]
    undecided = [f"{label(name, labels)}: {rate.undecided} undecided" for name, rate in rates.items() if rate.undecided]
    about = _about(juror, next((each for each in found.foretold if each.juror == juror.name), None))
    return Seat(juror, about, tenths(named(juror.name, found), drawn), undecided)


def _about(juror: Juror, foretold: Foretold | None) -> str:
    """What the juror goes by, in a few words."""
    if juror.kind == "rulings":
        return f"a person; {foretold_words(foretold)}" if foretold else "a person"
    if juror.kind == "perspective":
        return f"a judge model that is told: “{juror.perspective}”"
    weights = ", ".join(f"{clause_id} × {weight:g}" for clause_id, weight in juror.weights.items())
    return f"the clauses’ verdicts, weighted: {weights or 'all alike'}"


def _welfare(found: JuryFindings, labels: Labels) -> Block | None:
    seated = [each for each in found.welfare if each.composition == AS_SEATED]
    if not seated:
        return None
    functions = list(dict.fromkeys(each.function for each in seated))
    told = ranking(found)
    return Block(
        TITLE,
        ASKS,
        [_row(function, [each for each in seated if each.function == function], labels) for function in functions],
        [Moved(c.condition, function_words(c.function), c.interval, welfare_said(c.interval)) for c in found.changes],
        [told] if told else [],
        _compositions(found, labels),
    )


def _row(function: str, of_it: Sequence[JuryWelfare], labels: Labels) -> Row:
    return row(function_words(function), AS_SEATED, [(each.condition, each.interval) for each in of_it], labels)


def _compositions(found: JuryFindings, labels: Labels) -> Table:
    """The welfare of every composition by every function, the conditions side by side."""
    conditions = list(dict.fromkeys(each.condition for each in found.welfare))
    places = dict.fromkeys((each.composition, each.function) for each in found.welfare)
    figures = {(e.composition, e.function, e.condition): figure(e.interval) for e in found.welfare}
    return Table(
        "With other compositions, and other welfare functions",
        ["composition", "welfare function", *(label(condition, labels) for condition in conditions)],
        [
            [
                named(composition, found),
                function_words(function),
                *(figures.get((composition, function, c), "–") for c in conditions),
            ]
            for composition, function in places
        ],
    )


def _split(
    split: Split,
    found: JuryFindings,
    messages: Mapping[str, Sequence[Message]],
    responses: Mapping[tuple[str, str, int], Response],
) -> SplitCase:
    ordered = sorted(split.worths.items(), key=lambda item: item[1])
    return SplitCase(
        split.scenario_id,
        split.condition,
        messages.get(split.scenario_id, ()),
        responses.get((split.scenario_id, split.condition, split.sample)),
        [
            (f"{named(name, found)}{' (foretold)' if name in split.foretold else ''}", percent(value), worth(value))
            for name, value in ordered
        ],
    )


def _agreement(found: JuryFindings) -> Table | None:
    """Krippendorff's alpha by clause: a ratio, not a share, so written as a number that may be negative."""
    if not found.agreement:
        return None
    return Table(
        "",
        ["clause", "alpha, with 95 % interval", "people", "responses"],
        [
            [each.clause_id or "all clauses", _ratio(each.alpha), str(each.people), str(each.responses)]
            for each in found.agreement
        ],
    )


def _ratio(interval: Interval) -> str:
    """`0.74 [0.58, 0.91]`, or a dash."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]".replace("-", "−")
