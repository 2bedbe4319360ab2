"""Shards as tasks: the same files whoever makes them, few under way at a time, and nothing after an error."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify import event_loop, places
from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError, LeakError
from prefect_ratify.flows import generate, sharding
from prefect_ratify.flows.sharding import engine_named, run_shards
from prefect_ratify.places import Places, places_at, share_endpoints
from prefect_ratify.progress import Meter
from tests.data_run import answering, begin, files, make, write_project
from tests.gate_server import Server
from tests.model_server import model_server

Make = Callable[[str, str, int], None]


class Shards:
    """Stands for what makes shards: notes which were made, and how many at a time."""

    def __init__(self, bad: int = -1, seconds: float = 0.0) -> None:
        self.bad, self.seconds = bad, seconds
        self.made: list[int] = []
        self.headings: list[str] = []
        self.threads: set[int] = set()
        self.now = self.most_at_once = 0

    def make(self, run_folder: str, stage_folder: str, number: int) -> None:
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        self.threads.add(threading.get_ident())
        meter = Meter("rows", 1)
        self.headings.append(meter.heading if meter.label else "silent")
        time.sleep(self.seconds)
        self.now -= 1
        if number == self.bad:
            raise LeakError("row abc holds h1")
        self.made.append(number)
        done(Path(stage_folder), number)


def done(stage: Path, number: int) -> None:
    (stage / "shards").mkdir(exist_ok=True)
    (stage / "shards" / f"{number:05d}.json").write_text("{}")


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shards]:
    def stand_in(**given: Any) -> Shards:
        found = Shards(**given)
        monkeypatch.setattr(generate, "make_shard", found.make)
        return found

    return stand_in


@pytest.mark.parametrize("at_once", [1, 2])
def test_only_what_is_missing_is_made(shards: Callable[..., Shards], tmp_path: Path, at_once: int) -> None:
    found = shards()
    done(tmp_path, 1)
    run_shards("run", str(tmp_path), range(4), at_once=at_once)
    assert sorted(found.made) == [0, 2, 3]
    run_shards("run", str(tmp_path), range(4), at_once=at_once)
    assert len(found.made) == 3


def test_one_at_a_time_works_in_the_caller_s_thread(shards: Callable[..., Shards], tmp_path: Path) -> None:
    found = shards()
    run_shards("run", str(tmp_path), range(3))
    assert found.made == [0, 1, 2]
    assert found.threads == {threading.get_ident()}
    assert found.headings[0] == "shards: 0/3 · "
    assert found.headings[2].startswith("shards: 2/3 · 0 rows · ")


def test_a_single_shard_shows_its_own_line_alone(shards: Callable[..., Shards], tmp_path: Path, capsys: Any) -> None:
    found = shards()
    run_shards("run", str(tmp_path), range(1))
    assert found.headings == [""]
    assert capsys.readouterr().err == ""


def test_two_at_a_time_show_one_line_between_them(shards: Callable[..., Shards], tmp_path: Path, capsys: Any) -> None:
    found = shards(seconds=0.02)
    run_shards("run", str(tmp_path), range(7), at_once=2)
    assert (sorted(found.made), found.most_at_once) == (list(range(7)), 2)
    assert set(found.headings) == {"silent"}
    assert "shards: 7/7 · 0 rows" in capsys.readouterr().err


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_names_its_shard_and_begins_no_other(
    shards: Callable[..., Shards], tmp_path: Path, at_once: int
) -> None:
    found = shards(bad=2, seconds=0.01)
    with pytest.raises(LeakError, match=r"^shard 2: row abc holds h1$"):
        run_shards("run", str(tmp_path), range(20), at_once=at_once)
    assert found.now == 0, "those under way have ended"
    assert {0, 1} <= set(found.made) <= {0, 1, 3}


@pytest.mark.parametrize("runner", ["spark", "threads:4", "", "Dask", "dask:"])
def test_an_unknown_task_runner_is_wrong_input(runner: str) -> None:
    with pytest.raises(InputError, match="there is no task runner"):
        engine_named(runner)


def test_a_task_runner_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    write_project(tmp_path / "p", 2)
    monkeypatch.setattr(sharding, "find_spec", lambda name: None)
    assert main(["run", str(tmp_path / "p"), "--task-runner", "ray:ray://head:1"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["ratify: the task runner 'ray' is not installed; pip install 'prefect-ratify[ray]'"]
    assert not (tmp_path / "p" / ".ratify").exists()


def test_the_places_of_an_endpoint_are_shared_by_all_event_loops() -> None:
    shared, lock, state = Places(3), threading.Lock(), {"now": 0, "most": 0, "done": 0}

    async def call() -> None:
        async with shared:
            with lock:
                state["now"] += 1
                state["most"] = max(state["most"], state["now"])
            await asyncio.sleep(0.001)
            with lock:
                state["now"] -= 1
                state["done"] += 1

    async def many() -> None:
        await asyncio.gather(*(call() for _ in range(40)))

    with ThreadPoolExecutor(3) as pool:
        for work in [pool.submit(asyncio.run, many()) for _ in range(3)]:
            work.result(timeout=20)
    assert state == {"now": 0, "most": 3, "done": 120}


def test_who_is_cancelled_while_waiting_takes_no_place() -> None:
    async def work() -> None:
        shared = Places(1)
        async with shared:
            waiting = [asyncio.create_task(held(shared)) for _ in range(4)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            waiting[2].cancel()
        waiting[1].cancel()  # in the moment in which it is given the place
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.wait_for(held(shared), 1)

    async def held(shared: Places) -> None:
        async with shared:
            await asyncio.sleep(0)

    asyncio.run(work())


def test_a_process_of_several_takes_its_part_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_sharers", 1)
    assert places_at("here", 64) is places_at("here", 64)
    counts = []
    for processes in (1, 3, 200):
        share_endpoints(processes)
        counts.append(places_at("here", 64)._free)
    assert counts == [64, 21, 1]


def test_what_other_threads_run_can_be_ended() -> None:
    begun = threading.Event()

    async def long() -> None:
        begun.set()
        await asyncio.sleep(60)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(event_loop.run, long())
        assert begun.wait(10)
        event_loop.end_all()
        with pytest.raises(asyncio.CancelledError):
            work.result(timeout=10)


def prefect_run(run: Any) -> Path:
    """The data stage as the path runs it: in a task of a flow."""
    from prefect import flow, task

    made: list[Path] = []

    @task(name="generate")
    def stage() -> None:
        made.append(make(run))

    @flow(name="a-path")
    def path() -> None:
        stage()

    path()
    return made[0]


@pytest.mark.model
@pytest.mark.timeout(180)
def test_every_engine_makes_the_same_files(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = ["threads", *(name for name in ("dask", "ray") if find_spec(f"prefect_{name}"))]
    if len(engines) < 3:
        pytest.skip("pip install 'prefect-ratify[dask,ray]'")
    monkeypatch.setattr(sharding, "threads", lambda: 2)
    found = {}
    with model_server(answering()) as models:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", models.url)
        monkeypatch.setenv("HOSTED_VLLM_API_KEY", "none")
        for engine in engines:
            write_project(tmp_path / engine, 20)
            run = replace(begin(tmp_path / engine, shard_rows=4), task_runner=engine)
            if engine != "threads":
                monkeypatch.setattr(generate, "make_shard", nobody)
            found[engine] = files(prefect_run(run))
    assert len([name for name in found["threads"] if name.startswith("shards/")]) == 5
    assert found["threads"] == found["dask"] == found["ray"]
    assert task_names() >= {f"shard {number}" for number in range(5)}


def nobody(run_folder: str, stage_folder: str, number: int) -> None:
    """Not this process: its workers have the real one."""
    raise AssertionError(f"shard {number} was made in process {os.getpid()}")


def task_names() -> set[str]:
    """What the server knows of."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return {task.name for task in client.read_task_runs(limit=200)}
