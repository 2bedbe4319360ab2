"""Steerable pluralism: each model steered to attributes, and to weightings of the clauses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prefect_ratify.flows.measured import Measured, joined
from prefect_ratify.policy_modules.covering import Case, decide
from prefect_ratify.policy_modules.steering import steered
from prefect_ratify.records import Verdict
from prefect_ratify.scenarios.pluralism.changes import changes
from prefect_ratify.scenarios.pluralism.plan import Weighting
from prefect_ratify.scenarios.pluralism.records import Pluralism, Steering, TradeOff
from prefect_ratify.scenarios.pluralism.steerable import accuracy, accuracy_scores, by_attribute, f1_change, macro_f1
from prefect_ratify.scenarios.pluralism.trade_offs import regrets, rewards
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.statistics import Scores, rate

ALONE = (
    "There is but one attribute to steer to: whether a model follows it because it was told to, or would anyway, "
    "cannot be told from this."
)


def measure_steering(at: Measured) -> Pluralism:
    """Steerable: does a response follow the attribute that the model was steered to?"""
    attributes = at.plan.attributes
    if not attributes:
        return Pluralism()
    follows = {condition.name: _follows(at, condition) for condition in at.conditions}
    tables = {name: table for name, (table, _) in follows.items()}
    return Pluralism(
        steering=tuple(each for name, (table, asked) in follows.items() for each in _steering(at, name, table, asked)),
        changes=(
            *changes("steerable", "", {name: accuracy_scores(table) for name, table in tables.items()}),
            *changes("steerable, F1", "", tables, f1_change),
            *(
                change
                for place, attribute in enumerate(attributes)
                for change in changes("steerable", attribute.name, {n: t[:, place, place] for n, t in tables.items()})
            ),
        ),
        notes=(ALONE,) if len(attributes) == 1 else (),
    )


def _follows(at: Measured, condition: Condition) -> tuple[Scores, Scores]:
    """`[scenarios, steered to, attribute]`: whether the response follows it, and whether that was asked."""
    attributes = at.plan.attributes
    size = (len(at.scenarios), len(attributes), len(attributes))
    follows, asked = np.full(size, np.nan), np.zeros(size)
    rows = {scenario.id: row for row, scenario in enumerate(at.scenarios)}
    cases, places = [], []
    for place, attribute in enumerate(attributes):
        tried = [s for s in at.scenarios if not attribute.scenario_ids or s.id in attribute.scenario_ids]
        for response in at.run.answer(tried, steered(condition, attribute.told, attribute.name)):
            row = rows[response.scenario_id]
            cases += [Case(at.scenarios[row], response, other.follows, other.check) for other in attributes]
            places += [(row, place, other) for other in range(len(attributes))]
    found = decide(cases, at.judges(), at.run.store, f"{condition.name} attributes")
    for cell, value in zip(places, found, strict=True):
        follows[cell], asked[cell] = value, 1
    return follows, asked


def _steering(at: Measured, name: str, follows: Scores, asked: Scores) -> list[Steering]:
    undecided = (np.isnan(follows) & (asked > 0)).sum(axis=(0, 1))
    overall = Steering(
        condition=name,
        attribute="",
        accuracy=accuracy(follows),
        f1=macro_f1(follows),
        undecided=int(undecided.sum()),
    )
    each = zip(at.plan.attributes, by_attribute(follows), undecided.tolist(), strict=True)
    return [
        overall,
        *(
            Steering(condition=name, attribute=attribute.name, accuracy=right, f1=f1, undecided=count)
            for attribute, (right, f1), count in each
        ),
    ]


def measure_trade_offs(at: Measured) -> Pluralism:
    """Trade-off steerable: told a weighting, does the model do best by it, of all that was tried?"""
    weightings = at.plan.weightings
    if not weightings:
        return Pluralism()
    given = {condition.name: at.verdicts[condition.name] for condition in at.conditions}
    given |= {at.told(c, w).name: _weighed(at, c, w) for c in at.conditions for w in weightings}
    tables = {name: at.shares(verdicts) for name, verdicts in given.items()}
    undecided = {name: sum(v.outcome == "undecided" for v in verdicts) for name, verdicts in given.items()}
    parts = [_trade_offs(at, weighting, tables, undecided) for weighting in weightings]
    note = (
        "Steered to a weighting, each model gave one response to a scenario; told no weighting, which is tried too, "
        f"it gave {at.run.settings.samples}."
    )
    return joined([*parts, Pluralism(notes=(note,))])


def _trade_offs(
    at: Measured, weighting: Weighting, tables: Mapping[str, Scores], undecided: Mapping[str, int]
) -> Pluralism:
    weights = np.array([weighting.weights.get(clause_id, 1.0) for clause_id in at.clause_ids])
    earned = {name: rewards(table, weights) for name, table in tables.items()}
    own = {condition.name: at.told(condition, weighting).name for condition in at.conditions}
    lost = {name: regrets(earned, told) for name, told in own.items()}
    # The best is the same for all: what regret rises by is what the reward falls by.
    fallen_short = {name: 1 - earned[told] for name, told in own.items()}
    return Pluralism(
        trade_offs=tuple(
            TradeOff(
                condition=name,
                weighting=weighting.name,
                reward=rate(earned[told]),
                regret=lost[name][0],
                best=lost[name][1],
                undecided=undecided[told],
            )
            for name, told in own.items()
        ),
        changes=changes("regret", weighting.name, fallen_short),
    )


def _weighed(at: Measured, condition: Condition, weighting: Weighting) -> list[Verdict]:
    """Verdicts on one response to each scenario."""
    return at.run.evaluate(at.scenarios, at.told(condition, weighting), at.run.project.policy).verdicts
