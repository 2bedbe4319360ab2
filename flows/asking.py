"""Asking at a gate: the form in Prefect, and the server's record of what was answered.

A run of a deployment is suspended at the form: it leaves by an exception, holds no process, and
comes again from the top. Any other run pauses where it is. An answer is read from the server's
own records, once: the ledger says which were read. One that was given to a form on other evidence
is recorded as such, and its code used up.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import pause_flow_run, suspend_flow_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.input import RunInput
from pydantic import Field

from prefect_ratify.decisions import Decision
from prefect_ratify.errors import NotApproved
from prefect_ratify.flows.evidence import describe, publish
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.run_folder import LONGEST_COMMENT, WAITING, Run
from prefect_ratify.flows.voting import still_needed, votes_of_people, votes_on
from prefect_ratify.progress import duration, say
from prefect_ratify.store import read_json, write_json

ASK_EVERY_SECONDS = 2
MOST_RECORDS = 10_000
NAME = "your name, as it stands in stakeholders.yaml"
COMMENT = "goes into the record; with a request for changes: what to change"


class Answer(RunInput):
    """What a person fills in. No field but the comment has a default: silence is no approval."""

    decision: Decision
    approver: str = Field(description=NAME, max_length=100)
    comment: str = Field(default="", description=COMMENT, max_length=LONGEST_COMMENT)


class ProvenAnswer(RunInput):
    """The same, of a person who proves who they are."""

    decision: Decision
    approver: str = Field(description=NAME, max_length=100)
    code: str = Field(
        description="the six digits that your authenticator app shows now",
        pattern="^[0-9]{6}$",
        json_schema_extra={"format": "password"},
    )
    comment: str = Field(default="", description=COMMENT, max_length=LONGEST_COMMENT)


@dataclass(frozen=True)
class Given:
    """An answer as the server recorded it: its raw value, when it came, and to which form.

    `overtaken`: that form was on other evidence, or of another gate, than the present one.
    """

    value: dict[str, Any]
    at: datetime
    asked: str
    overtaken: bool


def form_for(run: Run) -> type[Answer] | type[ProvenAnswer]:
    """The form of a run: with a code, where people are named."""
    return ProvenAnswer if run.project.stakeholders.people else Answer


def ask(run: Run, gate: str, evidence: str) -> Given:
    """The next answer; a run of a deployment leaves by an exception, and comes again.

    NotApproved where a run without a deployment waited in vain.
    """
    _, flow_run = _context()
    attempt = 1
    while True:
        entries = read_ledger(run.folder)
        given = _unread({entry.asked for entry in entries}, f"{_verb(flow_run)}-{gate}-{evidence[:12]}-")
        if given is not None:
            (run.folder / WAITING).unlink(missing_ok=True)
            return given
        # A retry forgets which keys were asked, and would fall over what is recorded under them.
        key = f"{gate}-{evidence[:12]}-{flow_run.run_count}-{len(entries)}-{attempt}"
        if key in _asked_before():
            # Resumed without an answer, by somebody who set the run's state. The same key would
            # never be asked again.
            attempt += 1
            continue
        _wait(run, gate, evidence, key)


def refuse_a_second(run: Run) -> None:
    """NotApproved where this very run waits at a gate already, in another run of Prefect's.

    Who answered there would not be heard here. (One that only paused is dead: this process holds
    its lock.)
    """
    path = run.folder / WAITING
    waiting = read_json(path) if path.exists() else {}
    client, flow_run = _context()
    if waiting.get("flow_run") in (None, str(flow_run.id)) or not waiting.get("suspended"):
        return
    with suppress(ObjectNotFound):
        if client.read_flow_run(waiting["flow_run"]).state_name == "Suspended":
            raise NotApproved(
                f"run {run.id} waits at gate {waiting['gate']} already, as {waiting['flow_run']}: "
                "answer or cancel that one, or start this one fresh"
            )


def _verb(flow_run: FlowRun) -> str:
    return "suspended" if flow_run.deployment_id else "paused"


def _wait(run: Run, gate: str, evidence: str, key: str) -> None:
    client, flow_run = _context()
    stakeholders, votes = run.project.stakeholders, votes_on(run, gate, evidence)
    rule = stakeholders.rules[gate]
    waiting_for = still_needed(rule, stakeholders.people, votes_of_people(votes))
    link, refused = publish(run, gate, votes), _last_refusal(run, gate, evidence)
    form = form_for(run).with_initial_data(description=describe(gate, evidence, link, refused, waiting_for))
    write_json(
        run.folder / WAITING,
        {
            "gate": gate,
            "round": run.round,
            "flow_run": str(flow_run.id),
            "suspended": flow_run.deployment_id is not None,
            "api": str(client.api_url),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "waiting_for": waiting_for,
            "evidence": evidence,
        },
    )
    say(f"gate {gate}: waiting for {waiting_for}; in the Prefect UI, or: ratify approve {run.project.folder}")
    if flow_run.deployment_id:
        suspend_flow_run(wait_for_input=form, timeout=rule.wait, key=key)
        return
    try:
        pause_flow_run(wait_for_input=form, timeout=rule.wait, poll_interval=ASK_EVERY_SECONDS, key=key)
    except FlowPauseTimeout:
        waited = duration(rule.wait)
        raise NotApproved(f"gate {gate}: nobody decided within {waited}; run again to be asked again") from None
    finally:
        (run.folder / WAITING).unlink(missing_ok=True)


def _last_refusal(run: Run, gate: str, evidence: str) -> str:
    entries = [entry for entry in read_ledger(run.folder) if (entry.gate, entry.evidence) == (gate, evidence)]
    return entries[-1].refused if entries else ""


def _context() -> tuple[SyncPrefectClient, FlowRun]:
    """The flow run, and the client that its engine uses: making another takes longer than a request."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "a gate is asked within a flow run"
    assert isinstance(context.client, SyncPrefectClient)
    return context.client, context.flow_run


def _asked_before() -> set[str]:
    client, flow_run = _context()
    return client.read_flow_run(flow_run.id).empirical_policy.pause_keys or set()


def _unread(read: Collection[str], present: str) -> Given | None:
    """The oldest answer in the server's records that the ledger does not hold, with the server's time.

    `present` begins the keys of forms on the present evidence; an answer to any other was
    overtaken. It is taken up too: nobody's answer, and no code, is left lying.
    """
    client, flow_run = _context()
    found = client.filter_flow_run_input(flow_run.id, f"{_verb(flow_run)}-", MOST_RECORDS, set())
    for record in sorted(found, key=lambda record: record.created or datetime.max.replace(tzinfo=UTC)):
        asked = f"{flow_run.id}/{record.key}"
        if record.key.endswith("-response") and asked not in read and record.created is not None:
            return Given(_value(record.value), record.created, asked, not record.key.startswith(present))
    return None


def _value(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
