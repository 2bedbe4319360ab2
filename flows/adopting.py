"""`ratify adopt`: a model that was trained in a handoff folder becomes the run's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.finetune.dataset import DATA, PREFERENCES, count_rows
from prefect_ratify.finetune.handoff import (
    Handoff,
    data_digests,
    first_difference,
    read_handoff,
    sha256,
)
from prefect_ratify.finetune.taking_back import Trained, find_trained, require_same_shape, take_back
from prefect_ratify.finetune.trl_files import stages_of
from prefect_ratify.flows.gates import require_approval
from prefect_ratify.flows.handing_off import handed_off
from prefect_ratify.flows.ledger import read_chain
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.stages import alone, put_aside, run_stage
from prefect_ratify.records import digest
from prefect_ratify.store import write_json

SAME = {
    "run": "another run",
    "policy": "another refined policy",
    "base_digest": "another base model",
    "evidence": "other training data",
}


def adopt(run: Run, folder: Path) -> str:
    """Take the model that TRL left in `folder` into the run as its train stage; returns a line that says so.

    InputError, with what differs, where the folder is not what was handed off of this run; a train
    stage that was there is put aside. The run goes on with the comparison.
    """
    handoff = read_handoff(folder)
    with alone(run):
        for gate in ("policy", "data"):
            require_approval(run, gate)
        require_handed_off(run, folder, handoff)
        trained, student = find_trained(folder, stages_of(handoff.configs)), run.student()
        require_same_shape(student.folder, trained)
        scratch = run.folder / "train.adopted"
        shutil.rmtree(scratch, ignore_errors=True)
        take_back(student.folder, _name(handoff.base), trained, scratch)
        write_json(scratch / "training.json", _training(folder, handoff, trained))
        if any((run.folder / name).exists() for name in ("train", "train.part")):
            put_aside(run, "adopt", "train")
        run_stage(run, "train", lambda _, part: _move(scratch, part))
        scratch.rmdir()
    stages = " and ".join(trained.stages)
    return one_line(f"the model of {folder} ({stages}) is now run {run.id}'s; ratify run, with its options, goes on")


def require_handed_off(run: Run, folder: Path, handoff: Handoff) -> None:
    """InputError where a folder does not hold what was handed off of this run, as the run is now."""
    now = handed_off(run, handoff.base)
    for key, words in SAME.items():
        if getattr(handoff, key) != getattr(now, key):
            raise InputError(
                f"this was handed off of {words}: {key} {getattr(handoff, key)[:16]}, "
                f"and here it is {getattr(now, key)[:16]}",
                path=folder,
            )
    ledger, entries = read_chain(run.folder)
    if handoff.ledger not in {ledger, *(digest(entry) for entry in entries)}:
        raise InputError("the run's ledger never ended in what handoff.json says", path=folder)
    changed = first_difference(data_digests(run.stage_folder("generate") / DATA), data_digests(folder / DATA))
    if changed:
        raise InputError(f"{changed} since it was handed off", path=folder / DATA)


def _training(folder: Path, handoff: Handoff, trained: Trained) -> dict[str, object]:
    """What the report is told of the training; configurations that were edited elsewhere are named."""
    edited = [
        name
        for name, before in handoff.configs.items()
        if not (folder / name).is_file() or sha256(folder / name) != before
    ]
    preference = "dpo" in trained.stages
    return {
        "steps": {},  # none was trained here
        "pairs": count_rows(folder / PREFERENCES) if preference else 0,
        "preference_training": preference,
        "adopted": {"stages": list(trained.stages), "base": _name(handoff.base), "edited": edited},
    }


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.rename(target / path.name)


def _name(base: str) -> str:
    """A base model's name that is no path of another machine: the last part of one."""
    return Path(base).name if Path(base).is_absolute() else base
