"""What an import finds: scenarios to be, and by name and place everything that became none.

A row is a record of the source that could be a scenario: a line of a table, a sample of a log, a
test of a config. Every row is either a candidate or a row that did not map, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prefect_ratify.errors import one_line
from prefect_ratify.records import Message, Record, Split

ROW = "row"
TEXTS = ("query", "prompt", "question", "input")
FIELDS = ("id", "messages", *TEXTS, "tags", "split", "clauses", "source")


class Candidate(Record):
    """A scenario to be. `id` may be no plain word, or empty; without `clauses` or `split` it has the suite's."""

    place: str
    messages: tuple[Message, ...]
    id: str = ""
    clauses: tuple[str, ...] | None = None
    split: Split | None = None
    tags: tuple[str, ...] = ()
    source: str = ""
    expect: Any = None


class Unmapped(Record):
    """Something of the source that is no part of a scenario: where it stands, what it is, and why not."""

    place: str
    what: str
    reason: str


class Proposed(Record):
    """A sentence of the source that could be a clause; people decide whether it becomes one."""

    place: str
    text: str


class Imported(Record):
    """All of a source. `notes` say what is read otherwise than where it comes from."""

    scenarios: tuple[Candidate, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    proposed: tuple[Proposed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return len(self.scenarios) + sum(item.what == ROW for item in self.unmapped)


class NotMapped(Exception):
    """Why a row, or a part of it, does not map; whoever reads the source makes an Unmapped of it."""


def from_rows(rows: Sequence[tuple[str, Any]], clause_ids: Collection[str]) -> Imported:
    """Rows of named fields, each with its place; what is no mapping, or cannot be read, is no scenario."""
    found: list[Candidate] = []
    unmapped: list[Unmapped] = []
    for place, row in rows:
        try:
            candidate, parts = candidate_of(place, row, clause_ids)
        except NotMapped as reason:
            unmapped.append(Unmapped(place=place, what=ROW, reason=str(reason)))
        else:
            found.append(candidate)
            unmapped += parts
    return Imported(scenarios=tuple(found), unmapped=(*unmapped, *_left_columns(rows)))


def candidate_of(place: str, row: Any, clause_ids: Collection[str]) -> tuple[Candidate, list[Unmapped]]:
    """A row's scenario, and what of the row is not in it; NotMapped where there is none."""
    if isinstance(row, str):
        raise NotMapped(row)  # the reader says why there is no row
    if not isinstance(row, Mapping):
        raise NotMapped("it is no mapping of names to values")
    fields = {str(key).strip().lower(): value for key, value in row.items() if value not in (None, "")}
    name = text_field(fields)
    if not name:
        raise NotMapped(f"it has no {', '.join(TEXTS)} or messages")
    messages, left = messages_of(fields[name])
    parts = [Unmapped(place=place, what="message", reason=reason) for reason in left]
    split, clauses = fields.get("split"), _texts(fields["clauses"]) if "clauses" in fields else None
    unknown = [clause for clause in clauses or () if clause not in clause_ids]
    if unknown:
        raise NotMapped(f"the policy has no clause {unknown[0]!r}")
    if split not in (None, "develop", "held_out"):
        parts.append(Unmapped(place=place, what="split", reason=f"{split!r} is neither develop nor held_out"))
        split = None
    candidate = Candidate(
        place=place,
        messages=messages,
        id=_writable(str(fields.get("id", ""))).strip(),
        clauses=tuple(clauses) if clauses else None,
        split=split,
        tags=tuple(_texts(fields["tags"])) if "tags" in fields else (),
        source=_writable(str(fields.get("source", ""))).strip() or place,
    )
    return candidate, parts


def text_field(fields: Collection[str]) -> str:
    """Which field holds what the user says; empty where none does."""
    return next((name for name in ("messages", *TEXTS) if name in fields), "")


def messages_of(value: Any) -> tuple[tuple[Message, ...], list[str]]:
    """The turns of a text or chat, and why some of its messages are left out; NotMapped where none remain."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):  # a text that only looks like a chat is a text
            value = json.loads(value)
    turns = value if isinstance(value, list) else [{"role": "user", "content": value}]
    kept: list[Message] = []
    left = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise NotMapped("a message is no mapping of role and content")
        role, text = turn.get("role"), _writable(_content(turn.get("content"))).strip()
        if role == "system" or role == "developer":
            left.append(f"a {role} message says what the policy should: {one_line(text, 80)}")
        elif role not in ("user", "assistant"):
            raise NotMapped(f"a message has the role {role!r}")
        elif not text:
            raise NotMapped("it is empty" if len(turns) == 1 else "a message is empty")
        else:
            kept.append(Message(role=role, content=text))
    if not kept or kept[-1].role != "user":
        raise NotMapped("its last message is not the user's")
    return tuple(kept), left


def _content(value: Any) -> str:
    """A message's text, which some formats keep in parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, list)):
        raise NotMapped("a message has no text")
    if not isinstance(value, list):
        return str(value)
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in value):
        raise NotMapped("a message has parts that are no text")
    return "\n".join(part["text"] for part in value)


def _writable(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):
        raise NotMapped("it holds half a character (a lone surrogate), which no file can hold")
    return text


def _texts(value: Any) -> list[str]:
    """A list of texts; in one text they stand between commas or semicolons."""
    items = value if isinstance(value, list) else re.split(r"[,;]", str(value))
    return [text for item in items if (text := _writable(str(item)).strip())]


def _left_columns(rows: Sequence[tuple[str, Any]]) -> list[Unmapped]:
    """Each column that no scenario has, once, with the number of its rows and the place of the first."""
    places: dict[str, list[str]] = {}
    for place, row in rows:
        if isinstance(row, Mapping):
            names = {str(key).strip().lower(): key for key, value in row.items() if value not in (None, "")}
            used = text_field(names)
            for name, key in names.items():
                if name not in FIELDS or (name in ("messages", *TEXTS) and name != used):
                    places.setdefault(str(key), []).append(place)
    return [
        Unmapped(place=at[0], what=f"column {key!r}", reason=f"no part of a scenario; in {len(at)} rows")
        for key, at in places.items()
    ]
