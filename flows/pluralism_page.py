"""The report's section on pluralism: for each measure what it asks, what was found, and what training changed.

What is laid out here are names and numbers; the template escapes all of them. A measure that was
not taken has no block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prefect_ratify.flows.pages import percent
from prefect_ratify.flows.pictures import Dot, lanes
from prefect_ratify.flows.pluralism_words import MOSTLY, group_words, headline, said
from prefect_ratify.flows.report_blocks import Block, Labels, Moved, Row, Table, figure, label, row
from prefect_ratify.scenarios.pluralism.records import (
    Change,
    Coverage,
    Leaning,
    Measure,
    Objectives,
    Pluralism,
    Steering,
    TradeOff,
)
from prefect_ratify.scenarios.statistics import Interval

# The title of each block, and what the measure asks. The terms are those of Sorensen et al. 2024 (arXiv 2402.05070).
ASKS = {
    "overton": (
        "Does it say what could reasonably be answered?",
        "Overton pluralism. People wrote down what could reasonably be answered to some held-out requests. How much of "
        "that does a response say?",
    ),
    "steerable": (
        "Can it be steered to a view?",
        "Steerable pluralism. The model is told whose view to take or what to attend to. How often does its response "
        "follow that?",
    ),
    "distance": (
        "Does it differ as people differ?",
        "Distributional pluralism. Asked what people were asked, does the model spread its answers over the options as "
        "they did? 0 % is the same spread, 100 % nothing in common (Jensen–Shannon distance): further left is closer.",
    ),
    "entropy": (
        "How broad are its answers?",
        "Entropy. 0 % is the same option every time, 100 % every option as likely as any other. A cross marks the "
        "people themselves: left of it, the model differs less than they do.",
    ),
    "hypervolume": (
        "Is one model better on every clause?",
        "Multi-objective benchmark. Each clause is an objective. A model is dominated where another is at least as "
        "good on every clause and better on one; one that is not is on the Pareto front. The hypervolume is the "
        "product of the clauses’ shares: a clause that is never upheld makes it nothing.",
    ),
    "regret": (
        "Can it be steered to what matters more?",
        "Trade-off steerable benchmark. The model is told how much each clause matters. How much does it lose, by that "
        "weighting, against the best that was tried (regret)? Further left is better.",
    ),
}
ALL_ATTRIBUTES = "all attributes"
LINES: dict[Measure, str] = {
    "overton": "coverage",
    "overton, weighted": "by weight",
    "entropy": "breadth",
    "hypervolume": "hypervolume",
}
PEOPLE = "other"  # the look of the dot that stands for people


@dataclass(frozen=True)
class PluralismSection:
    """The whole section; the first sentence of `headline` is the answer. `conditions` are those of its legend."""

    headline: Sequence[str]
    conditions: Sequence[str]
    blocks: Sequence[Block]
    notes: Sequence[str]


def pluralism_section(found: Pluralism, labels: Labels) -> PluralismSection:
    """Lay out what was measured; `labels` names the conditions for readers."""
    makers: tuple[Callable[[Pluralism, Labels], Block | None], ...] = (
        _overton, _steerable, _distance, _entropy, _objectives, _trade_offs,
    )  # fmt: skip
    parts: tuple[Sequence[Coverage | Steering | Leaning | Objectives | TradeOff], ...] = (
        found.coverage, found.steering, found.leanings, found.objectives, found.trade_offs,
    )  # fmt: skip
    return PluralismSection(
        headline(found),
        list(dict.fromkeys(each.condition for part in parts for each in part)),
        [block for make in makers if (block := make(found, labels))],
        found.notes,
    )


def _overton(found: Pluralism, labels: Labels) -> Block | None:
    if not found.coverage:
        return None
    who = list(dict.fromkeys(name for each in found.coverage for name in each.by_answer))
    rows = [[name, *(percent(each.by_answer.get(name)) for each in found.coverage)] for name in who]
    rows.append(["undecided, in no figure", *(str(each.undecided) for each in found.coverage)])
    return Block(
        *ASKS["overton"],
        [
            row(
                LINES["overton"],
                "every answer counts the same",
                [(e.condition, e.share) for e in found.coverage],
                labels,
            ),
            row(
                LINES["overton, weighted"],
                "answers count by weight",
                [(e.condition, e.weighted) for e in found.coverage],
                labels,
            ),
        ],
        _moved(found, "overton", "overton, weighted"),
        table=Table(
            "Whose answers are said", ["answers by", *(label(e.condition, labels) for e in found.coverage)], rows
        ),
    )


def _steerable(found: Pluralism, labels: Labels) -> Block | None:
    if not found.steering:
        return None
    attributes = list(dict.fromkeys(each.attribute for each in found.steering))
    return Block(
        *ASKS["steerable"],
        [
            row(
                attribute or ALL_ATTRIBUTES,
                "",
                [(each.condition, each.accuracy) for each in found.steering if each.attribute == attribute],
                labels,
            )
            for attribute in attributes
        ],
        _moved(found, "steerable", "steerable, F1"),
        table=Table(
            "The same as a table, with F1 (low where a response follows what it was not told, too)",
            ["told", "model", "follows", "F1", "undecided"],
            [
                (
                    e.attribute or ALL_ATTRIBUTES,
                    label(e.condition, labels),
                    *_figures(e.accuracy, e.f1),
                    str(e.undecided),
                )
                for e in found.steering
            ],
        ),
    )


def _distance(found: Pluralism, labels: Labels) -> Block | None:
    if not found.leanings:
        return None
    groups = list(dict.fromkeys(leaning.group for leaning in found.leanings))
    of_all = [leaning for leaning in found.leanings if leaning.group == groups[0]]
    return Block(
        *ASKS["distance"],
        [
            row(group_words(group), "", [(e.condition, e.distance) for e in found.leanings if e.group == group], labels)
            for group in groups
        ],
        _moved(found, "distance"),
        _neither(of_all, labels),
        Table(
            "The same as a table, with the spread of answers",
            ["people", "model", "distance", "spread of the model", "spread of the people"],
            [
                (
                    group_words(e.group),
                    label(e.condition, labels),
                    *_figures(e.distance, e.entropy, e.entropy_of_people),
                )
                for e in found.leanings
            ],
        ),
    )


def _entropy(found: Pluralism, labels: Labels) -> Block | None:
    if not found.leanings:
        return None
    group = found.leanings[0].group
    of_it = [leaning for leaning in found.leanings if leaning.group == group]
    dots = [Dot(e.condition, label(e.condition, labels), e.entropy) for e in of_it]
    dots.append(Dot(PEOPLE, group_words(group), of_it[0].entropy_of_people))
    return Block(
        *ASKS["entropy"],
        [Row(LINES["entropy"], f"on the questions that {group_words(group)} answered", lanes(LINES["entropy"], dots))],
        _moved(found, "entropy"),
        _neither(of_it, labels),
        people=True,
    )


def _neither(leanings: Sequence[Leaning], labels: Labels) -> list[str]:
    """How much of what models would say is none of the options, where that is most of it."""
    most = [
        f"{label(each.condition, labels)} {figure(each.neither)}"
        for each in leanings
        if each.neither and (each.neither.value or 0.0) > MOSTLY
    ]
    told = "; ".join(most)
    return [f"Most of what it would say was none of the options: {told}. The figures are of the rest."] if most else []


def _objectives(found: Pluralism, labels: Labels) -> Block | None:
    if not found.objectives:
        return None
    clause_ids = list(dict.fromkeys(clause_id for each in found.objectives for clause_id in each.rates))
    volume = found.front_volume
    reached = [] if volume is None else [f"What at least one of them reaches has a volume of {percent(volume)}."]
    return Block(
        *ASKS["hypervolume"],
        [row(LINES["hypervolume"], "of all clauses", [(e.condition, e.hypervolume) for e in found.objectives], labels)],
        _moved(found, "hypervolume"),
        [*_front(found.objectives, labels), *reached],
        Table(
            "The clauses’ shares",
            ["clause", *(label(e.condition, labels) for e in found.objectives)],
            [[clause_id, *(percent(e.rates.get(clause_id)) for e in found.objectives)] for clause_id in clause_ids],
        ),
    )


def _front(objectives: Sequence[Objectives], labels: Labels) -> list[str]:
    """The Pareto front in words, by the shares as measured."""

    def quoted(conditions: Iterable[str]) -> str:
        return ", ".join(f"“{label(condition, labels)}”" for condition in conditions)

    front = [each.condition for each in objectives if each.on_front]
    beaten = [each for each in objectives if each.dominated_by]
    if not beaten and len(front) > 1:
        return [f"On the front: {quoted(front)}. None is better than another on every clause."]
    told = [f"{quoted([each.condition])} is dominated by {quoted(each.dominated_by)}." for each in beaten]
    return [f"On the front: {quoted(front) or 'none'}.", *told]


def _trade_offs(found: Pluralism, labels: Labels) -> Block | None:
    if not found.trade_offs:
        return None
    weightings = list(dict.fromkeys(each.weighting for each in found.trade_offs))
    return Block(
        *ASKS["regret"],
        [
            row(
                weighting,
                _best([e for e in found.trade_offs if e.weighting == weighting]),
                [(e.condition, e.regret) for e in found.trade_offs if e.weighting == weighting],
                labels,
            )
            for weighting in weightings
        ],
        _moved(found, "regret"),
        table=Table(
            "The same as a table, with what was reached",
            ["weighting", "model", "reached", "regret", "best", "undecided"],
            [
                [e.weighting, label(e.condition, labels), *_figures(e.reward, e.regret), e.best, str(e.undecided)]
                for e in found.trade_offs
            ],
        ),
    )


def _line(change: Change) -> str:
    """The line of the picture that a change is of."""
    if change.measure == "steerable, F1":
        return f"{change.of or ALL_ATTRIBUTES}, by F1"
    return LINES.get(change.measure) or group_words(change.of) or ALL_ATTRIBUTES


def _figures(*intervals: Interval) -> list[str]:
    return [figure(interval) for interval in intervals]


def _best(found: Sequence[TradeOff]) -> str:
    best = dict.fromkeys(each.best for each in found)
    return f"best by it: {', '.join(f'“{name}”' for name in best)}"


def _moved(found: Pluralism, *measures: Measure) -> list[Moved]:
    return [
        Moved(change.first, _line(change), change.interval, said(change))
        for change in found.changes
        if change.measure in measures
    ]
