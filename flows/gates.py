"""Gates: a person decides whether the run goes on, on evidence of a stated digest.

Contract: `gate` returns only when an approval is on record for the digest of the evidence that
is there now. There are three ways to give it: the form in the Prefect UI, `ratify approve` at
a terminal (which answers the same form through the API), and *unattended*, which only the
run's own command can switch on (no form, parameter or environment), and which the report shows in red. A
decision to reject or to ask for changes raises NotApproved; nothing later runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from prefect import pause_flow_run
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput

from prefect_ratify.errors import NotApproved
from prefect_ratify.flows.decisions import decisions, record_decision
from prefect_ratify.flows.evidence import describe, publish
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import find_person
from prefect_ratify.progress import say
from prefect_ratify.records import Approval
from prefect_ratify.store import write_json

GATES: dict[str, tuple[str, ...]] = {
    "draft": ("prototype",),
    "policy": ("refine", "regress"),
    "data": ("generate",),
    "release": ("train", "compare"),
}
_unattended_run: ContextVar[bool] = ContextVar("unattended", default=False)
LONGEST_WAIT_SECONDS = 7 * 24 * 3600
ASK_EVERY_SECONDS = 2


class GateAnswer(RunInput):
    """What a person fills in. No field but the comment has a default: silence is no approval."""

    decision: Literal["approve", "request changes", "reject"]
    approver: str
    comment: str = ""


def gate(run: Run, name: str) -> Approval:
    """Return the approval of this gate's evidence, asking for it where there is none yet."""
    evidence = evidence_digest(run, GATES[name])
    given = find_approval(run, name, evidence)
    if given is not None:
        say(f"gate {name}: approved before by {given.approver}")
        return given
    refused = find_refusal(run, name, evidence)
    if is_unattended() and refused is not None:
        raise NotApproved(
            f"gate {name}: {refused.approver} decided to {refused.decision}; "
            "an unattended run does not override a person"
        )
    approval = _unattended(name, evidence) if is_unattended() else _ask(run, name, evidence)
    record_decision(run.folder, approval)
    if approval.decision != "approve":
        raise NotApproved(
            f"gate {name}: {approval.approver} decided to {approval.decision} ({approval.comment or 'no comment'}); "
            f"edit {run.project.folder} and run again"
        )
    say(f"gate {name}: approved by {approval.approver}")
    return approval


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


def find_approval(run: Run, name: str, evidence: str) -> Approval | None:
    """The approval of this gate on exactly this evidence; an unattended one counts only unattended."""
    for decision in reversed(decisions(run.folder)):
        if (decision.gate, decision.evidence) == (name, evidence):
            if decision.unattended and not is_unattended():
                return None
            return decision if decision.decision == "approve" else None
    return None


def find_refusal(run: Run, name: str, evidence: str) -> Approval | None:
    """The last decision by a person at this gate on this evidence, where it is no approval."""
    for decision in reversed(decisions(run.folder)):
        if (decision.gate, decision.evidence) == (name, evidence) and not decision.unattended:
            return decision if decision.decision != "approve" else None
    return None


def _unattended(name: str, evidence: str) -> Approval:
    return Approval(
        gate=name,
        evidence=evidence,
        decision="approve",
        approver="nobody (unattended)",
        comment="the run was started with --unattended: no person saw this evidence",
        at=_now(),
        unattended=True,
    )


def _ask(run: Run, name: str, evidence: str) -> Approval:
    """Pause the flow with the form, until someone with a name answers."""
    problem, round_ = "", 1
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    links = publish(run, name)
    while True:
        waiting = run.folder / "waiting.json"
        flow_run = context.flow_run
        write_json(
            waiting,
            {"gate": name, "flow_run": str(flow_run.id), "api": str(context.client.api_url), "since": _now()},
        )
        say(f"gate {name}: waiting for a decision, in the Prefect UI or with: ratify approve {run.project.folder}")
        form = GateAnswer.with_initial_data(description=describe(run, name, evidence, links, problem))
        try:
            answer = pause_flow_run(
                wait_for_input=form,
                timeout=LONGEST_WAIT_SECONDS,
                poll_interval=ASK_EVERY_SECONDS,
                # A retried run must not find the answer of the run before it under the same key.
                key=f"{name}-{evidence[:12]}-{flow_run.run_count}-{round_}",
            )
        except FlowPauseTimeout:
            raise NotApproved(f"gate {name}: nobody decided in time; run again to be asked again") from None
        finally:
            waiting.unlink(missing_ok=True)
        if evidence != evidence_digest(run, GATES[name]):
            raise NotApproved(f"gate {name}: the evidence changed while it was being decided on; run again")
        person = find_person(run.project.people, answer.approver) if answer is not None else None
        if answer is not None and person is not None:
            return Approval(
                gate=name,
                evidence=evidence,
                decision=answer.decision,
                approver=person.name,
                comment=answer.comment.strip(),
                at=_now(),
            )
        problem, round_ = f"The last answer was not counted: {_who_may(run)}.", round_ + 1
        say(f"gate {name}: an answer was not counted: {_who_may(run)}")


def _who_may(run: Run) -> str:
    names = ", ".join(person.name for person in run.project.people)
    return f"it must name one of: {names}" if names else "it had no name"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
