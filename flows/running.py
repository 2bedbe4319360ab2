"""`ratify run`: the whole path in this process, on a Prefect server."""

from __future__ import annotations

import shlex
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.errors import Collapsed, InputError, Rejected
from prefect_ratify.flows.gates import unattended
from prefect_ratify.flows.project import Settings, load_project, require_ready
from prefect_ratify.flows.run_folder import run_in
from prefect_ratify.flows.server import prefect_server
from prefect_ratify.flows.sharding import engine_named
from prefect_ratify.flows.training_file import TRAINING, require_trainable
from prefect_ratify.local_models import load_local
from prefect_ratify.policy_modules.embedding import require_embedder
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.policy_modules.models import open_model, require_local
from prefect_ratify.progress import duration, say

if TYPE_CHECKING:
    from prefect_ratify.flows.path import Until


def run_path(
    folder: Path,
    settings: Settings,
    *,
    fresh: bool,
    nobody_asked: bool = False,
    task_runner: str = "threads",
    train_on: str = "",
    until: Until = "",
) -> str:
    """Carry the project in `folder` to a finetuned model, or `until` a gate; returns what to tell people.

    What is wrong with the input, a model's name included, is found before anything is written.
    """
    started = time.monotonic()
    project = load_project(folder)
    require_ready(project)
    if train_on and nobody_asked:
        raise InputError("--train-on trains what people approved, and --unattended asks nobody", "leave out one")
    for name in dict.fromkeys(filter(None, settings.models.model_dump(exclude={"embedder", "judge"}).values())):
        open_model(name)
    judges_named(settings.models.judge, open_model)
    require_embedder(settings.models.embedder)
    require_local(settings.models.student)
    require_trainable(folder / TRAINING, project.training, lambda: load_local(settings.models.student).folder)
    engine_named(task_runner)
    say("starting Prefect …")
    with prefect_server() as url, unattended() if nobody_asked else nullcontext():
        say(f"Prefect: {url.removesuffix('/api')}")
        from prefect_ratify.flows.path import policy_to_model
        from prefect_ratify.flows.training_deployment import COLLAPSED

        state = policy_to_model(
            project=str(folder.resolve()),
            settings=settings,
            fresh=fresh,
            task_runner=task_runner,
            train_on=train_on,
            until=until,
            return_state=True,
        )
        if state.name == "Rejected":
            raise Rejected(f"{state.message}; edit {folder} and run again, or start anew with --fresh")
        if state.name == COLLAPSED:
            raise Collapsed(state.message)
        run_folder = Path(state.result())
    say(f"finished in {duration(time.monotonic() - started)}")
    return _after(until, folder) if until else _result(run_folder)


def _result(run_folder: Path) -> str:
    from prefect_ratify.flows.report import terminal_table

    return f"{terminal_table(run_in(run_folder))}\nReport: {run_folder / 'report.html'}"


def _after(until: str, folder: Path) -> str:
    """What can be done once the path has ended after a gate."""
    handoff = f"; to train elsewhere: ratify handoff {shlex.quote(str(folder))} --to FOLDER" if until == "data" else ""
    return f"gate {until} is passed; to go on, run again without --until and --fresh{handoff}"
