"""Gates: people decide whether a run goes on, on evidence of a stated digest, under a stated rule.

Contract
- `gate` returns only when the ledger holds what stakeholders.yaml asks for, given for the digest
  of the evidence that is there now and under the rule that holds now. Nothing else opens it: not
  the run's state in Prefect, not a retry, not a resume without an answer. (At the draft gate a
  request for changes lets the run go on as well: refinement comes next, and heeds it.)
- It asks with a form: of the Prefect UI, or of `ratify approve`, which answers the same form
  through the API; see `flows/asking.py`.
- Every answer becomes an entry of the ledger, also one that does not count,
  with the reason (an answer to a form on other evidence never does); the form is then asked again.
- A rejection that stands raises Rejected; a request for changes raises ChangesRequested, and
  `go_back` puts the stages aside that are to be done again.
- *Unattended* is switched on by the run's own command alone (no form, parameter or environment
  variable can), and its entries count in such a run only. It never overrides a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from prefect_ratify.decisions import Decision, LedgerEntry
from prefect_ratify.errors import ChangesRequested, NotApproved, Rejected, one_line
from prefect_ratify.flows.asking import Answer, Given, ProvenAnswer, ask, form_for
from prefect_ratify.flows.codes import why_refused
from prefect_ratify.flows.ledger import append
from prefect_ratify.flows.proposed import why_not_taken, with_taken
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stages import put_aside
from prefect_ratify.flows.stakeholders import Person
from prefect_ratify.flows.voting import passes, standing, votes_on
from prefect_ratify.progress import say

_unattended_run: ContextVar[bool] = ContextVar("unattended", default=False)


def gate(run: Run, name: str) -> None:
    """Return once this gate's evidence is approved, asking for it; see the module's contract."""
    while True:
        evidence = evidence_digest(run, name)
        found = decided(run, name, evidence)
        if found is not None:
            return _carry_out(run, name, evidence, found)
        if is_unattended():
            _record_unattended(run, name, evidence)
        else:
            _record(run, name, evidence, ask(run, name, evidence))


def require_approval(run: Run, name: str) -> None:
    """NotApproved where the ledger does not cover what a stage is about to use, as it is now."""
    evidence = evidence_digest(run, name)
    if not passes(name, decided(run, name, evidence)):
        nobody = any(entry.unattended for entry in votes_on(run, name, evidence))
        how = " without --unattended" if nobody else ""
        raise NotApproved(f"gate {name}: what stands there now was not approved; to be asked, run again{how}")


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


def go_back(run: Run, asked: ChangesRequested) -> Run:
    """Put aside what is to be done again; returns the run, with the proposed clauses that people took.

    NotApproved where that was done often enough.
    """
    rule = run.project.stakeholders.rules[asked.gate]
    if len(list((run.folder / "rounds").glob(f"*-{asked.gate}"))) >= rule.rounds:
        raise NotApproved(
            f"{asked}; it has sent the run back as often as its rule allows (rounds: {rule.rounds}): "
            f"edit {run.project.folder} and run again"
        )
    say(f"{asked}: back to {rule.back_to}, round {run.round + 1}")
    put_aside(run, asked.gate, rule.back_to)
    return replace(run, project=with_taken(run.project, run.folder))


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


def _carry_out(run: Run, name: str, evidence: str, found: Decision) -> None:
    counted = [entry for entry in votes_on(run, name, evidence) if is_unattended() or not entry.unattended]
    entries = [entry for entry in counted if entry.decision == found]
    who = ", ".join(entry.approver for entry in entries)
    said = "; ".join(entry.comment for entry in entries if entry.comment)
    if passes(name, found):
        say(f"gate {name}: {'approved' if found == 'approve' else 'to be refined as asked'} by {who}")
        return
    message = one_line(f"gate {name}: {who} decided to {found} ({said or 'no comment'})")
    if found == "reject":
        raise Rejected(message)
    raise ChangesRequested(name, message)


def _record_unattended(run: Run, name: str, evidence: str) -> None:
    append(
        run.folder,
        LedgerEntry(
            gate=name,
            round=run.round,
            evidence=evidence,
            rule=run.project.stakeholders.rule_digest(name),
            decision="approve",
            approver="nobody (unattended)",
            comment="the run was started with --unattended: no person saw this evidence",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            unattended=True,
        ),
    )


def _record(run: Run, name: str, evidence: str, given: Given) -> None:
    """Make a ledger entry of an answer, whether it counts or not."""
    stakeholders = run.project.stakeholders
    try:
        answer = form_for(run).model_validate(given.value)
    except ValidationError:
        answer = None
    person = stakeholders.find(answer.approver) if answer else None
    refused = _why_not(run, name, evidence, given, answer, person)
    entry = append(
        run.folder,
        LedgerEntry(
            gate=name,
            round=run.round,
            evidence=evidence,
            rule=stakeholders.rule_digest(name),
            decision=answer.decision if answer else "",
            approver=person.name if person else one_line(answer.approver, 80) if answer else "",
            role=person.role if person else "",
            comment=answer.comment.strip() if answer else "",
            at=given.at.isoformat(timespec="seconds"),
            asked=given.asked,
            refused=refused,
            proven=bool(stakeholders.people) and not refused,
        ),
    )
    if refused:
        say(f"gate {name}: an answer was not counted: {refused}")
    else:
        say(f"gate {name}: {entry.approver}: {entry.decision}")


def _why_not(
    run: Run, name: str, evidence: str, given: Given, answer: Answer | ProvenAnswer | None, person: Person | None
) -> str:
    """Why an answer does not count, or ''."""
    people = run.project.stakeholders.people
    if answer is None:
        return "it did not fill in the form"
    if person is None:
        return "no such person is among the stakeholders" if people else "it had no name"
    # The code comes first: else anybody could learn who has voted, and a code would stay unused.
    if isinstance(answer, ProvenAnswer) and (wrong := why_refused(person.name, answer.code, given.at, given.asked)):
        return wrong
    if name == "policy" and answer.decision == "request changes":
        why = why_not_taken(answer.comment, run.stage_folder("refine"))
        if why:
            return why
    if given.overtaken or evidence != evidence_digest(run, name):
        return "the evidence changed while it was being decided on"
    if person.name in {entry.approver for entry in votes_on(run, name, evidence)}:
        return f"{person.name} has decided on this evidence already"
    return ""
