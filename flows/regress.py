"""Regress: the whole suite under the draft and under the refined policy, one `compare`."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Record, Split
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import write_record, write_records


class BySplit(Record):
    """The comparison on the scenarios that the refined policy was chosen by, and on those that it was not.

    A gain on the first that the second do not show was fitted to them.
    """

    develop: Comparison
    held_out: Comparison


def regress(run: Run, folder: Path) -> None:
    """Compare refined with draft, on every scenario and on each split, by the clauses as people drafted them."""
    draft, scenarios, model = run.project.policy, run.project.suite.scenarios, run.model("responder")
    refined = run.evaluate(scenarios, Condition("refined", model, preamble(refined_policy(run))), draft)
    # The prototype stage knows the answers already, but for a draft to which people have added a clause since.
    drafted = run.evaluate(scenarios, Condition("draft", model, preamble(draft)), draft).verdicts

    def on(split: Split) -> Comparison:
        ids = {scenario.id for scenario in run.project.suite.split(split)}
        first, second = ([v for v in given if v.scenario_id in ids] for given in (drafted, refined.verdicts))
        return compare(first, second, draft.clause_ids)

    write_records(folder / "responses.jsonl", refined.responses)
    write_records(folder / "verdicts.jsonl", refined.verdicts)
    write_record(folder / "comparison.json", compare(drafted, refined.verdicts, draft.clause_ids, scenarios))
    write_record(folder / "by_split.json", BySplit(develop=on("develop"), held_out=on("held_out")))
