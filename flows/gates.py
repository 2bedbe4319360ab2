"""Gates: people decide whether a run goes on, on evidence of a stated digest, under a stated rule.

Contract
- `gate` returns only when the ledger holds what stakeholders.yaml asks for, given for the digest
  of the evidence that is there now and under the rule that holds now. Nothing else opens it: not
  the run's state in Prefect, not a retry, not a resume without an answer.
- It asks with a form: of the Prefect UI, or of `ratify approve`, which answers the same form
  through the API. A run of a deployment is suspended meanwhile, holds no process, and begins
  again from the top when it is answered; any other run pauses where it is.
- Every answer becomes an entry of the ledger, also one that does not count, with the reason; the
  form is then asked again. An answer is read from the server's own record of it, once: the next
  form has another key, made of the evidence and the number of entries.
- A rejection that stands raises Rejected; a request for changes raises ChangesRequested, and
  `go_back` puts the stages aside that are to be done again.
- *Unattended* is switched on by the run's own command alone (no form, parameter or environment
  variable can), and its entries count in such a run only. It never overrides a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect import pause_flow_run, suspend_flow_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from pydantic import Field, ValidationError

from prefect_ratify.errors import ChangesRequested, NotApproved, Rejected, one_line
from prefect_ratify.flows.codes import why_refused
from prefect_ratify.flows.evidence import describe, publish
from prefect_ratify.flows.ledger import append, read_ledger
from prefect_ratify.flows.run_folder import Run, evidence_digest, put_aside
from prefect_ratify.flows.voting import standing, still_needed, votes_of_people, votes_on
from prefect_ratify.progress import duration, say
from prefect_ratify.records import Decision, LedgerEntry
from prefect_ratify.store import write_json

WAITING = "waiting.json"
ASK_EVERY_SECONDS = 2
LONGEST_COMMENT = 4000
_unattended_run: ContextVar[bool] = ContextVar("unattended", default=False)


class Answer(RunInput):
    """What a person fills in. No field but the comment has a default: silence is no approval."""

    decision: Literal["approve", "request changes", "reject"]
    approver: str = Field(description="your name, as it stands in stakeholders.yaml")
    comment: str = Field(default="", description="goes into the record; with a request for changes: what to change")


class ProvenAnswer(RunInput):
    """The same, of a person who proves who they are."""

    decision: Literal["approve", "request changes", "reject"]
    approver: str = Field(description="your name, as it stands in stakeholders.yaml")
    code: str = Field(
        description="the six digits that your authenticator app shows now",
        pattern="^[0-9]{6}$",
        json_schema_extra={"format": "password"},
    )
    comment: str = Field(default="", description="goes into the record; with a request for changes: what to change")


@dataclass(frozen=True)
class Given:
    """An answer as the server recorded it: its raw value, and when it came."""

    value: dict[str, Any]
    at: datetime
    asked: str


def gate(run: Run, name: str) -> None:
    """Return once this gate's evidence is approved, asking for it; see the module's contract."""
    while True:
        evidence = evidence_digest(run, name)
        found = decided(run, name, evidence)
        if found is not None:
            return _carry_out(run, name, evidence, found)
        if is_unattended():
            _record_unattended(run, name, evidence)
            continue
        _record(run, name, evidence, _ask(run, name, evidence))


def require_approval(run: Run, name: str) -> None:
    """NotApproved where the ledger does not cover what a stage is about to use, as it is now."""
    found = decided(run, name, evidence_digest(run, name))
    if not _passes(name, found):
        raise NotApproved(f"gate {name}: what stands there now was not approved; run again to be asked")


def decided(run: Run, name: str, evidence: str) -> Decision | None:
    """What the ledger says of this evidence under the present rule; None while it is open."""
    found = standing(run, name, evidence, unattended=is_unattended())
    if found is None and is_unattended():
        for entry in votes_on(run, name, evidence):
            if entry.decision != "approve":
                raise NotApproved(
                    f"gate {name}: {entry.approver} decided to {entry.decision}; "
                    "an unattended run does not override a person"
                )
    return found


def go_back(run: Run, asked: ChangesRequested) -> None:
    """Put aside what is to be done again; NotApproved where that was done often enough."""
    rule = run.project.stakeholders.rules[asked.gate]
    done = len(list((run.folder / "rounds").glob(f"*-{asked.gate}")))
    if done >= rule.rounds:
        raise NotApproved(
            f"{asked}; the run was sent back from there {done} times already: edit {run.project.folder} and run again"
        )
    say(f"{asked}: back to {rule.back_to}, round {run.round + 1}")
    put_aside(run, asked.gate, rule.back_to)


@contextmanager
def unattended() -> Iterator[None]:
    """Within this block nobody is asked. Only `ratify run --unattended` enters it."""
    token = _unattended_run.set(True)
    try:
        yield
    finally:
        _unattended_run.reset(token)


def is_unattended() -> bool:
    """Whether the run's own command said that nobody will be asked."""
    return _unattended_run.get()


def _passes(name: str, found: Decision | None) -> bool:
    # Refinement comes after the draft gate: changes asked for there go forward into it, and the
    # people see what came of them at the policy gate.
    return found == "approve" or (name == "draft" and found == "request changes")


def _carry_out(run: Run, name: str, evidence: str, found: Decision) -> None:
    entries = votes_on(run, name, evidence)
    who = ", ".join(entry.approver for entry in entries if entry.decision == found)
    said = "; ".join(entry.comment for entry in entries if entry.decision == found and entry.comment)
    if _passes(name, found):
        say(f"gate {name}: {'approved' if found == 'approve' else 'to be refined as asked'} by {who}")
        return
    message = one_line(f"gate {name}: {who} decided to {found} ({said or 'no comment'})")
    if found == "reject":
        raise Rejected(message)
    raise ChangesRequested(name, message)


def _record_unattended(run: Run, name: str, evidence: str) -> None:
    append(
        run.folder,
        lambda entries, previous: LedgerEntry(
            number=len(entries) + 1,
            gate=name,
            round=run.round,
            evidence=evidence,
            rule=run.project.stakeholders.rule_digest(name),
            decision="approve",
            approver="nobody (unattended)",
            comment="the run was started with --unattended: no person saw this evidence",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            unattended=True,
            previous=previous,
        ),
    )


def _record(run: Run, name: str, evidence: str, given: Given) -> None:
    """Make a ledger entry of an answer, whether it counts or not."""
    stakeholders = run.project.stakeholders
    fields, refused = _read_answer(given, with_code=bool(stakeholders.people))
    person = stakeholders.find(fields["approver"])
    earlier = votes_on(run, name, evidence)
    if not refused and evidence != evidence_digest(run, name):
        refused = "the evidence changed while it was being decided on"
    if not refused and person is None:
        refused = "no such person is among the stakeholders" if stakeholders.people else "it had no name"
    # The code comes before the double vote: else anybody could learn who has voted.
    if not refused and person is not None and stakeholders.people:
        refused = why_refused(person.name, fields["code"], given.at, given.asked)
    if not refused and person is not None and person.name in {entry.approver for entry in earlier}:
        refused = f"{person.name} has decided on this evidence already"
    entry = append(
        run.folder,
        lambda entries, previous: LedgerEntry(
            number=len(entries) + 1,
            gate=name,
            round=run.round,
            evidence=evidence,
            rule=stakeholders.rule_digest(name),
            decision=fields["decision"],
            approver=person.name if person else one_line(fields["approver"], 80),
            role=person.role if person else "",
            comment=fields["comment"].strip(),
            at=given.at.isoformat(timespec="seconds"),
            asked=given.asked,
            refused=refused,
            proven=bool(stakeholders.people) and not refused,
            previous=previous,
        ),
    )
    if refused:
        say(f"gate {name}: an answer was not counted: {refused}")
    else:
        say(f"gate {name}: {entry.approver}: {entry.decision}")


def _read_answer(given: Given, *, with_code: bool) -> tuple[dict[str, Any], str]:
    """The answer's fields, and why it is none where it has not the form's shape."""
    try:
        answer = (ProvenAnswer if with_code else Answer).model_validate(given.value)
    except ValidationError:
        return {"decision": "", "approver": "", "comment": ""}, "it did not fill in the form"
    if len(answer.comment) > LONGEST_COMMENT:
        return {**answer.model_dump(), "comment": ""}, f"its comment was longer than {LONGEST_COMMENT} characters"
    return answer.model_dump(), ""


def _ask(run: Run, name: str, evidence: str) -> Given:
    """The answer to the next form; a run of a deployment leaves by an exception, and comes again."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "a gate is asked within a flow run"
    flow_run = context.flow_run
    verb = "suspended" if flow_run.deployment_id else "paused"
    entries = len(read_ledger(run.folder))
    attempt = 1
    while True:
        # A retry forgets which keys were asked, and would fall over what is recorded under them.
        key = f"{name}-{evidence[:12]}-{flow_run.run_count}-{entries}-{attempt}"
        given = _recorded(flow_run, f"{verb}-{key}-response")
        if given is not None:
            (run.folder / WAITING).unlink(missing_ok=True)
            return given
        if key in _asked_before(flow_run):
            # Resumed without an answer: by a retry, or by somebody who set the run's state. The
            # same key would never be asked again.
            attempt += 1
            continue
        _wait(run, name, evidence, key)


def _wait(run: Run, name: str, evidence: str, key: str) -> None:
    stakeholders = run.project.stakeholders
    rule = stakeholders.rules[name]
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    votes = votes_on(run, name, evidence)
    waiting_for = still_needed(rule, stakeholders.people, votes_of_people(votes))
    form = (ProvenAnswer if stakeholders.people else Answer).with_initial_data(
        description=describe(
            run, name, evidence, publish(run, name, votes), _last_refusal(run, name, evidence), waiting_for
        )
    )
    write_json(
        run.folder / WAITING,
        {
            "gate": name,
            "round": run.round,
            "flow_run": str(context.flow_run.id),
            "api": str(context.client.api_url),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "waiting_for": waiting_for,
            "evidence": evidence,
        },
    )
    say(f"gate {name}: waiting for {waiting_for}; in the Prefect UI, or: ratify approve {run.project.folder}")
    if context.flow_run.deployment_id:
        suspend_flow_run(wait_for_input=form, timeout=rule.wait, key=key)
        return
    try:
        pause_flow_run(wait_for_input=form, timeout=rule.wait, poll_interval=ASK_EVERY_SECONDS, key=key)
    except FlowPauseTimeout:
        raise NotApproved(
            f"gate {name}: nobody decided within {duration(rule.wait)}; run again to be asked again"
        ) from None
    finally:
        (run.folder / WAITING).unlink(missing_ok=True)


def _last_refusal(run: Run, name: str, evidence: str) -> str:
    entries = [entry for entry in read_ledger(run.folder) if (entry.gate, entry.evidence) == (name, evidence)]
    return entries[-1].refused if entries else ""


def _asked_before(flow_run: FlowRun) -> set[str]:
    return _client().read_flow_run(flow_run.id).empirical_policy.pause_keys or set()


def _client() -> SyncPrefectClient:
    """The client that the flow's own engine uses; making one takes longer than a request."""
    context = FlowRunContext.get()
    assert context is not None and isinstance(context.client, SyncPrefectClient)
    return context.client


def _recorded(flow_run: FlowRun, key: str) -> Given | None:
    """The server's record of an answer, with the server's time."""
    found = _client().filter_flow_run_input(flow_run.id, key_prefix=key, limit=1, exclude_keys=set())
    if not found or found[0].key != key or found[0].created is None:
        return None
    try:
        value = json.loads(found[0].value)
    except ValueError:
        value = None
    return Given(value if isinstance(value, dict) else {}, found[0].created, f"{flow_run.id}/{key}")
