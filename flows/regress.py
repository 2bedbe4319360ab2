"""Regress: the whole suite under the draft and under the refined policy, one `compare`."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Record, Split, Verdict
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import read_records, write_record, write_records


class BySplit(Record):
    """The comparison on the scenarios that the refined policy was chosen by, and on those that it was not.

    A gain on the first that the second do not show was fitted to them.
    """

    develop: Comparison
    held_out: Comparison


def regress(run: Run, folder: Path) -> None:
    """Compare refined with draft, on every scenario and on each split, by the clauses as people drafted them."""
    draft, scenarios = run.project.policy, run.project.suite.scenarios
    condition = Condition("refined", run.model("responder"), preamble(refined_policy(run)))
    refined = run.evaluate(scenarios, condition, draft)
    drafted = [
        v for v in read_records(run.stage_folder("prototype") / "verdicts.jsonl", Verdict) if v.condition == "draft"
    ]

    def on(split: Split) -> Comparison:
        ids = {scenario.id for scenario in run.project.suite.split(split)}
        first, second = ([v for v in given if v.scenario_id in ids] for given in (drafted, refined.verdicts))
        return compare(first, second, draft.clause_ids)

    write_records(folder / "responses.jsonl", refined.responses)
    write_records(folder / "verdicts.jsonl", refined.verdicts)
    write_record(folder / "comparison.json", compare(drafted, refined.verdicts, draft.clause_ids, scenarios))
    write_record(folder / "by_split.json", BySplit(develop=on("develop"), held_out=on("held_out")))
