"""The stages of a run: done by one process at a time, each once, and put aside to be done again.

A stage whose files are there is not run again. A stage writes into `<stage>.part`, which becomes
`<stage>` when it is whole; a killed stage finds its `.part` again and may go on from it. Stages that
people want done again are put aside into `rounds/<number>-<gate>/`, so that what was decided on stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prefect_ratify.errors import RatifyError
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.progress import duration, say
from prefect_ratify.store import read_json, write_json

STAGES = ("prototype", "refine", "regress", "generate", "train", "compare")
LONGEST_LOCK_WAIT = 5  # seconds: a run that was answered may come again before its process has ended
GOING_BACK = "going-back.json"
LOCK = "lock"


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the run for this process; RatifyError where another one works on it."""
    lock = FileLock(run.folder / LOCK)
    try:
        lock.acquire(timeout=LONGEST_LOCK_WAIT)
    except Timeout:
        raise RatifyError(f"another process works on run {run.id} of {run.project.folder}; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process works on the run in this folder, or waits for an answer in it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def run_stage(run: Run, stage: str, work: Callable[[Run, Path], None]) -> None:
    """Do a stage's work into its folder, unless its files are there."""
    folder = run.stage_folder(stage)
    if folder.exists():
        say(f"{stage}: done before, not run again")
        return
    say(f"{stage} …")
    part = folder.with_name(f"{stage}.part")
    part.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    work(run, part)
    seconds = time.monotonic() - started
    write_json(part / "stage.json", {"stage": stage, "seconds": round(seconds, 1)})
    part.rename(folder)
    say(f"{stage}: done in {duration(seconds)}")


def put_aside(run: Run, gate: str, back_to: str) -> None:
    """Put the stages from `back_to` on aside, to be done again after a request for changes."""
    later = STAGES[STAGES.index(back_to) :]
    write_json(run.folder / GOING_BACK, {"into": f"{run.round}-{gate}", "stages": list(later)})
    finish_putting_aside(run)


def finish_putting_aside(run: Run) -> None:
    """Move what `put_aside` set out to move; after a crash, what is left of it."""
    plan_path = run.folder / GOING_BACK
    if not plan_path.exists():
        return
    plan = read_json(plan_path)
    into = run.folder / "rounds" / plan["into"]
    into.mkdir(parents=True, exist_ok=True)
    for stage in plan["stages"]:
        for name in (stage, f"{stage}.part"):
            if (run.folder / name).exists():
                (run.folder / name).rename(into / name)
    plan_path.unlink()
