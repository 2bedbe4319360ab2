"""A real Prefect server for tests, which can be killed, and runs of a deployment in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import UUID

import certifi
import httpx
import pyotp

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.flows.codes import enroll
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.project import load_project
from prefect_ratify.flows.run_folder import WAITING, Run, latest_run
from prefect_ratify.flows.server import free_port
from prefect_ratify.store import read_json

LONGEST = 120


def until(true: Callable[[], Any], seconds: float = LONGEST, complaint: str = "timed out") -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)
    return found


@dataclass
class Server:
    """A Prefect server as a process."""

    home: Path
    port: int = field(default_factory=lambda: free_port(0))
    process: subprocess.Popen[bytes] | None = None
    client: Any = None

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this server."""
        return {
            **os.environ,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._answers, complaint="the Prefect server does not start")

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def connected(server: Server) -> Iterator[Server]:
    """Start a server, and let this process speak to it until the block ends."""
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_SSL_CERT_FILE,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    server.start()
    settings = {
        PREFECT_API_URL: server.url,
        # Stopping the thread that sends heartbeats takes longer than a run does here.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_API_SSL_CERT_FILE: str(one_authority(server.home)),
    }
    # Nor does a run listen for others who would suspend it while it works: here it is suspended at its gates alone.
    listening = patch("prefect.flow_engine.observe_flow_run_suspension", lambda *given: nullcontext())
    with temporary_settings(settings), listening, get_client(sync_client=True) as client:
        server.client = client
        yield server
        APILogWorker.drain_all(timeout=10)
        EventsWorker.drain_all(timeout=10)
    server.kill()


def one_authority(folder: Path) -> Path:
    """One certificate of the web's 120: each run makes clients, and each reads all, though the server speaks HTTP."""
    known, end = Path(certifi.where()).read_text(encoding="utf-8"), "-----END CERTIFICATE-----\n"
    path = folder / "authority.pem"
    path.write_text(known[known.index("-----BEGIN") : known.index(end)] + end)
    return path


class Case:
    """A run of a deployment of the path, which this process works at as a worker would."""

    def __init__(self, server: Server, project: Path, **parameters: Any) -> None:
        from tests.gate_flow import policy_to_model

        self.server, self.project, self.flow = server, project, policy_to_model
        self.parameters = {"project": str(project), **parameters}
        flow_id = server.client.create_flow(policy_to_model)
        deployment = server.client.create_deployment(flow_id=flow_id, name="tested", parameters=self.parameters)
        self.id: UUID = server.client.create_flow_run_from_deployment(deployment).id

    def work(self) -> str:
        """Run until a gate or an end; returns the state's name."""
        from prefect.exceptions import Pause
        from prefect.flow_engine import run_flow

        flow_run = self.server.client.read_flow_run(self.id)
        with suppress(Pause):
            run_flow(self.flow, flow_run=flow_run, parameters=self.parameters, return_type="state")
        return str(self.state.name)

    @property
    def state(self) -> Any:
        """The run's state in Prefect."""
        return self.server.client.read_flow_run(self.id).state

    def force(self, kind: str, name: str | None = None) -> None:
        """Set the run's state through the API, as anybody with access can."""
        body = {"state": {"type": kind, "name": name or kind.title()}, "force": True}
        httpx.post(f"{self.server.url}/flow_runs/{self.id}/set_state", json=body, trust_env=False).raise_for_status()

    def retry(self) -> None:
        """What *Retry* in the UI does."""
        body = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
        httpx.post(f"{self.server.url}/flow_runs/{self.id}/set_state", json=body, trust_env=False).raise_for_status()

    def resume(self, answer: dict[str, Any] | None) -> str:
        """Answer the form through the API; returns the server's verdict on it."""
        body = {} if answer is None else {"run_input": answer}
        for _ in range(20):
            reply = httpx.post(f"{self.server.url}/flow_runs/{self.id}/resume", json=body, trust_env=False)
            if reply.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # busy: Prefect's clients try again too
                break
            time.sleep(0.3)
        if not reply.is_success:
            return f"{reply.status_code} {reply.text}"
        result = reply.json()
        return "ACCEPT" if result["status"] == "ACCEPT" else f"{result['status']} {result['details'].get('reason')}"

    def answer(self, name: str, decision: str = "approve", *, code: str, comment: str = "") -> str:
        """Answer the form, and let the run take it up; returns the state's name."""
        given = {"decision": decision, "approver": name, "code": code, "comment": comment}
        taken = self.resume(given)
        assert taken == "ACCEPT", f"{taken}, {self.state}"
        return self.work()

    @property
    def run(self) -> Run:
        """The run's folder."""
        return latest_run(load_project(self.project))

    @property
    def ledger(self) -> tuple[LedgerEntry, ...]:
        """All entries."""
        return read_ledger(self.run.folder)

    @property
    def waiting(self) -> dict[str, Any]:
        """What the run says of the gate that it waits at."""
        found: dict[str, Any] = read_json(self.run.folder / WAITING)
        return found

    @property
    def last(self) -> LedgerEntry:
        """The last entry."""
        return self.ledger[-1]


class Phone:
    """An authenticator app with one account.

    A gate takes three codes in a row of one moment (of this step of time and its neighbours);
    who needs more is enrolled anew, so that no test waits for the clock.
    """

    seeds: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.name = name
        self._enroll()

    def _enroll(self) -> None:
        parsed = pyotp.parse_uri(enroll(self.name, replace=True))
        assert isinstance(parsed, pyotp.TOTP)
        self.totp, self.step = parsed, 0
        Phone.seeds.append(parsed.secret)

    def code(self) -> str:
        """The next code that counts."""
        now = int(time.time()) // 30
        if self.step > now:
            self._enroll()
        self.step = max(self.step + 1, now - 1)
        if self.step == now - 1 and time.time() % 30 > 20:
            self.step = now  # the other is about to be too old
        return self.totp.generate_otp(self.step)

    def wrong(self) -> str:
        """A code that is not right now."""
        now = int(time.time()) // 30
        right = {self.totp.generate_otp(now + step) for step in range(-2, 4)}
        return next(f"{number:06d}" for number in range(1000) if f"{number:06d}" not in right)
