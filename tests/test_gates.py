"""Gates on a real Prefect server: nothing passes but an approval by somebody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefect_ratify.errors import RatifyError
from prefect_ratify.flows.answering import answer_gate
from prefect_ratify.flows.decisions import decisions
from prefect_ratify.flows.run_folder import latest_run, load_project

pytestmark = pytest.mark.model
TIMEOUT = 240


@pytest.fixture(scope="module")
def api(prefect_home: Path) -> Iterator[str]:
    """A Prefect server for these tests."""
    from prefect_ratify.flows.server import prefect_server

    before = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(prefect_home)
    try:
        with prefect_server() as url:
            yield url
    finally:
        os.environ.pop("PREFECT_HOME") if before is None else os.environ.update(PREFECT_HOME=before)


@pytest.fixture
def waiting(project: Path, prefect_home: Path, api: str) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A run that waits at its first gate."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_ratify", "run", str(project), "--limit", "1", "--samples", "1"],
        env={**os.environ, "PREFECT_HOME": str(prefect_home), "PREFECT_API_URL": api},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(lambda: bool(list(project.glob(".ratify/runs/*/waiting.json"))) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    yield project, process
    process.kill()
    process.wait()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)


def test_an_answer_without_a_name_is_asked_again_and_a_rejection_stops_the_run(
    waiting: tuple[Path, subprocess.Popen[str]], api: str
) -> None:
    project, process = waiting
    run = latest_run(load_project(project))
    with pytest.raises(RatifyError, match="needs a name"):
        answer_gate(project, "approve", "  ", "")
    with pytest.raises(RatifyError, match="is no decision"):
        answer_gate(project, "yes", "Ada", "")
    first = (run.folder / "waiting.json").read_text()
    resume_past_the_command(project, {"decision": "approve", "approver": " ", "comment": ""})
    until(lambda: (run.folder / "waiting.json").exists() and (run.folder / "waiting.json").read_text() != first)
    assert decisions(run.folder) == [], "a nameless answer is no decision"
    for careless in ({}, {"approver": "Ada"}, {"decision": "yes", "approver": "Ada"}):
        with pytest.raises(RatifyError, match="not taken"):
            resume_past_the_command(project, careless)
    assert decisions(run.folder) == [], "an answer without a decision is none"
    assert "reject" in answer_gate(project, "reject", "Ada", "not what we meant <b>")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "Ada decided to reject" in output and "Traceback" not in output
    (decision,) = decisions(run.folder)
    assert (decision.gate, decision.decision, decision.approver, decision.unattended) == (
        "draft",
        "reject",
        "Ada",
        False,
    )
    assert not run.stage_folder("refine").exists(), "nothing later runs"
    with pytest.raises(RatifyError, match="waits for a decision"):
        answer_gate(project, "approve", "Ada", "")


def test_an_approval_lets_the_run_go_on(waiting: tuple[Path, subprocess.Popen[str]], api: str) -> None:
    project, _ = waiting
    run = latest_run(load_project(project))
    answer_gate(project, "approve", "Ada", "as we meant it")
    until(lambda: run.stage_folder("refine").exists() or run.folder.joinpath("refine.part").exists())
    (decision,) = decisions(run.folder)
    assert (decision.decision, decision.approver, decision.comment) == ("approve", "Ada", "as we meant it")
    assert len(decision.evidence) == 64


def resume_past_the_command(project: Path, answer: dict[str, str]) -> None:
    """Answer as a careless API client would, without the command's own checks."""
    import json

    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    waiting = json.loads((latest_run(load_project(project)).folder / "waiting.json").read_text())
    with temporary_settings({PREFECT_API_URL: waiting["api"]}), get_client(sync_client=True) as client:
        result = client.resume_flow_run(waiting["flow_run"], run_input=answer)
    if result.status.value != "ACCEPT":
        raise RatifyError("not taken")
