"""Prototype: a model answers every scenario with and without the draft policy; both are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Record, Scenario, Verdict
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import write_record, write_records


class Gaps(Record):
    """What the draft leaves open.

    `uncovered`: scenarios that no clause touches, or of which every verdict is *not
    applicable*. `undecided_clauses`: clauses with no check, and no judge that may decide them.
    `pulling_apart`: scenarios on which the policy gains one clause and loses another.
    """

    uncovered: tuple[str, ...]
    undecided_clauses: tuple[str, ...]
    pulling_apart: tuple[str, ...]


def prototype(run: Run, folder: Path) -> None:
    """Answer and judge the whole suite, once each, as `base` and as `draft`."""
    policy, scenarios = run.project.policy, run.project.suite.scenarios
    model = run.model("responder")
    responses, verdicts = [], []
    for condition in (Condition("base", model), Condition("draft", model, preamble(policy))):
        found = run.evaluate(scenarios, condition, policy)
        responses += found.responses
        verdicts += found.verdicts
    write_records(folder / "responses.jsonl", responses)
    write_records(folder / "verdicts.jsonl", verdicts)
    write_record(folder / "gaps.json", find_gaps(scenarios, verdicts, policy.clause_ids))


def find_gaps(scenarios: Sequence[Scenario], verdicts: Sequence[Verdict], clause_ids: Sequence[str]) -> Gaps:
    """Name what the verdicts on `base` and `draft` show to be missing."""
    outcomes = {(v.condition, v.scenario_id, v.clause_id): v.outcome for v in verdicts}
    uncovered, apart = [], []
    for scenario in scenarios:
        drafted = [outcomes.get(("draft", scenario.id, c)) for c in scenario.clause_ids]
        moves = {
            (outcomes.get(("base", scenario.id, c)), outcomes.get(("draft", scenario.id, c)))
            for c in scenario.clause_ids
        }
        if all(outcome in (None, "not applicable") for outcome in drafted):
            uncovered.append(scenario.id)
        if {("violated", "upheld"), ("upheld", "violated")} <= moves:
            apart.append(scenario.id)
    nobody = [c for c in clause_ids if {v.judge for v in verdicts if v.clause_id == c} == {"nobody"}]
    return Gaps(uncovered=tuple(uncovered), undecided_clauses=tuple(nobody), pulling_apart=tuple(apart))
