"""Preference pairs of other people's data sets: a conversation, the response that was chosen, and the other one.

A row has the columns `chosen` and `rejected`, and may have `prompt`. Each is a text, a list of chat
messages, or a transcript of turns that begin with `Human:` and `Assistant:` (Bai et al. 2022, arXiv
2204.05862, published so). What both sides begin with is the conversation. A row that gives no pair is
counted by its reason, with its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.records import Message, Record, digest
from prefect_ratify.scenarios.imported import NotMapped
from prefect_ratify.scenarios.importing import rows_of

SIDES = ("chosen", "rejected")
LONGEST_PAIR = 24_000  # characters of the conversation and both responses
_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "dataset",
}
_TURN = re.compile(r"(?:\A\s*|\n\n)[ \t]*(Human|Assistant):")
Role = Literal["user", "assistant"]
_ROLES: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}


class Pair(Record):
    """Two responses to one conversation, which may be empty, and where they come from.

    A response of several turns, since the sides part before the last, is their transcript.
    """

    place: str
    conversation: tuple[Message, ...]
    chosen: str
    rejected: str

    @property
    def unit(self) -> str:
        """The same for pairs of one conversation, which are not independent."""
        return digest(self.conversation if self.conversation else sorted((self.chosen, self.rejected)))


@dataclass(frozen=True)
class Pairs:
    """The pairs of a data set of so many rows, and the places of the other rows by the reason."""

    rows: int
    pairs: tuple[Pair, ...]
    refused: Mapping[str, tuple[str, ...]]


def load_pairs(source: Path) -> Pairs:
    """Read a file, or a folder that the library `datasets` reads; InputError where no row of it is a pair."""
    if not source.exists():
        raise InputError("there is no such file or folder", "data sets are read from local folders", path=source)
    kind = "dataset" if source.is_dir() else _KINDS.get(source.suffix.lower())
    if kind is None:
        raise InputError("this is no data set", "name a folder, or a Parquet, JSONL, JSON or CSV file", path=source)
    rows, _ = rows_of(source, kind)
    if not rows:
        raise InputError("there is no row", path=source)
    return _pairs(source, rows)


def halves(pairs: Sequence[Pair], limit: int) -> tuple[list[Pair], list[Pair]]:
    """At most `limit` pairs in two parts about as large, in an order that hangs on their texts alone.

    Pairs of one conversation are in the same part.
    """
    drawn = sorted(pairs, key=lambda pair: (digest(pair.unit), pair.chosen, pair.rejected))[:limit]
    first: list[Pair] = []
    for place, pair in enumerate(drawn):
        if 2 * place >= len(drawn) and pair.unit != drawn[place - 1].unit:
            break
        first.append(pair)
    return first, drawn[len(first) :]


def transcript(messages: Sequence[Message]) -> str:
    """Turns as text, one below the other."""
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _pairs(source: Path, rows: Sequence[tuple[str, Any]]) -> Pairs:
    found: dict[str, Pair] = {}
    refused: dict[str, list[str]] = {}
    for place, row in rows:
        try:
            pair = _pair(place, row)
            key = digest([pair.conversation, pair.chosen, pair.rejected])
            if key in found:
                raise NotMapped("the same pair stands there before")
            found[key] = pair
        except NotMapped as reason:
            refused.setdefault(str(reason), []).append(place)
    if not found:
        why, places = max(refused.items(), key=lambda item: len(item[1]))
        raise InputError(f"no row is a pair: {why} ({len(places)} of {len(rows)}, first {places[0]})", path=source)
    return Pairs(len(rows), tuple(found.values()), {why: tuple(places) for why, places in refused.items()})


def _pair(place: str, row: Any) -> Pair:
    """A row's pair; NotMapped where it is none."""
    if isinstance(row, str):
        raise NotMapped(row)  # the reader says why there is no row
    fields = {str(key).strip().lower(): value for key, value in row.items() if value is not None}
    if missing := [name for name in SIDES if name not in fields]:
        raise NotMapped(f"it has no column {missing[0]!r}")
    conversation = _turns(fields.get("prompt") or "", "user")
    chosen, rejected = (_after(conversation, _turns(fields[name], "assistant")) for name in SIDES)
    if chosen == rejected:
        raise NotMapped("both responses are the same")
    shared = _shared(chosen, rejected)
    pair = Pair(
        place=place,
        conversation=tuple(conversation + chosen[:shared]),
        chosen=_response(chosen[shared:]),
        rejected=_response(rejected[shared:]),
    )
    if len(transcript(pair.conversation)) + len(pair.chosen) + len(pair.rejected) > LONGEST_PAIR:
        raise NotMapped(f"it is longer than {LONGEST_PAIR:,} characters")
    return pair


def _turns(value: Any, role: Role) -> list[Message]:
    """The turns of a value; a text that is no transcript is one turn of that role. Empty ones are left out."""
    if isinstance(value, str) and len(value) > 2 * LONGEST_PAIR:  # as chat messages a text takes more than its words
        raise NotMapped(f"it is longer than {LONGEST_PAIR:,} characters")
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):  # a text that only looks like a chat is a text
            value = json.loads(value)
    if isinstance(value, str):
        parts = _TURN.split(value)
        said = [(role, value)] if parts[0].strip() or len(parts) == 1 else _spoken(parts)
    elif isinstance(value, list):
        said = [_message(turn) for turn in value]
    else:
        raise NotMapped("a side is neither a text nor a list of messages")
    return [Message(role=who, content=_writable(text).strip()) for who, text in said if text.strip()]


def _spoken(parts: Sequence[str]) -> list[tuple[Any, str]]:
    return [(_ROLES[name], text) for name, text in zip(parts[1::2], parts[2::2], strict=True)]


def _message(turn: Any) -> tuple[Any, str]:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
        raise NotMapped("a message is no mapping of role and text")
    if turn.get("role") not in ("system", "user", "assistant"):
        raise NotMapped(f"a message has the role {one_line(str(turn.get('role')), 40)!r}")
    return turn["role"], turn["content"]


def _writable(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):
        raise NotMapped("it holds half a character (a lone surrogate), which no file can hold")
    return text


def _after(conversation: Sequence[Message], turns: list[Message]) -> list[Message]:
    """A side's turns without the prompt, where they repeat it."""
    repeated = bool(conversation) and turns[: len(conversation)] == list(conversation)
    return turns[len(conversation) :] if repeated else turns


def _shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many turns both begin with; one of each is left."""
    most = min(len(chosen), len(rejected)) - 1
    return next((n for n in range(most) if chosen[n] != rejected[n]), max(most, 0))


def _response(turns: Sequence[Message]) -> str:
    if not turns or turns[-1].role != "assistant":
        raise NotMapped("a side does not end in a response of the assistant")
    return turns[0].content if len(turns) == 1 else transcript(turns)
