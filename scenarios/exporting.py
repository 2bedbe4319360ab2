"""Exporting: a suite and its policy as an Inspect AI task that stands in one file.

What the file holds of the project is data: JSON in string literals, parsed when the task runs. The
checks are decided by an interpreter of their own in the template, which must say what `checks.py`
says; a test runs both on the same responses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect_ratify.errors import InputError
from prefect_ratify.records import Message, Policy, Scenario
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.scenarios.yardstick import EXPECTATION

HEADER = "# An Inspect AI task, written by `ratify export inspect`."
Part = Literal["develop", "held_out", "all"]


@dataclass(frozen=True)
class Exported:
    """A task file's text, how many samples and which clauses it has, and the clauses that it cannot decide."""

    text: str
    samples: int
    clause_ids: tuple[str, ...]
    left_out: tuple[str, ...]


def inspect_task(policy: Policy, suite: Suite, preamble: Sequence[Message], part: Part) -> Exported:
    """The task in which a model with these messages before it answers a part of the suite."""
    scenarios = suite.scenarios if part == "all" else suite.split(part)
    if not scenarios:
        raise InputError(f"no scenario is in the split {part}", "export develop, held_out or all")
    checks = {key: check.source for key in policy.clause_ids if (check := suite.guide(key).check)}
    expected = [s.id for s in scenarios if s.id in suite.expectations]
    if not checks and not expected:
        raise InputError("no clause has a check", "write 'check:' to one in scenarios.yaml: a task has to score")
    left_out = tuple(key for key in policy.clause_ids if key not in checks)
    data = {
        "title": policy.title,
        "preamble": [message.model_dump() for message in preamble],
        "checks": checks,
        "samples": [_sample(scenario, suite) for scenario in scenarios],
    }
    keys = (*checks, *([EXPECTATION] if expected else []))
    text = _page(data=_literal(data), keys=_literal(keys), part=part, left_out=_listed(left_out), header=HEADER)
    return Exported(text, len(scenarios), tuple(checks), left_out)


def _sample(scenario: Scenario, suite: Suite) -> dict[str, Any]:
    check = suite.expectations.get(scenario.id)
    return {
        "id": scenario.id,
        "messages": [message.model_dump() for message in scenario.messages],
        "clauses": scenario.clause_ids,
        "expect": check.source if check else None,
        "tags": scenario.tags,
        "split": scenario.split,
    }


def _literal(value: Any) -> str:
    """A value's JSON as Python string literals, one a line, in ASCII: nothing in it can end a literal."""
    lines = json.dumps(value, indent=1).split("\n")
    return "\n".join(f"    {line + chr(10)!r}" for line in lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(ascii(name) for name in names) or "none"


def _page(**values: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return pages.get_template("inspect_task.py.jinja").render(values)
