"""Adding scenarios to scenarios.yaml: as text at the right place, so that all that stands there stays.

The text is foreign: nothing is written before the file as it would be has been loaded, and found to
be the suite that it was, and the new scenarios behind its own.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from prefect_ratify.errors import InputError
from prefect_ratify.records import Message, Policy, Record, digest
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.scenarios.inserting import entry_of, inserted
from prefect_ratify.scenarios.located_yaml import load_yaml
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.store import write_text

_GOOD_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_LONGEST_ID = 48  # characters


class Duplicate(Record):
    """A candidate that is there already, and what shows it."""

    place: str
    reason: str


class Added(Record):
    """What became of the candidates: the ids that were added, and the duplicates."""

    ids: tuple[str, ...]
    duplicates: tuple[Duplicate, ...]


def append_scenarios(path: Path, policy: Policy, candidates: Sequence[Candidate]) -> Added:
    """Add candidates to the file, all or (on an InputError) none; duplicates are left out and named."""
    before = _loaded(path, policy)
    fresh, duplicates = _fresh(candidates, before)
    if fresh:
        raw = path.read_bytes().decode("utf-8")
        text = inserted(raw, [entry_of(name, candidate) for name, candidate in fresh], path)
        _require_same(path, policy, before, text, fresh)
        write_text(path, text)
    return Added(ids=tuple(name for name, _ in fresh), duplicates=tuple(duplicates))


def _loaded(path: Path, policy: Policy) -> Suite | None:
    """The suite as it stands; None where it has no scenario yet."""
    top = load_yaml(path).mapping("clauses", "scenarios", "unrelated")
    if "scenarios" not in top or not top["scenarios"].sequence():
        return None
    return load_suite(path, policy)


def _fresh(candidates: Sequence[Candidate], suite: Suite | None) -> tuple[list[tuple[str, Candidate]], list[Duplicate]]:
    there = (*suite.scenarios, *suite.unrelated) if suite else ()
    ids = {scenario.id for scenario in there}
    given = {candidate.id for candidate in candidates}  # no made id may take one of them
    texts = {_key(scenario.messages): scenario.id for scenario in there}
    fresh: list[tuple[str, Candidate]] = []
    duplicates = []
    for candidate in candidates:
        key = _key(candidate.messages)
        seen = f"the text of {texts[key]!r}" if key in texts else ""
        if not seen and candidate.id in ids:
            seen = f"the id {candidate.id!r}"
        if seen:
            lost = "; what it expects was not added" if candidate.expect else ""
            duplicates.append(Duplicate(place=candidate.place, reason=f"{seen} is there already{lost}"))
            continue
        name = candidate.id if _GOOD_ID.match(candidate.id) else _made(candidate, ids | given)
        ids.add(name)
        texts[key] = name
        fresh.append((name, candidate))
    return fresh, duplicates


def _key(messages: Sequence[Message]) -> str:
    """What makes two scenarios the same text, as `load_suite` sees it."""
    return "\n".join(" ".join(message.content.lower().split()) for message in messages)


def _made(candidate: Candidate, taken: Collection[str]) -> str:
    """An id from the given one or the first words of the text, with a number where it is taken."""
    words = re.findall(r"[a-z0-9]+", (candidate.id or candidate.messages[-1].content).lower())
    slug = "-".join(words[:8])[:_LONGEST_ID].strip("-") or f"scenario-{digest(candidate.messages)[:8]}"
    number = 1
    while (name := slug if number == 1 else f"{slug}-{number}") in taken:
        number += 1
    return name


def _require_same(
    path: Path, policy: Policy, before: Suite | None, text: str, fresh: Sequence[tuple[str, Candidate]]
) -> None:
    """InputError unless the new text loads as the suite before, and the new scenarios behind its own."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8", newline="")
        if path.with_name("audit.yaml").exists():
            shutil.copy(path.with_name("audit.yaml"), folder)
        try:
            after = load_suite(trial, policy)
        except InputError as error:
            seen = str(error).replace(str(trial), "with them")
            raise InputError(f"the scenarios cannot be added ({seen})", "nothing was changed", path=path) from None
    count = len(after.scenarios) - len(fresh)
    new = after.scenarios[count:]
    expected = {name: candidate.expect for name, candidate in fresh if candidate.expect}
    sources = {key: check.source for key, check in after.expectations.items() if key in {s.id for s in new}}
    old = {key: check for key, check in after.expectations.items() if key not in sources}
    rest = replace(after, scenarios=after.scenarios[:count], expectations=old)
    same = [(s.id, s.messages) for s in new] == [(name, c.messages) for name, c in fresh] and sources == expected
    if not same or (before is not None and rest.digest != before.digest):
        advice = "write them on lines of their own, '- id: …' each; nothing was changed"
        raise InputError("the scenarios cannot be added where the others stand", advice, path=path)
