"""`ratify approve`: the gate's form, answered at a terminal through the same API."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from prefect_ratify.errors import InputError, RatifyError, one_line
from prefect_ratify.flows.run_folder import Run, latest_run, load_project
from prefect_ratify.flows.stakeholders import find_person
from prefect_ratify.records import Decision
from prefect_ratify.store import read_json

DECISIONS = get_args(Decision)


def waiting_gate(folder: Path) -> str:
    """What the waiting gate asks and shows, as text; RatifyError where none waits."""
    from prefect_ratify.flows.evidence import QUESTIONS, details, summary

    run = latest_run(load_project(folder))
    gate = read_json(_waiting_file(run))["gate"]
    return f"{QUESTIONS[gate]}\n\n{summary(run, gate)}\n\n{details(run, gate)}\n"


def answer_gate(folder: Path, decision: str, approver: str, comment: str) -> str:
    """Resume the waiting run with this answer; returns a line that says so."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if decision not in DECISIONS:
        raise InputError(f"{decision!r} is no decision", f"one of: {', '.join(DECISIONS)}")
    if not approver.strip():
        raise InputError("a decision needs a name", "give --approver")
    run = latest_run(load_project(folder))
    if find_person(run.project.people, approver) is None:
        names = ", ".join(person.name for person in run.project.people)
        raise InputError(f"{approver!r} is not one of the stakeholders", f"they are: {names}")
    waiting = read_json(_waiting_file(run))
    answer = {"decision": decision, "approver": approver, "comment": comment}
    try:
        with temporary_settings({PREFECT_API_URL: waiting["api"]}), get_client(sync_client=True) as client:
            result = client.resume_flow_run(waiting["flow_run"], run_input=answer)
    except Exception as error:
        raise RatifyError(
            f"the Prefect server did not take the answer ({one_line(str(error), 200)}); is `ratify run` still there?"
        ) from None
    if result.status.value != "ACCEPT":
        reason = getattr(result.details, "reason", "") or result.status.value
        raise RatifyError(f"the answer was not taken: {one_line(str(reason))}")
    return f"gate {waiting['gate']}: {decision}, by {approver}"


def _waiting_file(run: Run) -> Path:
    path = run.folder / "waiting.json"
    if not path.exists():
        raise RatifyError(f"no gate of {run.project.folder} waits for a decision")
    return path
