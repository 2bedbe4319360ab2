"""What the entries of a ledger come to at a gate, under its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES, GateRule, Person
from prefect_ratify.records import Decision, LedgerEntry


def outcome(rule: GateRule, people: Sequence[Person], votes: Mapping[str, Decision]) -> Decision | None:
    """What the votes (by name) come to, or None while it is open.

    Whichever decision first gathers the quorum carries. Where no approval can be reached any
    more, the decision that more people asked for carries, and of two equal ones the request for
    changes.
    """
    roles = {person.name: person.role.lower() for person in people}
    given = list(votes.values())
    approving = [name for name, decision in votes.items() if decision == "approve"]
    missing = {role.lower() for role in rule.roles} - {roles.get(name, "") for name in approving}
    if len(approving) >= rule.approvals and not missing:
        return "approve"
    rejections, changes = given.count("reject"), given.count("request changes")
    if rejections and (rule.one_rejection_stops or rejections >= rule.approvals):
        return "reject"
    if changes >= rule.approvals:
        return "request changes"
    if not people:
        return None
    still = [person.name for person in people if person.name not in votes]
    reachable = len(approving) + len(still) >= rule.approvals and missing <= {roles[name] for name in still}
    if reachable:
        return None
    return "reject" if rejections > changes else "request changes"


def still_needed(rule: GateRule, people: Sequence[Person], votes: Mapping[str, Decision]) -> str:
    """For whom a gate waits, in words."""
    roles = {person.name: person.role.lower() for person in people}
    approving = [name for name, decision in votes.items() if decision == "approve"]
    missing = [role for role in rule.roles if role.lower() not in {roles.get(name, "") for name in approving}]
    count = max(rule.approvals - len(approving), len(missing))
    who = ", ".join(person.name for person in people if person.name not in votes) or "anyone"
    among = f", {' and '.join(missing)} among them" if missing else ""
    return f"{count} more approval{'s' if count != 1 else ''}{among}, of: {who}"


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
    found = outcome(stakeholders.rules[gate], stakeholders.people, votes)
    if found is None and unattended and set(votes.values()) <= {"approve"}:
        return "approve" if any(entry.unattended for entry in entries) else None
    return found


def dissent(run: Run) -> list[LedgerEntry]:
    """What was said against an approval that stands, and what was said with it."""
    found = []
    for gate, stages in GATES.items():
        if all(run.stage_folder(stage).exists() for stage in stages):
            evidence = evidence_digest(run, gate)
            if standing(run, gate, evidence, unattended=True) == "approve":
                entries = [entry for entry in votes_on(run, gate, evidence) if not entry.unattended]
                found += [entry for entry in entries if entry.decision != "approve" or entry.comment]
    return found
