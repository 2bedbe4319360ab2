"""Labels at the beginning of lines: who speaks (“User:”), and what an example shows (“Good:”, “❌”)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Shows = Literal["good", "bad", "query", "answer"]
_GOOD = "good|better|best|right|correct|acceptable|preferred|compliant"
_BAD = "bad|worse|worst|wrong|incorrect|unacceptable|non-compliant"
_ANSWER = "(?:assistant|a|answer|ai|bot|chatbot|model|response|reply)"
_WHAT = r"(?: (?:response|answer|reply|output|version|wording))?(?: (?:example|sample))?(?: \d+)?"
_SIGNS: dict[str, Shows] = {**dict.fromkeys("✅✔✓👍", "good"), **dict.fromkeys("❌✗✘✖👎", "bad")}
_LABELS: tuple[tuple[str, Shows, bool], ...] = (
    (rf"(?:an? )?(?:example of an? )?(?:{_GOOD}){_WHAT}", "good", True),
    (rf"(?:an? )?(?:example of an? )?(?:{_BAD}){_WHAT}", "bad", True),
    (r"(?:do )?say(?: this)?", "good", True),
    (r"(?:don't|don’t|do not|never) say", "bad", True),
    (r"do|yes|do this", "good", False),
    (r"don'?t|don’t|do not|no|not this", "bad", False),
    (
        r"(?:the )?(?:user|member|customer|client|caller|patient|student|citizen|visitor|guest"
        r"|pupil|learner|applicant|resident|human|person|q|query|prompt"
        r"|question|request)(?: (?:asks|says|writes|query|question|message|prompt|request))?(?: \d+)?",
        "query",
        True,
    ),
    (rf"(?:the |an? )?(?!{_ANSWER})\w+ (?:asks|says|writes)", "query", True),
    (rf"{_ANSWER} \((?:{_GOOD})\)", "good", True),
    (rf"{_ANSWER} \((?:{_BAD})\)", "bad", True),
    (rf"(?:the )?{_ANSWER}(?: (?:says|answers|replies))?", "answer", True),
)
_SIGN = rf"(?:(?P<sign>{'|'.join(_SIGNS)})\ufe0f?\s*)"
_MARKED = re.compile(  # of a line without spaces at its end
    rf"^[ \t>]*[*_]*{_SIGN}?[*_]*"
    r"(?:(?P<label>[^\W\d_][^:*_“”\"\n]{0,40}?)[*_]{0,3}[ \t]{0,3}(?:(?P<colon>[:：])[*_]{0,3}[ \t]*|$))?"
)
_WHOLE = re.compile(r"^(?:“([^“”]+)”|\"([^\"]+)\"|«([^«»]+)»|‘([^‘’]+)’|'([^']+)')[.]?$", re.DOTALL)


@dataclass(frozen=True)
class Label:
    """What a line is labelled as; `sure` is False for “Do:”, “No:” and signs, which mark rules as often as examples.

    `start` is where the line's own text begins behind the label.
    """

    shows: Shows
    sure: bool
    start: int


@dataclass(frozen=True)
class Segment:
    """Lines of a block under one label, or none; `line` is the first one's place in the block, from 0."""

    label: Label | None
    text: str
    line: int


def label_of(line: str) -> Label | None:
    """The label that a line begins with, or is."""
    line = line.rstrip()
    found = _MARKED.match(line)
    if not found:
        return None
    sign = _SIGNS.get(found["sign"] or "")
    shows, sure = _named((found["label"] or "").strip().lower())
    if shows in ("answer", None) and sign:
        behind = found.end() if shows else found.end("sign")
        return Label(sign, bool(shows), len(line) - len(line[behind:].lstrip("\ufe0f*_ \t")))
    bold = line.strip().startswith(("**", "__"))
    if shows is None or (shows in ("query", "answer") and not found["colon"] and not bold):
        return None
    return Label(shows, sure, found.end() if found["colon"] else len(line))


def _named(name: str) -> tuple[Shows | None, bool]:
    return next(((shows, sure) for words, shows, sure in _LABELS if re.fullmatch(words, name)), (None, False))


def segments_of(text: str) -> Iterator[Segment]:
    """A block's text in parts: each begins with a labelled line, but for one that may come before them."""
    label, start, lines = label_of(text.partition("\n")[0]), 0, text.split("\n")
    for place, line in enumerate(lines):
        found = label_of(line)
        if found and place:
            yield Segment(label, "\n".join(lines[start:place]), start)
            label, start = found, place
    yield Segment(label, "\n".join(lines[start:]), start)


def unquoted(text: str) -> tuple[str, bool]:
    """A text without the quotation marks around all of it, and whether it had any."""
    found = _WHOLE.match(text.strip().strip("*_").strip())
    return (next(part for part in found.groups() if part), True) if found else (text.strip(), False)
