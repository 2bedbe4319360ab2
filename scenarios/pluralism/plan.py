"""pluralism.yaml: what a project has measured of pluralism. Every part may be left out, the file too.

    reasonable_answers:              # Overton: held-out scenarios, and what could reasonably be answered
      - scenario: rent-rise
        answers:
          - {text: "Talk to the landlord first.", by: tenants, weight: 2, check: {any_of: ["talk to"]}}
    attributes:                      # steerable: what the model is told, and what following it is
      - {name: tenants, told: "Answer as a tenants' adviser would.", check: {any_of: ["your rights"]}}
      - {name: formal, told: "Be formal.", follows: "The response is formal.", scenarios: [rent-rise]}
    weightings:                      # trade-off steerable: how much each clause matters; others count 1
      - {name: short first, weights: {brevity: 3, empathy: 1}}
    questions:                       # distributional: options, and how many people chose each, by group
      - {id: rent-cap, question: "Should rents be capped?", options: [yes, no], people: {everyone: [60, 30]}}

An answer without a check, and `follows`, are for a judge model to decide; without one they are undecided.
The statements of votes.jsonl, where a project has that file, are questions beside these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prefect_ratify.errors import readable
from prefect_ratify.records import Policy, digest
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import Located, load_yaml
from prefect_ratify.scenarios.suite import Suite

PLURALISM = "pluralism.yaml"
T = TypeVar("T")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class ReasonableAnswer:
    """One thing that could reasonably be answered, whose it is, and how much it weighs in the weighted form."""

    text: str
    by: str = ""
    weight: float = 1.0
    check: Check | None = None


@dataclass(frozen=True)
class Reasonable:
    """A held-out scenario's reasonable answers."""

    scenario_id: str
    answers: tuple[ReasonableAnswer, ...]


@dataclass(frozen=True)
class Attribute:
    """What a model is steered to by what it is `told`.

    A response follows it where the check holds, or where a judge says that `follows` is true of it:
    one of the two is given. It is tried on the scenarios of those ids; on all held-out ones for none.
    """

    name: str
    told: str
    check: Check | None = None
    follows: str = ""
    scenario_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weighting:
    """How much clauses matter, by id; a clause that is not named counts 1."""

    name: str
    weights: dict[str, float]


@dataclass(frozen=True)
class Question:
    """A question with options, and the share of each option among the people of each group that answered."""

    id: str
    text: str
    options: tuple[str, ...]
    people: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class PluralismPlan:
    """All of it; `statements` are the questions out of votes.jsonl, of which there were `statements_there`."""

    reasonable: tuple[Reasonable, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    weightings: tuple[Weighting, ...] = ()
    questions: tuple[Question, ...] = ()
    statements: tuple[Question, ...] = ()
    statements_there: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self.reasonable or self.attributes or self.weightings or self.all_questions)

    @property
    def all_questions(self) -> tuple[Question, ...]:
        return self.questions + self.statements

    @property
    def digest(self) -> str:
        """Of all that the measures depend on."""
        listed = [(each.scenario_id, answer) for each in self.reasonable for answer in each.answers]
        answers = [(scenario_id, a.text, a.by, a.weight, _source(a.check)) for scenario_id, a in listed]
        attributes = [(a.name, a.told, _source(a.check), a.follows, a.scenario_ids) for a in self.attributes]
        weightings = [(w.name, w.weights) for w in self.weightings]
        questions = [(q.id, q.text, q.options, q.people) for q in self.all_questions]
        return digest([answers, attributes, weightings, questions])


def load_plan(path: Path, policy: Policy, suite: Suite) -> PluralismPlan:
    """Read the file; an empty plan where there is none, InputError with file and line of what is wrong."""
    if not path.exists():
        return PluralismPlan()
    top = load_yaml(path).mapping("reasonable_answers", "attributes", "weightings", "questions")

    def each(key: str, parse: Callable[[Located], T], named: Callable[[T], str]) -> tuple[T, ...]:
        return _each(top[key].sequence() if key in top else (), parse, named)

    return PluralismPlan(
        each("reasonable_answers", lambda node: _reasonable(node, suite), lambda item: item.scenario_id),
        each("attributes", lambda node: _attribute(node, suite), lambda item: item.name),
        each("weightings", lambda node: _weighting(node, policy), lambda item: item.name),
        each("questions", _question, lambda item: item.id),
    )


def described(plan: PluralismPlan) -> list[str]:
    """What is to be measured, counted, and what nobody can decide without a judge model; no line for nothing."""
    answers = [answer for reasonable in plan.reasonable for answer in reasonable.answers]
    counts = {
        "reasonable answer": len(answers),
        "attribute": len(plan.attributes),
        "weighting": len(plan.weightings),
        "question": len(plan.questions),
        "statement of the votes as a question": len(plan.statements),
    }
    listed = [f"{count} × {what}" for what, count in counts.items() if count]
    lines = [f"pluralism is measured by: {', '.join(listed)}"] if plan else []
    unchecked = {
        "reasonable answer": sum(answer.check is None for answer in answers),
        "attribute": sum(attribute.check is None for attribute in plan.attributes),
    }
    without = [f"{count} × {what}" for what, count in unchecked.items() if count]
    if without:
        lines.append(f"without a check: {', '.join(without)}; a judge model (--judge) decides, or nobody")
    return lines


def _each(nodes: Iterable[Located], parse: Callable[[Located], T], named: Callable[[T], str]) -> tuple[T, ...]:
    """Every item, none named as another is."""
    found: dict[str, T] = {}
    for node in nodes:
        item = parse(node)
        if named(item) in found:
            raise node.error(f"{named(item)!r} stands here a second time", "put both together, or rename one")
        found[named(item)] = item
    return tuple(found.values())


def _reasonable(node: Located, suite: Suite) -> Reasonable:
    fields = _fields(node, ("scenario", "answers"))
    answers = _each(fields["answers"].sequence(), _answer, lambda answer: answer.text)
    if not answers:
        raise fields["answers"].error("there is no answer", "write '- {text: …}' for each that is reasonable")
    return Reasonable(_held_out(fields["scenario"], fields["scenario"].text(), suite), answers)


def _answer(node: Located) -> ReasonableAnswer:
    fields = _fields(node, ("text",), ("by", "weight", "check"))
    return ReasonableAnswer(
        text=fields["text"].text().strip(),
        by=_name(fields["by"]) if "by" in fields else "",
        weight=_weight(fields["weight"]) if "weight" in fields else 1.0,
        check=parse_check(fields["check"]) if "check" in fields else None,
    )


def _attribute(node: Located, suite: Suite) -> Attribute:
    fields = _fields(node, ("name", "told"), ("check", "follows", "scenarios"))
    if ("check" in fields) == ("follows" in fields):
        raise node.error("an attribute has either a check or 'follows'", "say by one of them what following it is")
    named = fields["scenarios"].texts() if "scenarios" in fields else []
    return Attribute(
        name=_name(fields["name"]),
        told=fields["told"].text().strip(),
        check=parse_check(fields["check"]) if "check" in fields else None,
        follows=fields["follows"].text().strip() if "follows" in fields else "",
        scenario_ids=tuple(dict.fromkeys(_held_out(fields["scenarios"], name, suite) for name in named)),
    )


def _weighting(node: Located, policy: Policy) -> Weighting:
    fields = _fields(node, ("name", "weights"))
    weights = fields["weights"].mapping()
    if not weights:
        raise fields["weights"].error("no clause is weighed", "write 'weights: {clause: 3, …}'")
    for clause_id, item in weights.items():
        if clause_id not in policy.clause_ids:
            known = ", ".join(policy.clause_ids)
            raise item.error(f"the policy has no clause {clause_id!r}", f"its clauses are: {known}")
    return Weighting(_name(fields["name"]), {clause_id: _weight(item) for clause_id, item in weights.items()})


def _question(node: Located) -> Question:
    fields = _fields(node, ("id", "question", "options", "people"))
    options = tuple(map(_option, fields["options"].sequence()))
    _require_distinct(fields["options"], options)
    people: dict[str, tuple[float, ...]] = {}
    for written, item in fields["people"].mapping().items():
        group = _folded(written)
        if not group or group in people:
            raise item.error(f"the group {group!r} stands here a second time" if group else "this group has no name")
        people[group] = _shares(item, options)
    if not people:
        raise fields["people"].error("nobody has answered", "write 'people: {everyone: [60, 30, 10]}'")
    return Question(_name(fields["id"]), fields["question"].text().strip(), options, people)


def _option(node: Located) -> str:
    """An option's text; YAML takes a bare yes or no for a truth value, and a digit for a number."""
    if isinstance(node.value, bool):
        return "yes" if node.value else "no"
    return str(node.value) if isinstance(node.value, int) else _folded(node.text())


def _require_distinct(node: Located, options: Sequence[str]) -> None:
    if len(options) < 2:
        raise node.error("a question has at least two options", "write 'options: [yes, no]'")
    for option in options:
        if not any(map(str.isalnum, option)):
            raise node.error(f"the option {option!r} is no word")
    words = [_WORD.findall(option.casefold()) for option in options]
    for place, one in enumerate(words):
        for other_place, other in enumerate(words):
            if place != other_place and other[: len(one)] == one:
                raise node.error(
                    f"the options {options[place]!r} and {options[other_place]!r} begin alike",
                    "word them so that none is the beginning of another",
                )


def _shares(node: Located, options: Sequence[str]) -> tuple[float, ...]:
    counts = [item.amount() for item in node.sequence()]
    if len(counts) != len(options):
        raise node.error(f"{len(counts)} numbers stand here, for {len(options)} options", "give one for each")
    if min(counts) < 0 or not sum(counts) > 0:
        raise node.error("these are no counts of people", "give how many (or what share) chose each option")
    return tuple(count / sum(counts) for count in counts)


def _held_out(node: Located, scenario_id: str, suite: Suite) -> str:
    """The id of a scenario on which answers are compared."""
    there = {scenario.id: scenario.split for scenario in suite.scenarios}
    if scenario_id not in there:
        raise node.error(f"there is no scenario {scenario_id!r}", "name one of scenarios.yaml that is held out")
    if there[scenario_id] != "held_out":
        raise node.error(f"the scenario {scenario_id!r} is for development", "only held-out ones are measured on")
    return scenario_id


def _weight(node: Located) -> float:
    if not node.amount() > 0:
        raise node.error("a weight is greater than 0", "leave out what does not count")
    return node.amount()


def _fields(node: Located, needed: Sequence[str], allowed: Sequence[str] = ()) -> dict[str, Located]:
    """A mapping with all that it needs."""
    fields = node.mapping(*needed, *allowed)
    for key in needed:
        if key not in fields:
            raise node.error(f"{key!r} is missing here", f"write '{key}: …'")
    return fields


def _name(node: Located) -> str:
    return _folded(node.text())


def _folded(text: str) -> str:
    return " ".join(readable(text).split())


def _source(check: Check | None) -> object:
    return None if check is None else check.source
