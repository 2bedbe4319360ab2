"""`ratify approve` and `ratify gates`: the gates' forms, answered and listed at a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit
from uuid import UUID

from prefect_ratify.decisions import Decision
from prefect_ratify.errors import InputError, RatifyError, one_line
from prefect_ratify.flows.project import load_project
from prefect_ratify.flows.run_folder import LONGEST_COMMENT, WAITING, Run, latest_run, run_in
from prefect_ratify.flows.stages import is_held
from prefect_ratify.store import read_json

DECISIONS = get_args(Decision)
LONGEST_SETTLING = 5  # seconds
PAGE = 200  # of Prefect's


def waiting_gate(folder: Path, run_id: str = "") -> str:
    """What the waiting gate asks and shows, as text; RatifyError where none waits."""
    from prefect_ratify.flows.evidence import QUESTIONS, details, summary

    run = _waiting_run(folder, run_id)
    waiting = read_json(run.folder / WAITING)
    gate = waiting["gate"]
    return (
        f"{QUESTIONS[gate]} (run {run.id})\n\n{_without_pictures(summary(run, gate))}\n\n{details(run, gate)}\n\n"
        f"Waiting for {waiting['waiting_for']}.\n"
    )


def needs_code(folder: Path, run_id: str = "") -> bool:
    """Whether the waiting gate asks for a one-time code."""
    return bool(_waiting_run(folder, run_id).project.stakeholders.people)


def answer_gate(folder: Path, decision: str, approver: str, comment: str, code: str = "", run_id: str = "") -> str:
    """Resume the waiting run with this answer; returns a line that says so.

    Whether the answer counts is decided by the run, as for an answer through the UI.
    """
    if decision not in DECISIONS:
        raise InputError(f"{decision!r} is no decision", f"one of: {', '.join(DECISIONS)}")
    if not approver.strip():
        raise InputError("a decision needs a name", "give --approver")
    run = _waiting_run(folder, run_id)
    stakeholders = run.project.stakeholders
    if stakeholders.find(approver) is None:
        names = ", ".join(person.name for person in stakeholders.people)
        raise InputError(f"{approver!r} is not one of the stakeholders", f"they are: {names}")
    answer = {"decision": decision, "approver": approver, "comment": comment}
    if stakeholders.people:
        if not (len(code) == 6 and code.isdecimal() and code.isascii()):
            raise InputError("a decision needs the six digits of a one-time code", "give --code")
        answer["code"] = code
    if len(comment) > LONGEST_COMMENT:
        raise InputError(f"the comment has {len(comment)} characters", f"at most {LONGEST_COMMENT} are taken")
    waiting = read_json(run.folder / WAITING)
    _require_known(waiting["api"])
    if not waiting["suspended"] and not is_held(run.folder):
        raise RatifyError(f"the process of run {run.id} has ended; go on with: ratify run {folder}, and answer then")
    refused = _resume(waiting, answer)
    deadline = time.monotonic() + LONGEST_SETTLING
    while "not paused" in refused and time.monotonic() < deadline:
        time.sleep(0.5)  # the run has said that it waits, and is about to
        refused = _resume(waiting, answer)
    if refused:
        hint = f"ratify gates {folder} says how the run stands; Retry in Prefect asks again"
        raise RatifyError(f"the answer was not taken: {one_line(refused)}; {hint}")
    return f"gate {waiting['gate']}: {decision}, by {approver}; ratify gates {folder} shows what it came to"


def _require_known(api: str) -> None:
    """RatifyError where a run's folder names a server that is none of ours: it would learn the code."""
    from prefect.settings import PREFECT_API_URL

    ours = str(PREFECT_API_URL.value() or "").rstrip("/")
    if api.rstrip("/") != ours and urlsplit(api).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise RatifyError(f"the run waits at {one_line(api, 100)}; set PREFECT_API_URL to it where you know it")


def _resume(waiting: dict[str, Any], answer: dict[str, str]) -> str:
    """Hand an answer to the server; returns why it did not take it, or ''."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        with temporary_settings({PREFECT_API_URL: waiting["api"]}), get_client(sync_client=True) as client:
            result = client.resume_flow_run(waiting["flow_run"], run_input=answer)
    except Exception as error:
        raise RatifyError(
            f"the Prefect server did not take the answer ({one_line(str(error), 200)}); "
            "start it again, for example with ratify serve"
        ) from None
    if result.status.value == "ACCEPT":
        return ""
    return str(getattr(result.details, "reason", "") or result.status.value)


def waiting_gates(folder: Path) -> list[dict[str, Any]]:
    """The gates of a project that wait, oldest first, as the runs left them; see `flows/asking.py`.

    `state` is the run's in Prefect: a gate whose run has ended waits for nobody.
    """
    found = [
        {"run": path.parent.name, **read_json(path)}
        for path in sorted((folder / ".ratify" / "runs").glob(f"*/{WAITING}"))
    ]
    states: dict[str, str] = {}
    for api in {waiting["api"] for waiting in found}:
        there = [waiting["flow_run"] for waiting in found if waiting["api"] == api]
        for first in range(0, len(there), PAGE):
            states.update(_states(api, there[first : first + PAGE]))
    for waiting in found:
        ended = not waiting["suspended"] and not is_held(folder / ".ratify" / "runs" / waiting["run"])
        waiting["state"] = "its process has ended" if ended else states.get(waiting["flow_run"], "unknown to Prefect")
    return sorted(found, key=lambda waiting: str(waiting["since"]))


def _states(api: str, flow_runs: Sequence[str]) -> dict[str, str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.settings import PREFECT_API_URL, temporary_settings

    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run) for flow_run in flow_runs]))
    try:
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            found = client.read_flow_runs(flow_run_filter=wanted)
    except Exception:
        return dict.fromkeys(flow_runs, "the Prefect server does not answer")
    return {str(run.id): str(run.state_name) for run in found}


def chosen_run(folder: Path, run_id: str) -> Run:
    """The run of that id, or the last one; InputError where there is none."""
    return run_in(_run_folder(folder, run_id)) if run_id else latest_run(load_project(folder))


def _waiting_run(folder: Path, run_id: str) -> Run:
    run = chosen_run(folder, run_id)
    if (run.folder / WAITING).exists():
        return run
    others = [path.parent.name for path in (folder / ".ratify" / "runs").glob(f"*/{WAITING}")]
    if others:
        raise RatifyError(f"the last run waits at no gate, but these do: {', '.join(others)}; give --run")
    raise RatifyError(f"no gate of {folder} waits for a decision")


def _run_folder(folder: Path, run_id: str) -> Path:
    path = folder / ".ratify" / "runs" / run_id
    if "/" in run_id or run_id.startswith(".") or not path.is_dir():
        raise InputError(f"there is no run {run_id!r}", f"ratify gates {folder} lists those that wait")
    return path


def _without_pictures(markdown: str) -> str:
    return "\n".join(line for line in markdown.splitlines() if not line.startswith("!["))
