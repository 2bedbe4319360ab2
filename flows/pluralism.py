"""Pluralism, measured on base, refined and finetuned models, and what training changed.

Each measure is taken where the project gives something for it (pluralism.yaml, votes.jsonl), on
held-out scenarios or on its questions; their definitions are in `scenarios/pluralism/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prefect_ratify.flows.compare import FINETUNED, conditions
from prefect_ratify.flows.distributions import measure_distributions
from prefect_ratify.flows.measured import Measured, joined
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.steerability import measure_steering, measure_trade_offs
from prefect_ratify.policy_modules.covering import Case, covers, decide
from prefect_ratify.records import Response, Verdict
from prefect_ratify.scenarios.pluralism.changes import changes
from prefect_ratify.scenarios.pluralism.decided import mean_of_decided
from prefect_ratify.scenarios.pluralism.objectives import (
    dominates,
    four_digits,
    front,
    hypervolume,
    volume_change,
    volume_interval,
)
from prefect_ratify.scenarios.pluralism.overton import coverage
from prefect_ratify.scenarios.pluralism.plan import Reasonable
from prefect_ratify.scenarios.pluralism.records import Coverage, Objectives, Pluralism
from prefect_ratify.scenarios.statistics import Scores, rate
from prefect_ratify.store import write_record

MEASURED = ("base", "refined", FINETUNED)
PLURALISM = "pluralism.json"
DOMINATED = (
    "Which model dominates which is said of the clauses' rates as they were found: how sure each rate is, its "
    "interval says, and not this."
)


def measure_pluralism(
    run: Run,
    folder: Path,
    answers: Mapping[str, Sequence[Response]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> None:
    """Write pluralism.json into `folder`; nothing where the project gives nothing for it.

    `answers` and `verdicts` are those of held-out scenarios, by condition.
    """
    plan = run.project.pluralism
    if not plan:
        return
    chosen = tuple(condition for condition in conditions(run) if condition.name in MEASURED)
    at = Measured(run, plan, run.project.suite.split("held_out"), chosen, answers, verdicts)
    parts = [measure_coverage(at), measure_steering(at), measure_distributions(run, plan, chosen)]
    parts += [measure_objectives(at), measure_trade_offs(at)]
    write_record(folder / PLURALISM, joined(parts))


def measure_coverage(at: Measured) -> Pluralism:
    """Overton: which reasonable answers do responses to their scenarios cover?"""
    there = {scenario.id for scenario in at.scenarios}
    asked = [reasonable for reasonable in at.plan.reasonable if reasonable.scenario_id in there]
    if not asked:
        return Pluralism()
    weights = [np.array([answer.weight for answer in reasonable.answers]) for reasonable in asked]
    tables = {condition.name: _covered(at, condition.name, asked) for condition in at.conditions}
    scores = {name: coverage(table, weights) for name, table in tables.items()}
    return Pluralism(
        coverage=tuple(
            Coverage(
                condition=name,
                share=rate(plain),
                weighted=rate(weighted),
                by_answer=_by_answer(tables[name], asked),
                undecided=sum(int(np.isnan(table).sum()) for table in tables[name]),
            )
            for name, (plain, weighted) in scores.items()
        ),
        changes=(
            *changes("overton", "", {name: plain for name, (plain, _) in scores.items()}),
            *changes("overton, weighted", "", {name: weighted for name, (_, weighted) in scores.items()}),
        ),
    )


def _covered(at: Measured, name: str, asked: Sequence[Reasonable]) -> list[Scores]:
    """For each scenario `[responses, answers]`."""
    by_id = {scenario.id: scenario for scenario in at.scenarios}
    given = [[response for response in at.answers[name] if response.scenario_id == r.scenario_id] for r in asked]
    cases = [
        Case(by_id[reasonable.scenario_id], response, covers(answer.text), answer.check)
        for reasonable, responses in zip(asked, given, strict=True)
        for response in responses
        for answer in reasonable.answers
    ]
    found = iter(decide(cases, at.judges(), at.run.store, f"{name} coverage"))
    return [
        np.array([[next(found) for _ in reasonable.answers] for _ in responses]).reshape(-1, len(reasonable.answers))
        for reasonable, responses in zip(asked, given, strict=True)
    ]


def _by_answer(tables: Sequence[Scores], asked: Sequence[Reasonable]) -> dict[str, float]:
    """By whose answers they are, the share of responses that cover them."""
    columns: dict[str, list[Scores]] = {}
    for table, reasonable in zip(tables, asked, strict=True):
        for answer, column in zip(reasonable.answers, table.T, strict=True):
            if answer.by:
                columns.setdefault(answer.by, []).append(column)
    means = {by: float(mean_of_decided(np.concatenate(found))) for by, found in columns.items()}
    return {by: round(mean, 4) for by, mean in means.items() if not np.isnan(mean)}


def measure_objectives(at: Measured) -> Pluralism:
    """Several objectives: each model as the point of its clauses' rates, of those decided for all of the models."""
    tables = {condition.name: at.shares(at.verdicts[condition.name]) for condition in at.conditions}
    decided = np.all([~np.isnan(table).all(axis=0) for table in tables.values()], axis=0)
    kept = [clause_id for clause_id, is_decided in zip(at.clause_ids, decided, strict=True) if is_decided]
    if not kept:
        return Pluralism(notes=("No clause was decided for all models: there are no objectives to compare.",))
    tables = {name: table[:, decided] for name, table in tables.items()}
    points = {name: mean_of_decided(table.T) for name, table in tables.items()}
    on_front = dict(zip(points, front(list(points.values())), strict=True))
    left = [clause_id for clause_id in at.clause_ids if clause_id not in kept]
    notes = [f"No objectives, since undecided for a model: {', '.join(left)}."] if left else []
    notes += [] if all(on_front.values()) else [DOMINATED]
    return Pluralism(
        objectives=tuple(
            Objectives(
                condition=name,
                rates={clause_id: round(float(r), 4) for clause_id, r in zip(kept, point, strict=True)},
                hypervolume=volume_interval(tables[name]),
                dominated_by=tuple(other for other, better in points.items() if dominates(better, point)),
                on_front=on_front[name],
            )
            for name, point in points.items()
        ),
        front_volume=four_digits(hypervolume(list(points.values()))),
        changes=changes("hypervolume", "", tables, volume_change),
        notes=tuple(notes),
    )
