"""Suites: the scenarios of a policy, and per clause what decides it and what shows it.

    clauses:
      empathy:
        check: {first_sentence: {any_of: ["i'?m sorry"]}}
        examples: [{query: "…", sentence: "…"}]   # worked examples
        opening: "I'm sorry"                      # first words for a model that needs them
        good: ["…"]                               # replies that the check must accept
        bad: ["…"]                                # … and refuse
    scenarios:
      - {id: eviction, query: "…", clauses: [empathy], tags: [housing], split: develop}
    unrelated:                                    # requests that the policy is not about
      - {id: pasta, query: "…", split: held_out}

`split` is drawn from a hash of the id where it is not given: two thirds *develop*.
An `audit.yaml` beside it may hold a second check for each clause, used by comparison alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prefect_ratify.errors import InputError
from prefect_ratify.records import Message, Policy, Record, Scenario, Split, WorkedExample, digest
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import Located, load_yaml

HELD_OUT_SHARE = 1 / 3
Item = TypeVar("Item")
T = TypeVar("T")
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True)
class ClauseGuide:
    """What a suite says of one clause beside the policy's text."""

    check: Check | None = None
    examples: tuple[WorkedExample, ...] = ()
    opening: str = ""
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    lines: dict[str, int] = field(default_factory=dict)  # where each reply and sentence stands


@dataclass(frozen=True)
class Suite:
    """Scenarios that a policy is about, requests that it is not about, and guides by clause id."""

    scenarios: tuple[Scenario, ...]
    unrelated: tuple[Scenario, ...] = ()
    guides: dict[str, ClauseGuide] = field(default_factory=dict)
    audits: dict[str, Check] = field(default_factory=dict)
    expectations: dict[str, Check] = field(default_factory=dict)

    def split(self, name: Split) -> tuple[Scenario, ...]:
        """The scenarios of one split."""
        return tuple(s for s in self.scenarios if s.split == name)

    def unrelated_split(self, name: Split) -> tuple[Scenario, ...]:
        """The unrelated requests of one split."""
        return tuple(s for s in self.unrelated if s.split == name)

    def guide(self, clause_id: str) -> ClauseGuide:
        """What the suite says of a clause; an empty guide where it says nothing."""
        return self.guides.get(clause_id, ClauseGuide())

    @property
    def digest(self) -> str:
        """Of all that decides what a run does with this suite (audits and good and bad replies apart)."""
        return digest(
            {
                "scenarios": self.scenarios,
                "unrelated": self.unrelated,
                "checks": {key: g.check.source if g.check else None for key, g in self.guides.items()},
                "examples": {key: g.examples for key, g in self.guides.items()},
                "openings": {key: g.opening for key, g in self.guides.items()},
                "expectations": {key: check.source for key, check in self.expectations.items()},
            }
        )


class Misjudged(Record):
    """A reply that a check judges against what the suite's authors say of it."""

    clause_id: str
    line: int
    reply: str
    said: str
    reason: str


def load_suite(path: Path, policy: Policy, problems: list[InputError] | None = None) -> Suite:
    """Read scenarios.yaml (and audit.yaml beside it); InputError with file and line.

    With a list of `problems`, what is wrong with single clauses and scenarios is added to it,
    and they are left out; otherwise the first one is raised.
    """
    root = load_yaml(path)
    top = root.mapping("clauses", "scenarios", "unrelated")
    seen = _Seen()
    expectations: dict[str, Check] = {}
    guides = dict(_by_clause(top.get("clauses"), policy, _guide, problems))
    listed = top["scenarios"].sequence() if "scenarios" in top else []
    if not listed:
        raise root.error("there is no scenario", "add '- id: …' and 'query: …' under 'scenarios:'")
    others = top["unrelated"].sequence() if "unrelated" in top else []
    scenarios = _each(listed, lambda node: _scenario(node, policy, seen, expectations), problems)
    unrelated = _each(others, lambda node: _scenario(node, None, seen, expectations), problems)
    audit_path = path.with_name("audit.yaml")
    audit = load_yaml(audit_path) if audit_path.exists() else None
    audits = dict(_by_clause(audit, policy, parse_check, problems))
    return Suite(tuple(scenarios), tuple(unrelated), guides, audits, expectations)


def misjudged(suite: Suite) -> list[Misjudged]:
    """The good and bad replies, and worked examples, on which a clause's check is wrong."""
    return [
        found
        for clause_id, guide in suite.guides.items()
        if guide.check
        for found in _misjudged_by(clause_id, guide, guide.check)
    ]


def _misjudged_by(clause_id: str, guide: ClauseGuide, check: Check) -> Iterator[Misjudged]:
    replies = [("good", reply) for reply in guide.good]
    replies += [("good", example.sentence) for example in guide.examples]
    replies += [("bad", reply) for reply in guide.bad]
    for said, reply in replies:
        finding = check(reply)
        if finding.holds is not (said == "good"):
            yield Misjudged(clause_id=clause_id, line=guide.lines[reply], reply=reply, said=said, reason=finding.reason)


class _Seen:
    """Ids and texts met so far, each with its line and split."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.texts: dict[str, tuple[int, str]] = {}

    def add(self, node: Located, scenario: Scenario) -> None:
        if scenario.id in self.ids:
            raise node.error(
                f"the scenario id {scenario.id!r} stands here a second time (first in line {self.ids[scenario.id]})",
                "give each scenario its own id",
            )
        text = "\n".join(" ".join(m.content.lower().split()) for m in scenario.messages)
        line, split = self.texts.get(text, (0, ""))
        if line and split != scenario.split:
            raise node.error(
                f"the scenario {scenario.id!r} is in both splits (the same text is {split} in line {line})",
                "keep it in one",
            )
        if line:
            raise node.error(f"the scenario {scenario.id!r} has the text of the one in line {line}", "keep one")
        self.ids[scenario.id] = node.line
        self.texts[text] = (node.line, scenario.split)


def _each(items: Iterable[Item], parse: Callable[[Item], T], problems: list[InputError] | None) -> list[T]:
    found = []
    for item in items:
        try:
            found.append(parse(item))
        except InputError as error:
            if problems is None:
                raise
            problems.append(error)
    return found


def _by_clause(
    node: Located | None, policy: Policy, parse: Callable[[Located], T], problems: list[InputError] | None
) -> list[tuple[str, T]]:
    """A mapping from clause ids, with each value parsed."""

    def parse_item(entry: tuple[str, Located]) -> tuple[str, T]:
        key, item = entry
        if key not in policy.clause_ids:
            raise item.error(_unknown_clause(key), _known_clauses(policy))
        return key, parse(item)

    return _each(node.mapping().items() if node is not None else (), parse_item, problems)


def _guide(node: Located) -> ClauseGuide:
    fields = node.mapping("check", "examples", "opening", "good", "bad")
    examples = fields["examples"].sequence() if "examples" in fields else []
    replies = [item for key in ("good", "bad") if key in fields for item in fields[key].sequence()]
    lines = {item.text(): item.line for item in replies}
    return ClauseGuide(
        check=parse_check(fields["check"]) if "check" in fields else None,
        examples=tuple(_example(item) for item in examples),
        opening=fields["opening"].text() if "opening" in fields else "",
        good=tuple(fields["good"].texts()) if "good" in fields else (),
        bad=tuple(fields["bad"].texts()) if "bad" in fields else (),
        lines=lines | {_example(item).sentence: item.line for item in examples},
    )


def _example(node: Located) -> WorkedExample:
    fields = node.mapping("query", "sentence")
    for key in ("query", "sentence"):
        if key not in fields:
            raise node.error(f"a worked example needs a {key}", "write 'query: …' and 'sentence: …'")
    return WorkedExample(query=fields["query"].text(), sentence=fields["sentence"].text())


def _scenario(node: Located, policy: Policy | None, seen: _Seen, expectations: dict[str, Check]) -> Scenario:
    """One scenario; `policy` is None for the unrelated ones, which touch no clause."""
    fields = node.mapping("id", "query", "messages", "clauses", "tags", "split", "source", "expect")
    if "id" not in fields:
        raise node.error("a scenario has no id", "add 'id: …'")
    scenario_id = fields["id"].text()
    if not _ID.match(scenario_id):
        raise node.error(f"the id {scenario_id!r} is not a plain word", "use letters, digits, '-', '_' and '.'")
    scenario = Scenario(
        id=scenario_id,
        messages=_messages(node, fields),
        clause_ids=_clause_ids(fields, policy),
        split=_split(fields, scenario_id),
        tags=tuple(fields["tags"].texts()) if "tags" in fields else (),
        source=fields["source"].text() if "source" in fields else "",
    )
    seen.add(node, scenario)
    if "expect" in fields:
        expectations[scenario_id] = parse_check(fields["expect"])
    return scenario


def _messages(node: Located, fields: dict[str, Located]) -> tuple[Message, ...]:
    if ("query" in fields) == ("messages" in fields):
        raise node.error("a scenario has either a query or messages", "give one of the two")
    if "query" in fields:
        return (Message(role="user", content=fields["query"].text().strip()),)
    messages = []
    for item in fields["messages"].sequence():
        turn = item.mapping("role", "content")
        if "role" not in turn or "content" not in turn:
            raise item.error("a message needs a role and a content")
        role = turn["role"].text()
        if role not in ("user", "assistant"):
            raise item.error(f"the role {role!r} is not one of a scenario", "write user or assistant")
        messages.append(Message(role=role, content=turn["content"].text().strip()))  # type: ignore[arg-type]
    if not messages or messages[-1].role != "user":
        raise node.error("the last message must be the user's", "end with a message of role user")
    return tuple(messages)


def _clause_ids(fields: dict[str, Located], policy: Policy | None) -> tuple[str, ...]:
    if policy is None:
        if "clauses" in fields:
            raise fields["clauses"].error("an unrelated request touches no clause", "move it to 'scenarios:'")
        return ()
    if "clauses" not in fields:
        return policy.clause_ids
    ids = fields["clauses"].texts()
    for clause_id in ids:
        if clause_id not in policy.clause_ids:
            raise fields["clauses"].error(_unknown_clause(clause_id), _known_clauses(policy))
    return tuple(clause_id for clause_id in policy.clause_ids if clause_id in ids)


def _split(fields: dict[str, Located], scenario_id: str) -> Split:
    if "split" not in fields:
        return "held_out" if int(digest(scenario_id)[:8], 16) / 16**8 < HELD_OUT_SHARE else "develop"
    split = fields["split"].text()
    if split not in ("develop", "held_out"):
        raise fields["split"].error(f"the split {split!r} does not exist", "write develop or held_out")
    return split  # type: ignore[return-value]


def _unknown_clause(clause_id: str) -> str:
    return f"the policy has no clause {clause_id!r}"


def _known_clauses(policy: Policy) -> str:
    return f"its clauses are: {', '.join(policy.clause_ids)}"
