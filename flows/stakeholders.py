"""stakeholders.yaml: who decides at the gates, when a decision stands, and who sits on a jury.

    people:
      - {name: Ada, role: legal}
      - {name: Ben, role: community}
    gates:
      policy: {approvals: 2, roles: [legal], one_rejection_stops: true, wait: 7 days, rounds: 3}
      release: {approvals: 2, back_to: train}
    regression: no clause worse by more than 0.05 with 95 % confidence    # see scenarios/rules.py
    jurors:
      - {name: Ana, rulings: true}                               # a person, by the rulings in precedents.jsonl
      - {name: renter, perspective: "You rent a flat …"}         # simulated: a judge model that is told so
      - {name: group A, weights: {brevity: 3}}                   # simulated: the clauses' verdicts, weighted
    jury: {seats: {Ana: 1, renter: 2}, welfare: nash}            # or mean, rawls, or a power up to 1

Named people prove who they are with one-time codes (`ratify enroll`). With nobody named, anyone
who can open the run may answer, and one answer decides. Jurors judge the compared models' responses, and
open no gate: a juror may be one of the people or not. Without `seats` each juror has one; with them,
who is not named there does not sit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from prefect_ratify.names import name_key
from prefect_ratify.records import Record, digest
from prefect_ratify.scenarios.located_yaml import Located, load_yaml
from prefect_ratify.scenarios.pluralism.jury_records import Juror
from prefect_ratify.scenarios.pluralism.welfare import MEAN, NAMED, function_name

GATES: dict[str, tuple[str, ...]] = {
    "draft": ("prototype",),
    "policy": ("refine", "regress"),
    "data": ("generate",),
    "release": ("train", "compare"),
}
BACK_TO = {"draft": "refine", "policy": "refine", "data": "generate", "release": "generate"}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
# What juries that are tried are called (`scenarios.pluralism.jury.compositions`): a juror would be taken for one.
_COMPOSITION = re.compile(r"^(as seated|each once|without .*|.* alone)$", re.IGNORECASE)
LONGEST_WAIT = 500 * _UNITS["week"]
MOST = 1_000_000  # seats, and what a clause weighs


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
    """The people, a rule for each gate, and a jury with the power of its welfare function."""

    people: tuple[Person, ...] = ()
    rules: dict[str, GateRule] = DEFAULT_RULES
    regression: str = ""
    jurors: tuple[Juror, ...] = ()
    power: float = MEAN

    def find(self, name: str) -> Person | None:
        """The person of that name, in any case; with nobody named, whoever gives a name."""
        name = " ".join(name.split())
        if not self.people:
            return Person(name=name) if name else None
        return next((person for person in self.people if name_key(person.name) == name_key(name)), None)

    def rule_digest(self, gate: str) -> str:
        """The digest of who decides how at a gate: other people or another rule is another question."""
        return digest([self.people, self.rules[gate]])


def jury_digest_part(stakeholders: Stakeholders) -> list[object]:
    """What a run's results depend on of them: the jury, and nothing where there is none."""
    return [stakeholders.jurors, function_name(stakeholders.power)] if stakeholders.jurors else []


def load_stakeholders(path: Path, clause_ids: Collection[str] = ()) -> Stakeholders:
    """Read them; nobody where there is no file, InputError with file and line.

    Jurors weigh clauses of these ids; any, where none are given.
    """
    if not path.exists():
        return Stakeholders()
    top = load_yaml(path).mapping("people", "gates", "regression", "jurors", "jury")
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
    jurors = _jurors(top["jurors"], clause_ids) if "jurors" in top else ()
    if "jury" not in top:
        return Stakeholders(people=tuple(people), rules=rules, regression=regression, jurors=jurors)
    seated, power = _jury(top["jury"], jurors)
    return Stakeholders(people=tuple(people), rules=rules, regression=regression, jurors=seated, power=power)


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


def _jurors(node: Located, clause_ids: Collection[str]) -> tuple[Juror, ...]:
    found: dict[str, Juror] = {}
    for item in node.sequence():
        juror = _juror(item, clause_ids)
        if name_key(juror.name) in found:
            raise item.error(f"the juror {juror.name!r} stands here a second time", "give each juror their own name")
        if _COMPOSITION.search(juror.name):
            raise item.error(f"{juror.name!r} is what a jury is called, and no juror", "give another name")
        found[name_key(juror.name)] = juror
    return tuple(found.values())


def _juror(node: Located, clause_ids: Collection[str]) -> Juror:
    fields = node.mapping("name", "rulings", "perspective", "weights")
    if "name" not in fields:
        raise node.error("a juror has no name", "write '- {name: …, rulings: true}'")
    ruled = "rulings" in fields and fields["rulings"].truth()
    if ruled + ("perspective" in fields) > 1 or not (ruled or "perspective" in fields or "weights" in fields):
        raise node.error(
            "a juror judges by 'rulings: true', by a 'perspective', or by 'weights' alone", "give one of them"
        )
    perspective = fields["perspective"].text().strip() if "perspective" in fields else ""
    return Juror(
        name=" ".join(fields["name"].text().split()),
        kind="rulings" if ruled else "perspective" if perspective else "weights",
        simulated=not ruled,
        perspective=perspective,
        weights=_weights(fields["weights"], clause_ids) if "weights" in fields else {},
    )


def _weights(node: Located, clause_ids: Collection[str]) -> dict[str, float]:
    """How much clauses matter; 0 is not at all."""
    weights = {clause_id: _amount(item) for clause_id, item in node.mapping(*clause_ids).items()}
    if not weights:
        raise node.error("no clause is weighed", "write 'weights: {clause: 3, …}'")
    if clause_ids and not any(weights.get(clause_id, 1.0) for clause_id in clause_ids):
        raise node.error("no clause matters to this juror", "give one a weight above 0")
    return weights


def _jury(node: Located, jurors: Sequence[Juror]) -> tuple[tuple[Juror, ...], float]:
    """The jurors with their seats, and the power of the welfare function."""
    fields = node.mapping("seats", "welfare")
    if not jurors:
        raise node.error("there is a jury, but no jurors", "describe them under 'jurors'")
    power = _power(fields["welfare"]) if "welfare" in fields else MEAN
    if "seats" not in fields:
        return tuple(jurors), power
    seats = {name_key(name): (name, item) for name, item in fields["seats"].mapping().items()}
    for key, (name, item) in seats.items():
        if key not in map(name_key, (juror.name for juror in jurors)):
            raise item.error(f"there is no juror {name!r}", f"they are: {', '.join(juror.name for juror in jurors)}")
    given = {key: _amount(item) for key, (_, item) in seats.items()}
    if not any(given.values()):
        raise fields["seats"].error("nobody sits on the jury", "give a juror a seat")
    return tuple(juror.model_copy(update={"seats": given.get(name_key(juror.name), 0.0)}) for juror in jurors), power


def _power(node: Located) -> float:
    """The exponent of a welfare function, by its name or as a number."""
    name = node.value.strip().lower() if isinstance(node.value, str) else ""
    if name in NAMED:
        return NAMED[name]
    if isinstance(node.value, str) or node.amount() > 1:
        raise node.error(f"{node.value!r} is no welfare function", f"write {', '.join(NAMED)}, or a power up to 1")
    return node.amount()


def _amount(node: Located) -> float:
    if not 0 <= node.amount() <= MOST:
        raise node.error(f"this must be from 0 to {MOST:,}")
    return node.amount()
