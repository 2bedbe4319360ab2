"""The train stage as a deployment of its own: a team gives it a work pool with GPUs and leaves the rest where it is.

Workers of both share the project's folder and `RATIFY_PRIVATE`. The path waits; the deployment asks
the ledger itself, whatever the path was told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock
from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Failed

from prefect_ratify.errors import Collapsed, InputError, RatifyError, one_line
from prefect_ratify.flows.gates import require_approval
from prefect_ratify.flows.run_folder import Run, run_in
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.flows.train import train
from prefect_ratify.progress import say

TRAIN_FLOW = "train-model"
GATES_BEFORE = ("policy", "data")
POLL_SECONDS = 5
COLLAPSED = "Collapsed"  # how a run ends whose model fell apart in training
LOCK = "train.lock"  # beside the run's own, which the path holds while it waits


def training_name() -> str:
    """What Prefect calls a training: its run."""
    return Path(str(runtime.flow_run.parameters.get("run", ""))).name


@flow(name=TRAIN_FLOW, flow_run_name=training_name, log_prints=False)
def train_model(run: str) -> State[None] | None:
    """Train the student of the run in the folder `run`, whose data people approved.

    NotApproved where no gate covers what lies there now; *Collapsed* where the model fell apart. A
    training that another worker is at is waited for, and not done again.
    """
    found = run_in(Path(run))
    for gate in GATES_BEFORE:
        require_approval(found, gate)
    with FileLock(found.folder / LOCK):
        try:
            run_stage(found, "train", train)
        except Collapsed as end:
            return Failed(name=COLLAPSED, message=str(end))
    return None


def require_deployment(name: str) -> None:
    """InputError where the server that this process talks to has no such deployment."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except (ObjectNotFound, ValueError):
            raise InputError(
                f"there is no deployment {name!r}", f"name one as FLOW/DEPLOYMENT, such as {TRAIN_FLOW}/{TRAIN_FLOW}"
            ) from None


def train_elsewhere(run: Run, deployment: str) -> None:
    """Have a deployment of `train_model` train the run's student, and wait for it."""
    say(f"train … on {deployment}")
    found: Any = run_deployment(
        deployment, parameters={"run": str(run.folder.resolve())}, timeout=None, poll_interval=POLL_SECONDS
    )
    state = found.state
    if state is None or not state.is_completed():
        name, told = (state.name, state.message) if state is not None else ("nowhere", "")
        kind = Collapsed if name == COLLAPSED else RatifyError
        raise kind(f"train: {deployment} ended as {name}: {one_line(told or 'it says no more')}")
    if not run.stage_folder("train").exists():
        raise RatifyError(
            f"train: {deployment} is done, and its files are not in {run.folder}: its workers must share this folder"
        )
    say(f"train: done on {deployment}")


if __name__ == "__main__":
    train_model.serve(name=TRAIN_FLOW)
