"""The shards of the data stage as Prefect tasks: in this process, on Dask or on Ray.

Who makes a shard changes nothing in its files. `threads` is this process. `dask` and `ray` start a
worker process for each core of this machine; with an address (`dask:tcp://scheduler:8786`,
`ray:ray://head:10001`) they are a team's cluster, whose workers need this package, the run's folder
under the same path, and the addresses and keys of the models in their environment.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from prefect_ratify import event_loop, places
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.flows.shard_progress import ShardProgress
from prefect_ratify.local_models import threads
from prefect_ratify.progress import headed

ENGINES = ("threads", "dask", "ray")
# On this machine. Dask's guess of how much memory a worker may take would end some; tasks give nothing back, so that
# Ray needs no more than the least store that it takes. Dask listens on loopback alone. Ray has no setting for that (its
# processes talk by the address below, and listen on all); whoever connects to it needs the token that it makes.
DASK_HERE = {"threads_per_worker": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard_address": None}
RAY_HERE = {
    "_node_ip_address": "127.0.0.1",
    "object_store_memory": 80 * 2**20,
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": "ERROR",
}


class Future(Protocol):
    """What has to be known of a Prefect future."""

    def result(self) -> Any: ...


@dataclass(frozen=True)
class Engine:
    """Who runs the tasks, and where, if not on this machine."""

    name: str
    address: str = ""


@dataclass(frozen=True)
class Shards:
    """Whose shards they are, and which of them are missing."""

    run_folder: str
    stage_folder: str
    progress: ShardProgress


def engine_named(runner: str) -> Engine:
    """The engine that `--task-runner` names; InputError where there is none, or it is not installed."""
    name, colon, address = runner.partition(":")
    if name not in ENGINES or (colon and (name == "threads" or not address)):
        raise InputError(f"there is no task runner {runner!r}", "give threads, dask, ray, dask:ADDRESS or ray:ADDRESS")
    if name != "threads" and find_spec(f"prefect_{name}") is None:
        raise InputError(f"the task runner {name!r} is not installed", f"pip install 'prefect-ratify[{name}]'")
    return Engine(name, address)


def run_shards(
    run_folder: str, stage_folder: str, numbers: Sequence[int], runner: str = "threads", at_once: int = 1
) -> None:
    """Make the shards of these numbers that are not there yet.

    In this process `at_once` of them are under way at a time: one where a model works in process,
    else two, so that the last answers of one leave no places unused. Outside a Prefect run this
    process makes them, whatever the runner. An error of a shard is raised, with the shard's number,
    when those under way have ended; no other is begun after it.
    """
    engine, in_flow = engine_named(runner), _in_flow()
    progress = ShardProgress(Path(stage_folder), numbers)
    shards = Shards(run_folder, stage_folder, progress)
    if at_once == 1 and (engine.name == "threads" or not in_flow):
        _one_by_one(shards, _task() if in_flow else make)
    elif in_flow:
        _as_flow(shards, engine, at_once)
    else:
        with ThreadPoolExecutor(at_once) as pool:
            _in_turn(shards, lambda *given: pool.submit(make, *given), at_once)
    progress.end()


def make(run_folder: str, stage_folder: str, number: int, heading: str | None = None, sharers: int = 1) -> None:
    """Make one shard, in a process that is one of `sharers` which ask the same models."""
    from prefect_ratify.flows.generate import make_shard  # which imports this module

    places.share_endpoints(sharers)
    with headed(heading):
        make_shard(run_folder, stage_folder, number)


def _one_by_one(shards: Shards, work: Callable[..., None]) -> None:
    """In the caller's thread, where models in process are quickest."""
    progress = shards.progress
    for number in progress.missing:
        with _named(number):
            work(shards.run_folder, shards.stage_folder, number, progress.heading())
        progress.ended(number)


def _as_flow(shards: Shards, engine: Engine, at_once: int) -> None:
    """As a flow of its own, because a flow is what has a task runner."""
    from prefect import flow
    from prefect.context import FlowRunContext, TaskRunContext

    def work() -> None:
        workers = _workers(engine, FlowRunContext.get().task_runner)
        in_flight = at_once if engine.name == "threads" else 2 * workers  # one to work on, and one to go on with
        # Prefect sends the context along with what is submitted, and the stage's task holds the run and its models.
        outer = TaskRunContext.__var__.set(None)
        try:
            _in_turn(shards, _task().submit, in_flight, workers)
        finally:
            TaskRunContext.__var__.reset(outer)

    flow(work, name="shards", task_runner=_task_runner(engine, at_once))()


def _in_turn(shards: Shards, submit: Callable[..., Future], in_flight: int, workers: int = 1) -> None:
    """Submit the missing shards, so many at a time: 400 that wait would be 400 in a scheduler's memory."""
    waiting: deque[tuple[int, Future]] = deque()
    errors: list[Exception] = []

    def settle() -> None:
        number, future = waiting.popleft()
        try:
            with _named(number):
                future.result()
            shards.progress.ended(number)
        except Exception as error:
            errors.append(error)

    try:
        for number in shards.progress.missing:
            if len(waiting) == in_flight:
                settle()
            if errors:
                break
            waiting.append((number, submit(shards.run_folder, shards.stage_folder, number, None, workers)))
        while waiting:
            settle()
    except BaseException:  # Ctrl-C, or Prefect's signal: else the threads would be waited for
        event_loop.end_all()
        raise
    if errors:
        raise errors[0]


@contextmanager
def _named(number: int) -> Iterator[None]:
    """Say of an error which shard it is of."""
    try:
        yield
    except RatifyError as error:
        error.args = (f"shard {number}: {error}",)
        raise
    except Exception as error:
        error.add_note(f"(shard {number})")
        raise


def _task() -> Any:
    from prefect import task

    return task(make, name="shard", task_run_name="shard {number}")


def _in_flow() -> bool:
    context = sys.modules.get("prefect.context")  # which takes a second to import; without it there is no flow
    return context is not None and context.FlowRunContext.get() is not None


def _task_runner(engine: Engine, at_once: int) -> Any:
    if engine.name == "threads":
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=at_once)
    if engine.name == "dask":
        from prefect_dask import DaskTaskRunner

        here = {"cluster_kwargs": {"n_workers": threads(), **DASK_HERE}}
        return DaskTaskRunner(**({"address": engine.address} if engine.address else here))
    from prefect_ray import RayTaskRunner

    here = {"init_kwargs": {"num_cpus": threads(), **RAY_HERE}}
    return RayTaskRunner(**({"address": engine.address} if engine.address else here))


def _workers(engine: Engine, runner: Any) -> int:
    """How many processes work."""
    if engine.name == "dask":
        return max(1, len(runner.client.scheduler_info(n_workers=-1)["workers"]))
    if engine.name == "ray":
        from ray import cluster_resources

        return max(1, int(cluster_resources().get("CPU", 1)))
    return 1
