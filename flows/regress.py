"""Regress: the whole suite under the draft and under the refined policy, one `compare`."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Verdict
from prefect_ratify.scenarios.comparing import compare
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import read_records, write_record, write_records


def regress(run: Run, folder: Path) -> None:
    """Compare refined with draft, on every scenario."""
    policy, scenarios = refined_policy(run), run.project.suite.scenarios
    refined = run.evaluate(scenarios, Condition("refined", run.model("responder"), preamble(policy)), policy)
    drafted = [
        v for v in read_records(run.stage_folder("prototype") / "verdicts.jsonl", Verdict) if v.condition == "draft"
    ]
    write_records(folder / "responses.jsonl", refined.responses)
    write_records(folder / "verdicts.jsonl", refined.verdicts)
    write_record(folder / "comparison.json", compare(drafted, refined.verdicts, policy.clause_ids, scenarios))
