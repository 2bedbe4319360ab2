"""A piece of a policy document, and what its words say that it is, beside clauses and examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prefect_ratify.scenarios.document import wording
from prefect_ratify.scenarios.labels_in_text import unquoted
from prefect_ratify.scenarios.normative import QUOTED

Became = Literal[
    "clause", "duplicate", "scenario", "example", "definition", "heading", "context", "layout", "not placed"
]
OPENING = "the opening of the document"
_QUOTE = r"(?:“[^“”]+”|\"[^\"]+\"|«[^«»]+»)"
_SAYS = "asks?|says?|writes?|types?|wants? to know|requests?|complains?"
_ASKED = re.compile(
    rf"\b(?:(?:if|when|whenever|where) (?!the (?:assistant|model)\b)(?:[\w']+ ){{0,4}}?(?:{_SAYS}|asked)"
    rf"|(?:users?|customers?|people|someone|who) (?:[\w']+ ){{0,3}}?(?:{_SAYS}))\b"
    rf"[^“\"«.;]{{0,40}}?(?P<quotes>{_QUOTE}(?:(?:,| or| and|, or|, and) {_QUOTE})*)",
    re.IGNORECASE,
)
_REQUESTS = re.compile(
    r"^(?:(?:some|more|common|typical|example|sample|test|possible|user|users'?|customer|real) )*"
    r"(?:queries|questions|prompts|requests|messages)"
    r"(?: (?:that )?(?:users|people|customers) (?:may |might )?(?:ask|send))?$"
    r"|^(?:users?|people|customers?) (?:\w+ ){0,3}?(?:asks?|says?|writes?)\b[^.]*$",
    re.IGNORECASE,
)
_ABOUT_ITSELF = re.compile(
    r"\b(?:change ?logs?|version history|revision history|document history|governance|maintenance|contacts?"
    r"|acknowledge?ments?|(?:about|reading|using|how to (?:read|use)) this (?:document|policy|page|guide)"
    r"|table of contents|contents|references|who (?:wrote|decides|reviews))\b",
    re.IGNORECASE,
)
_DEFINITIONS = re.compile(r"\b(?:definitions?|glossary|terms)\b", re.IGNORECASE)
_DEFINED = re.compile(
    r"^(?:\*\*|__)?(?P<term>[^:*_.“”\"]{1,60}?)(?:\*\*|__)?\s*(?::|\s[–—-]\s)(?:\*\*|__)?\s*(?P<meaning>\S.*)$",
    re.DOTALL,
)
_LAYOUT = re.compile(r"^(?:[\W_]*|[\s>]*(?:`{3,}|~{3,})[ \t]*\S*[ \t]*)$")


@dataclass(frozen=True)
class Entry:
    """A piece of the document, and what it became.

    `text` is as written in the lines `line` to `last`, `used` what is taken of it, and `why` the reason
    for what was not placed, or what the piece is. `block` is the place of its block. An example has
    `good`, and its `query` where one is given. `is_sentence` is True for what a sentence was not placed of.
    """

    line: int
    last: int
    became: Became
    text: str
    used: str = ""
    why: str = ""
    path: tuple[str, ...] = ()
    block: int = -1
    good: bool = False
    query: str = ""
    is_sentence: bool = False


def unread(text: str, entries: Sequence[Entry]) -> list[Entry]:
    """The lines that are in no piece: layout, or what Markdown keeps from its readers."""
    read = {line for entry in entries for line in range(entry.line, entry.last + 1)}
    left = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and number not in read]
    return [
        Entry(number, number, "layout", line, why="marks without words")
        if _LAYOUT.match(line)
        else Entry(number, number, "not placed", line, why="no text by Markdown's rules, such as a link's address")
        for number, line in left
    ]


def asked_in(text: str) -> list[str]:
    """The requests that a sentence quotes: “If a user asks "…" or "…"”."""
    quotes = [quote for found in _ASKED.finditer(text) for quote in QUOTED.findall(found["quotes"])]
    asked = [unquoted(wording(quote))[0] for quote in quotes]
    return [query for query in asked if len(query.split()) > 1]


def announces_requests(name: str) -> bool:
    """Whether a heading or an introduction says that users' requests stand beneath it."""
    return bool(_REQUESTS.match(unnumbered(wording(name)).rstrip(" :—")))


def about_itself(path: tuple[str, ...]) -> str:
    """The heading by which a section is about the document, and not about the model; empty where none is."""
    return next((name for name in path[1:] if _ABOUT_ITSELF.search(name)), "")


def definition_in(text: str, path: tuple[str, ...]) -> str:
    """`term: meaning`, where a block in a section of definitions is one; else empty."""
    found = _DEFINED.match(text) if path and _DEFINITIONS.search(path[-1]) else None
    return f"{wording(found['term'])}: {wording(found['meaning'])}" if found else ""


def unnumbered(name: str) -> str:
    """A heading without its number."""
    return re.sub(r"^[\d.§)(]+\s+", "", name)
