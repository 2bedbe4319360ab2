"""promptfoo configs: each test becomes a scenario, and what it asserts becomes what the scenario expects.

Only templates that put variables into text map, and only assertions that `assertions.py` knows.
What a model would have to judge (llm-rubric and the like) is proposed as a clause.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_ratify.policy import read_text
from prefect_ratify.scenarios.assertions import RUBRICS, check_of
from prefect_ratify.scenarios.imported import ROW, Candidate, Imported, NotMapped, Proposed, Unmapped, messages_of
from prefect_ratify.scenarios.located_yaml import Located, load_yaml

_VARIABLE = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)\s*-?\}\}")
_HARMLESS = ("type", "value", "metric", "weight")  # keys of an assertion that leave its meaning alone
_NOTES = (
    "curly apostrophes count as straight ones, in patterns and answers",
    r"patterns of regex assertions are read as Python's: \w, \d and \b know all alphabets",
)


@dataclass
class _Reading:
    """What one reading of a config has found so far."""

    name: str
    scenarios: list[Candidate] = field(default_factory=list)
    unmapped: list[Unmapped] = field(default_factory=list)
    proposed: dict[str, Proposed] = field(default_factory=dict)

    def leave(self, node: Located, what: str, reason: object) -> None:
        self.unmapped.append(Unmapped(place=f"{self.name}:{node.line}", what=what, reason=str(reason)))


def from_promptfoo(source: Path) -> Imported:
    """Read a config; InputError where it is none, or has no prompt that can be read."""
    root = load_yaml(source)
    top = root.mapping()
    if "prompts" not in top or "tests" not in top:
        raise root.error("this is no promptfoo config", "it needs 'prompts:' and 'tests:'")
    reading = _Reading(source.name)
    template = _template(top["prompts"], reading)
    shared = top.get("defaultTest")
    if shared is not None and not isinstance(shared.value, dict):
        reading.leave(shared, "defaultTest", "it stands in another file")
        shared = None
    for key in [key for key in ("scenarios", "redteam") if key in top]:
        reading.leave(top[key], key, "promptfoo makes tests of it; write them out under 'tests:'")
    tests = top["tests"].value if isinstance(top["tests"].value, list) else [top["tests"]]
    for node in tests:
        _test(node, shared, template, reading)
    rest = sorted(set(top) - {"prompts", "tests", "defaultTest", "scenarios", "redteam"})
    notes = [f"left aside, since it says how promptfoo runs: {', '.join(rest)}"] if rest else []
    asserted = any(candidate.expect for candidate in reading.scenarios)
    return Imported(
        scenarios=tuple(reading.scenarios),
        unmapped=tuple(reading.unmapped),
        proposed=tuple(reading.proposed.values()),
        notes=(*notes, *(_NOTES if asserted else ())),
    )


def _template(node: Located, reading: _Reading) -> str:
    """The first prompt's text; the others are named."""
    listed = node.value if isinstance(node.value, list) else [node]
    if not listed:
        raise node.error("there is no prompt")
    for other in listed[1:]:
        reading.leave(other, "prompt", "a scenario has one prompt; the first one is used")
    first = listed[0].value
    if isinstance(first, dict):
        first = next((first[key].value for key in ("raw", "id") if key in first), None)
    if not isinstance(first, str) or not first.strip():
        raise listed[0].error("the first prompt is no text")
    if not first.startswith("file://") and not re.fullmatch(r"\S+\.(txt|json|md)", first.strip()):
        return first
    folder = node.path.parent.resolve()
    path = (folder / first.strip().removeprefix("file://")).resolve()
    if not path.is_relative_to(folder) or path.suffix not in (".txt", ".json", ".md"):
        raise listed[0].error(f"the prompt {first!r} is not read", "give a .txt, .md or .json file in the same folder")
    texts = re.split(r"^---\s*$", read_text(path), flags=re.MULTILINE) if path.suffix != ".json" else [read_text(path)]
    for _ in texts[1:]:
        reading.leave(listed[0], "prompt", "the file has several; the first one is used")
    return texts[0].strip()


def _test(node: Located, shared: Located | None, template: str, reading: _Reading) -> None:
    try:
        if not isinstance(node.value, dict):
            raise NotMapped("its tests stand in another file; import that one by itself")
        default = shared.value if shared else {}
        given = _part(default, "vars") | _part(node.value, "vars")
        variables = {key: _variable(key, item) for key, item in given.items()}
        messages, left = messages_of(_rendered_chat(template, variables))
    except NotMapped as reason:
        reading.leave(node, ROW, reason)
        return
    for reason_left in left:
        reading.leave(node, "message", reason_left)
    assertions = [*_listed(default.get("assert"), reading), *_listed(node.value.get("assert"), reading)]
    used = set(_VARIABLE.findall(template + json.dumps([_plain(item) for item in assertions], ensure_ascii=False)))
    for key, item in given.items():
        if key not in used:
            reading.leave(item, f"var {key!r}", "neither the prompt nor an assertion names it")
    wrapped = {key for part in (default, node.value) for key in ("threshold", "assertScoringFunction") if key in part}
    options = _part(default, "options") | _part(node.value, "options")
    wrapped |= {"transform", "postprocess"} & set(options)
    why = f"the test has {sorted(wrapped)[0]!r}: this alone decides nothing" if wrapped else ""
    checks = [check for item in assertions if (check := _mapped(item, variables, why, reading))]
    description = node.value["description"].value if "description" in node.value else ""
    for key in set(node.value) - {"vars", "assert", "description"}:
        reading.leave(node.value[key], f"key {key!r} of the test", "no part of a scenario")
    reading.scenarios.append(
        Candidate(
            place=f"{reading.name}:{node.line}",
            messages=messages,
            id="",
            source=" ".join(f"{reading.name}:{node.line} {description or ''}".split()),
            expect=None if not checks else checks[0] if len(checks) == 1 else {"all": checks},
        )
    )


def _part(fields: Mapping[str, Located], key: str) -> dict[str, Located]:
    if key not in fields or fields[key].value is None:
        return {}
    if not isinstance(fields[key].value, dict):
        raise NotMapped(f"its {key} stand in another file, or are no mapping")
    return dict(fields[key].value)


def _listed(node: Located | None, reading: _Reading) -> list[Located]:
    if node is not None and not isinstance(node.value, list):
        reading.leave(node, "assertions", "they are no list")
    return node.value if node is not None and isinstance(node.value, list) else []


def _variable(key: str, node: Located) -> str:
    value = node.value
    if isinstance(value, list):
        raise NotMapped(f"its var {key!r} is a list, of which promptfoo makes a test each; write them out")
    if isinstance(value, str) and value.startswith(("file://", "package:")):
        raise NotMapped(f"its var {key!r} stands in another file")
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        raise NotMapped(f"its var {key!r} is no text or number")
    return str(value)


def _rendered(template: str, variables: Mapping[str, str]) -> str:
    missing = [name for name in _VARIABLE.findall(template) if name not in variables]
    if missing:
        raise NotMapped(f"there is no var {missing[0]!r}")
    if "{%" in template or "{{" in _VARIABLE.sub("", template):
        raise NotMapped("its template does more than putting variables into text")
    return _VARIABLE.sub(lambda match: variables[match[1]], template)


def _rendered_chat(template: str, variables: Mapping[str, str]) -> Any:
    """The prompt with its variables: in a chat they go into each message, where no quote can end it."""
    try:
        chat = json.loads(template)
    except ValueError:
        chat = None
    if not isinstance(chat, list) or not all(isinstance(turn, dict) for turn in chat):
        return [{"role": "user", "content": _rendered(template, variables)}]
    texts = [turn | {"content": _rendered(str(turn.get("content", "")), variables)} for turn in chat]
    return texts


def _mapped(node: Located, variables: Mapping[str, str], why: str, reading: _Reading) -> dict[str, Any] | None:
    """An assertion's check; None where it is a proposed clause, or named as unmapped."""
    value = _plain(node)
    kind = value.get("type") if isinstance(value, dict) else None
    try:
        if not isinstance(kind, str):
            raise NotMapped("it has no type")
        expected = _filled(value.get("value"), variables)
        if kind.removeprefix("not-") in RUBRICS and isinstance(expected, str) and expected.strip():
            text = ("Not this: " if kind.startswith("not-") else "") + " ".join(expected.split())
            reading.proposed.setdefault(text, Proposed(place=f"{reading.name}:{node.line}", text=text))
            return None
        changed = sorted(set(value) - set(_HARMLESS))
        if why or changed:
            raise NotMapped(why or f"its {changed[0]!r} changes what it means")
        if value.get("weight") == 0:
            raise NotMapped("its weight is 0: it decides nothing")
        return check_of(kind, expected)
    except NotMapped as reason:
        reading.leave(node, f"assertion {kind}" if kind else "assertion", reason)
    return None


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, str) and value.startswith(("file://", "package:")):
        raise NotMapped("its value stands in another file")
    return _rendered(value, variables) if isinstance(value, str) else value


def _plain(node: Located) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, list) else node.value
