"""stakeholders.yaml: who decides at the gates, and when a decision stands.

    people:
      - {name: Ada, role: legal}
      - {name: Ben, role: community}
    gates:
      policy: {approvals: 2, roles: [legal], one_rejection_stops: true, wait: 7 days, rounds: 3}
      release: {approvals: 2, back_to: train}
    regression: no clause worse by more than 0.05 with 95 % confidence    # see scenarios/rules.py

Named people prove who they are with one-time codes (`ratify enroll`). With nobody named, anyone
who can open the run may answer, and one answer decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.records import Record, digest
from prefect_ratify.scenarios.located_yaml import Located, load_yaml

GATES: dict[str, tuple[str, ...]] = {
    "draft": ("prototype",),
    "policy": ("refine", "regress"),
    "data": ("generate",),
    "release": ("train", "compare"),
}
BACK_TO = {"draft": "refine", "policy": "refine", "data": "generate", "release": "generate"}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}


LONGEST_WAIT = 500 * _UNITS["week"]


def name_key(name: str) -> str:
    """What two spellings of one name have in common, whatever their case and their accents' encoding."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


class Person(Record):
    """Somebody who may decide, and as what."""

    name: str
    role: str = ""


class GateRule(Record):
    """When a decision stands at a gate.

    So many different people (`approvals`) must approve, at least one of each role in `roles`.
    A request for changes takes as many votes; a rejection too, where `one_rejection_stops` is
    false. A form waits for `wait` seconds. At most `rounds` times a gate sends the run back.
    """

    approvals: int = 1
    roles: tuple[str, ...] = ()
    one_rejection_stops: bool = True
    wait: int = _UNITS["week"]
    rounds: int = 3
    back_to: str


DEFAULT_RULES = {gate: GateRule(back_to=stage) for gate, stage in BACK_TO.items()}


class Stakeholders(Record):
    """The people, and a rule for each gate."""

    people: tuple[Person, ...] = ()
    rules: dict[str, GateRule] = DEFAULT_RULES
    regression: str = ""

    def find(self, name: str) -> Person | None:
        """The person of that name, in any case; with nobody named, whoever gives a name."""
        name = " ".join(name.split())
        if not self.people:
            return Person(name=name) if name else None
        return next((person for person in self.people if name_key(person.name) == name_key(name)), None)

    def rule_digest(self, gate: str) -> str:
        """The digest of who decides how at a gate: other people or another rule is another question."""
        return digest([self.people, self.rules[gate]])


def load_stakeholders(path: Path) -> Stakeholders:
    """Read the people and rules; nobody where there is no file, InputError with file and line."""
    if not path.exists():
        return Stakeholders()
    top = load_yaml(path).mapping("people", "gates", "regression")
    people: list[Person] = []
    for node in top["people"].sequence() if "people" in top else []:
        person = _person(node)
        if name_key(person.name) in (name_key(other.name) for other in people):
            raise node.error(f"{person.name!r} stands here a second time", "give each person their own name")
        people.append(person)
    rules = dict(DEFAULT_RULES)
    for gate, node in top["gates"].mapping(*GATES).items() if "gates" in top else ():
        rules[gate] = _rule(gate, node, people)
    regression = top["regression"].text() if "regression" in top else ""
    return Stakeholders(people=tuple(people), rules=rules, regression=regression)


def _person(node: Located) -> Person:
    fields = node.mapping("name", "role")
    if "name" not in fields:
        raise node.error("a person has no name", "write '- {name: …, role: …}'")
    name = " ".join(fields["name"].text().split())
    return Person(name=name, role=fields["role"].text().strip() if "role" in fields else "")


def _rule(gate: str, node: Located, people: Sequence[Person]) -> GateRule:
    fields = node.mapping("approvals", "roles", "one_rejection_stops", "wait", "rounds", "back_to")
    default = GateRule(back_to=BACK_TO[gate])
    if gate == "draft" and "rounds" in fields:
        raise fields["rounds"].error("the draft gate sends no run back", "what is asked there goes into refinement")
    rule = GateRule(
        approvals=_positive(fields["approvals"]) if "approvals" in fields else default.approvals,
        roles=tuple(fields["roles"].texts()) if "roles" in fields else default.roles,
        one_rejection_stops=(
            fields["one_rejection_stops"].truth() if "one_rejection_stops" in fields else default.one_rejection_stops
        ),
        wait=_seconds(fields["wait"]) if "wait" in fields else default.wait,
        rounds=_positive(fields["rounds"]) if "rounds" in fields else default.rounds,
        back_to=fields["back_to"].text() if "back_to" in fields else default.back_to,
    )
    if rule.approvals > max(1, len(people)):
        raise fields["approvals"].error(
            f"{rule.approvals} approvals are asked for, of {len(people)} people", "name more people, or ask for fewer"
        )
    held = {person.role.lower() for person in people}
    for role in rule.roles:
        if role.lower() not in held:
            raise fields["roles"].error(f"nobody has the role {role!r}", "give it to somebody under 'people'")
    choices = ("generate", "train") if gate == "release" else (default.back_to,)
    if rule.back_to not in choices:
        raise fields["back_to"].error(
            f"the {gate} gate cannot send a run back to {rule.back_to!r}", f"it can to: {', '.join(choices)}"
        )
    return rule


def _positive(node: Located) -> int:
    if node.number() < 1:
        raise node.error("this must be at least 1")
    return node.number()


def _seconds(node: Located) -> int:
    match = re.fullmatch(r"(\d+) *(second|minute|hour|day|week)s?", node.text().strip().lower())
    if not match or not int(match[1]):
        raise node.error(f"{node.value!r} is no length of time", "write for example '7 days' or '12 hours'")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST_WAIT:
        raise node.error("nobody waits that long", "give at most 500 weeks")
    return seconds
