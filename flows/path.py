"""The whole path, top to bottom: from a drafted policy to a trained, compared model.

    policy.md ──► prototype ─⛩ draft─► refine ─► regress ─⛩ policy─►
                  generate ─⛩ data─► train ─► compare ─⛩ release─► model

Each stage is a plain function from the files before it to its own; Prefect makes it visible,
schedules it, and waits at the gates. One task a stage: a task costs milliseconds, an answer
far less.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from prefect import flow, runtime, task
from prefect.client.schemas.objects import State
from prefect.states import Failed

from prefect_ratify.errors import ChangesRequested, Collapsed, Rejected
from prefect_ratify.flows import compare, generate, prototype, refine, regress, train
from prefect_ratify.flows.asking import refuse_a_second
from prefect_ratify.flows.gates import gate, go_back, is_unattended, require_approval
from prefect_ratify.flows.project import Settings
from prefect_ratify.flows.report import write_report
from prefect_ratify.flows.run_folder import UNATTENDED, Run, open_run
from prefect_ratify.flows.serving import publish_report
from prefect_ratify.flows.sharding import engine_named
from prefect_ratify.flows.stages import alone, finish_putting_aside, run_stage
from prefect_ratify.flows.training_deployment import COLLAPSED, GATES_BEFORE, require_deployment, train_elsewhere
from prefect_ratify.progress import say

FLOW = "policy-to-model"
Until = Literal["", "draft", "policy", "data"]  # a gate, or none: to the end
WORK = {
    "prototype": prototype.prototype,
    "refine": refine.refine,
    "regress": regress.regress,
    "generate": generate.generate,
    "train": train.train,
    "compare": compare.compare,
}
# What a stage (or a release) uses must be approved when it begins, as it is then.
APPROVED_BEFORE = {
    "refine": ("draft",),
    "regress": ("draft",),
    "generate": ("policy",),
    "train": GATES_BEFORE,
    "compare": ("policy", "data"),
    "release": ("policy", "data"),
}


class _Reached(Exception):
    """The path is where it was to end."""


def run_name() -> str:
    """What Prefect calls a run: its project."""
    return Path(str(runtime.flow_run.parameters.get("project", ""))).name


@flow(name=FLOW, flow_run_name=run_name, log_prints=False)
def policy_to_model(
    project: str,
    settings: Settings | None = None,
    fresh: bool = False,
    task_runner: str = "threads",
    train_on: str = "",
    until: Until = "",
) -> str | State[str]:
    """Carry the policy in the folder `project` to a finetuned model; returns the run's folder.

    Finished stages of a run with the same inputs are not run again; `fresh` starts a new run. The
    shards of the data stage are made by `task_runner`, which changes nothing in them; the deployment
    `train_on` of `train_model` trains, where one is named. A model that falls apart in training ends
    the run as *Collapsed*. Once the gate `until` is passed, this ends there; another call goes on.
    People who ask for changes at a gate send it back; people who reject end it, as *Rejected*.
    """
    engine_named(task_runner)  # before anything is begun
    if train_on:
        require_deployment(train_on)
    opened = open_run(Path(project), settings or Settings(), fresh=fresh, flow_run=str(runtime.flow_run.id or ""))
    run = replace(opened, task_runner=task_runner, train_on=train_on)
    with alone(run):
        refuse_a_second(run)
        (run.folder / UNATTENDED).touch() if is_unattended() else (run.folder / UNATTENDED).unlink(missing_ok=True)
        finish_putting_aside(run)
        while True:
            try:
                return walk(run, until)
            except _Reached:
                return str(run.folder)
            except ChangesRequested as asked:
                run = go_back(run, asked)
            except Rejected as refusal:
                return Failed(name="Rejected", message=str(refusal))
            except Collapsed as end:
                return Failed(name=COLLAPSED, message=str(end))


def walk(run: Run, until: Until = "") -> str:
    """The path from its beginning: what is done is not done again, what is approved not asked again."""
    stage(run, "prototype")
    passed(run, "draft", until)
    stage(run, "refine")
    stage(run, "regress")
    passed(run, "policy", until)
    stage(run, "generate")
    passed(run, "data", until)
    stage(run, "train")
    stage(run, "compare")
    require_approvals(run, "release")
    write_report(run)
    try:
        gate(run, "release")
    finally:
        write_report(run)  # a refusal stands in it too
        publish_report(run)
    return str(run.folder)


def passed(run: Run, name: str, until: Until) -> None:
    """Return once a gate is passed, but for the one at which the path is to end."""
    gate(run, name)
    if name == until:
        raise _Reached


def require_approvals(run: Run, name: str) -> None:
    """NotApproved where something that is about to be used was not approved as it is."""
    for gate_before in APPROVED_BEFORE.get(name, ()):
        require_approval(run, gate_before)


def stage(run: Run, name: str) -> None:
    """Run one stage as a Prefect task, unless its files are there."""
    if run.stage_folder(name).exists():
        say(f"{name}: done before, not run again")
        return
    require_approvals(run, name)
    if name == "train" and run.train_on:
        return train_elsewhere(run, run.train_on)

    # The run is not an argument of the task: Prefect would look through all that it holds.
    @task(name=name, task_run_name=name)
    def work() -> None:
        run_stage(run, name, WORK[name])

    work()


if __name__ == "__main__":
    policy_to_model.serve(name=FLOW)
