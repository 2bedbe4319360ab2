"""Generate: constitutional demonstrations from development scenarios, and retain rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from prefect_ratify.finetune.composing import compose, demonstration, retain
from prefect_ratify.finetune.constitution import revise_all
from prefect_ratify.finetune.counts import DataCounts, require_rows
from prefect_ratify.finetune.data_card import data_card
from prefect_ratify.finetune.dataset import DATA, SUPERVISED, shard_name, write_rows
from prefect_ratify.finetune.leaks import require_no_leak
from prefect_ratify.finetune.sentences import write_sentences
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.voting import requests
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.records import Demonstration, Policy
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import write_record, write_text

Rows = tuple[list[Demonstration], dict[str, int], dict[str, dict[str, int]]]


def generate(run: Run, folder: Path) -> None:
    """Write the supervised data set with its card; ShortOfRows or LeakError where it is unfit."""
    policy, suite = refined_policy(run), run.project.suite
    scenarios = suite.split("develop")
    rows, lost, tallies = _revised(run, policy) if run.settings.models.critic else _composed(run, policy)
    unrelated = suite.unrelated_split("develop")
    own = run.answer(unrelated, Condition("student", run.student()), seed=run.seed("generate"))
    kept, lost_own = retain(unrelated, own, policy, run.seed("generate"))
    counts = DataCounts(
        scenarios=len(scenarios),
        demonstrations=len(rows),
        retained=len(kept),
        lost={**lost, **lost_own},
        sentences=tallies,
    )
    require_rows(counts)
    require_no_leak(rows + kept, suite.split("held_out") + suite.unrelated_split("held_out"))
    write_rows(rows + kept, folder / SUPERVISED / shard_name(0))
    write_record(folder / "counts.json", counts)
    writer = run.settings.models.critic or run.student().name
    write_text(folder / DATA / "README.md", data_card(policy, counts, writer))


def _composed(run: Run, policy: Policy) -> Rows:
    """Clause by clause, one sentence each: what a model as small as the embedded one can do."""
    scenarios = run.project.suite.split("develop")
    student, seed = run.student(), run.seed("generate")
    kept, tallies = write_sentences(scenarios, policy, run.project.suite, student, run.store, seed)
    rows, lost = compose(scenarios, policy, run.project.suite, kept, student.name, seed)
    return rows, lost, {clause_id: _counts(asdict(tally)) for clause_id, tally in tallies.items()}


def _revised(run: Run, policy: Policy) -> Rows:
    """Critique and revision by a capable model; rows whose revision a clause refuses are lost."""
    scenarios = run.project.suite.split("develop")
    responder = Condition("responder", run.model("responder"))
    answers = run.answer(scenarios, responder, seed=run.seed("generate"))
    critic_model = ModelCritic(
        run.model("critic"),
        run.store,
        requests(run, "data", "release"),
        cases=run.cases(),
        definitions=run.project.policy.definitions,
    )
    revisions, lost = revise_all(scenarios, answers, policy, critic_model)
    final = [
        answer.model_copy(update={"text": revisions[answer.scenario_id][-1].text, "finished": True})
        for answer in answers
        if revisions.get(answer.scenario_id)
    ]
    violated = {
        v.scenario_id: v.clause_id for v in run.judge(run.project.policy, scenarios, final) if v.outcome == "violated"
    }
    by_id = {scenario.id: scenario for scenario in scenarios}
    critic, rows = run.settings.models.critic, []
    for answer in final:
        if answer.scenario_id in violated:
            reason = f"the revision breaks {violated[answer.scenario_id]}"
            lost[reason] = lost.get(reason, 0) + 1
        else:
            scenario = by_id[answer.scenario_id]
            rows.append(
                demonstration(scenario, answer.text, policy, critic, "critique and revision", run.seed("generate"))
            )
    return rows, lost, {}


def _counts(tally: dict[str, object]) -> dict[str, int]:
    return {key: value for key, value in tally.items() if isinstance(value, int)}
