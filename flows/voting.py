"""What the entries of a ledger come to at a gate, under its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_ratify.decisions import Decision, LedgerEntry
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES, GateRule, Person

FORWARD = "draft"  # the gate before refinement, which heeds what is asked there


def outcome(
    rule: GateRule, people: Sequence[Person], votes: Mapping[str, Decision], *, forward: bool = False
) -> Decision | None:
    """What the votes (by name) come to, or None while it is open.

    An approval takes the quorum and the roles; a request for changes the quorum. Where no
    approval can be reached any more, the decision that more people asked for carries, and of two
    equal ones the request for changes.

    At a gate whose requests go `forward` into the next stage, whoever asks for changes agrees to
    go on: a request stands where quorum and roles are met by those who approve or ask together,
    and what cannot be reached is rejected.
    """
    roles = {person.name: person.role.lower() for person in people}
    wanted = {role.lower() for role in rule.roles}
    given = list(votes.values())

    def met(names: Sequence[str]) -> bool:
        return len(names) >= rule.approvals and wanted <= {roles.get(name, "") for name in names}

    approving = [name for name, decision in votes.items() if decision == "approve"]
    agreeing = [name for name, decision in votes.items() if decision != "reject"] if forward else approving
    rejections, changes = given.count("reject"), given.count("request changes")
    if met(approving):
        return "approve"
    if rejections and (rule.one_rejection_stops or rejections >= rule.approvals):
        return "reject"
    if met(agreeing) if forward else changes >= rule.approvals:
        return "request changes"
    if not people or met([*agreeing, *(person.name for person in people if person.name not in votes)]):
        return None
    return "reject" if forward or rejections > changes else "request changes"


def still_needed(rule: GateRule, people: Sequence[Person], votes: Mapping[str, Decision]) -> str:
    """For whom a gate waits, in words."""
    roles = {person.name: person.role.lower() for person in people}
    approving = [name for name, decision in votes.items() if decision == "approve"]
    missing = [role for role in rule.roles if role.lower() not in {roles.get(name, "") for name in approving}]
    count = max(rule.approvals - len(approving), len(missing))
    who = " or ".join(person.name for person in people if person.name not in votes) or "anyone"
    among = f"; {' and '.join(missing)} must be among them" if missing else ""
    return f"{count} more approval{'s' if count != 1 else ''}, from {who}{among}"


def votes_on(run: Run, gate: str, evidence: str) -> list[LedgerEntry]:
    """The entries that count for this evidence under the present rule, oldest first."""
    rule = run.project.stakeholders.rule_digest(gate)
    return [
        entry
        for entry in read_ledger(run.folder)
        if (entry.gate, entry.evidence, entry.rule, entry.refused) == (gate, evidence, rule, "")
    ]


def votes_of_people(entries: Sequence[LedgerEntry]) -> dict[str, Decision]:
    """Each person's decision, by name."""
    return {entry.approver: entry.decision for entry in entries if entry.decision and not entry.unattended}


def standing(run: Run, gate: str, evidence: str, *, unattended: bool) -> Decision | None:
    """What stands at a gate on this evidence; None while it is open.

    `unattended`: whether an approval counts that was given by nobody. It never outweighs a person.
    """
    entries = votes_on(run, gate, evidence)
    stakeholders, votes = run.project.stakeholders, votes_of_people(entries)
    found = outcome(stakeholders.rules[gate], stakeholders.people, votes, forward=gate == FORWARD)
    if found is None and unattended and set(votes.values()) <= {"approve"}:
        return "approve" if any(entry.unattended for entry in entries) else None
    return found


def passes(gate: str, found: Decision | None) -> bool:
    """Whether a run goes on from a gate at which this stands.

    Refinement comes after the draft gate: changes asked for there go forward into it, and people
    see what came of them at the policy gate.
    """
    return found == "approve" or (gate == FORWARD and found == "request changes")


def requests(run: Run, *gates: str) -> tuple[str, ...]:
    """What people asked to be changed where their request carried, oldest first."""
    drafted = evidence_digest(run, "draft")
    asked_of_draft = standing(run, "draft", drafted, unattended=False) == "request changes"
    carried = votes_on(run, "draft", drafted) if asked_of_draft else []
    sent_back = {path.name for path in (run.folder / "rounds").glob("*")}
    return tuple(
        entry.comment
        for entry in read_ledger(run.folder)
        if entry.gate in gates and entry.decision == "request changes" and entry.comment and not entry.refused
        if entry in carried or f"{entry.round}-{entry.gate}" in sent_back
    )


def released(run: Run) -> tuple[Decision | None, list[LedgerEntry]]:
    """What stands at the release gate, and the votes that make it."""
    evidence = evidence_digest(run, "release")
    found = standing(run, "release", evidence, unattended=run.unattended)
    votes = [entry for entry in votes_on(run, "release", evidence) if run.unattended or not entry.unattended]
    return found, [entry for entry in votes if entry.decision == found]


def dissent(run: Run) -> list[LedgerEntry]:
    """What was said against a decision that let the run go on, and what was said with it."""
    said = []
    for gate, stages in GATES.items():
        if all(run.stage_folder(stage).exists() for stage in stages):
            evidence = evidence_digest(run, gate)
            found = standing(run, gate, evidence, unattended=run.unattended)
            if passes(gate, found):
                entries = [entry for entry in votes_on(run, gate, evidence) if not entry.unattended]
                said += [entry for entry in entries if entry.decision != found or entry.comment]
    return said
