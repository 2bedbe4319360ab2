"""`ratify serve`: a real worker, killed with its server while a gate waits, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_ratify.flows.answering import answer_gate, waiting_gates
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.project import load_project
from prefect_ratify.flows.run_folder import latest_run
from tests.gate_server import Phone, Server, until

pytestmark = pytest.mark.model
PEOPLE = "people: [{name: Ada, role: legal}]\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "prefect")
    found.start()
    yield found
    found.kill()


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    """An address that keeps what is sent to it."""
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/hook", heard
    listening.shutdown()


class Worker:
    """`ratify serve` as a process group, which can be killed."""

    def __init__(self, server: Server, project: Path, log: Path, *arguments: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "prefect_ratify", "serve", str(project), *arguments]
        with log.open("a") as output:
            self.process = subprocess.Popen(
                command, env=server.environment, stdout=output, stderr=output, start_new_session=True
            )
        until(lambda: "start a run at" in log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, log.read_text()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def post(server: Server, path: str, body: dict[str, Any]) -> Any:
    reply = httpx.post(f"{server.url}{path}", json=body, trust_env=False)
    reply.raise_for_status()
    return reply.json()


def test_a_decision_is_honoured_once_whatever_is_killed(
    server: Server, project: Path, tmp_path: Path, hook: tuple[str, list[Any]]
) -> None:
    (project / "stakeholders.yaml").write_text(PEOPLE)
    ada, log = Phone("Ada"), tmp_path / "worker.log"
    address, heard = hook
    worker = Worker(server, project, log, "--webhook", address)
    try:
        automations = {found["name"] for found in post(server, "/automations/filter", {})}
        assert automations == {"ratify: a gate waits", "ratify: a run died"}
        found = until(lambda: len(served := post(server, "/deployments/filter", {})) == 2 and served)
        deployment, training = sorted(found, key=lambda each: str(each["name"]))
        assert training["name"] == "train-model" and list(training["parameter_openapi_schema"]["properties"]) == ["run"]
        form = deployment["parameter_openapi_schema"]["properties"]
        assert deployment["parameters"] == {"project": str(project)} and "unattended" not in json.dumps(form)
        # One call has no room for a search: the refinement is no part of what is tried here.
        quick = {"scenario_limit": 1, "samples": 1, "sampling": {"max_tokens": 8}, "refine_calls": 1}
        started = post(server, f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"settings": quick}})
        until(lambda: run_processes(worker))
        until(lambda: state(server, started["id"]) == "Suspended")
        until(lambda: not run_processes(worker), 30, "a run that waits holds a process")
        until(lambda: heard, 30, "nobody was told that a gate waits")
        assert started["id"] in heard[0]["url"]

        server.kill()
        worker.kill()
        server.start()
        worker = Worker(server, project, log, "--webhook", address)
        assert state(server, started["id"]) == "Suspended"
        run = latest_run(load_project(project))
        before = (run.stage_folder("prototype") / "stage.json").stat().st_mtime_ns
        answer_gate(project, "approve", "Ada", "", ada.code())
        until(lambda: [w for w in waiting_gates(project) if w["gate"] == "policy" and w["state"] == "Suspended"])
        assert [(e.gate, e.decision, e.refused) for e in read_ledger(run.folder)] == [("draft", "approve", "")]
        assert (run.stage_folder("prototype") / "stage.json").stat().st_mtime_ns == before
        assert log.read_text().count("prototype: done in") == 1, "finished stages are not run again"
        assert len(post(server, "/automations/filter", {})) == 2, "a second start makes no second ones"
    finally:
        worker.kill()


def run_processes(worker: Worker) -> list[str]:
    """The processes of the worker's session that work at runs: all but itself and Python's own tracker."""
    # -ww: at 80 columns a long path to Python would push the name of its tracker out of sight.
    listed = subprocess.run(["ps", "-wwo", "args=", "-s", str(worker.process.pid)], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if " serve " not in line and "resource_tracker" not in line]


def state(server: Server, flow_run: str) -> str:
    found = httpx.get(f"{server.url}/flow_runs/{flow_run}", trust_env=False).json()
    assert found["state_name"] not in ("Failed", "Crashed"), found["state"]
    return str(found["state_name"])
