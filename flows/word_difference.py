"""What changed between two texts, word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_SHARED = 0.25  # of the words: where two texts share less, marks would be on nearly all and show nothing


@dataclass(frozen=True)
class Piece:
    """A stretch of text; `tone` says what it is (empty for plain text), `note` which clauses found it."""

    text: str
    tone: str = ""
    note: str = ""


def word_difference(old: str, new: str) -> list[Piece]:
    """What changed from old to new, in one text: pieces of tone "", "deleted" and "inserted"."""
    before, after = re.findall(r"\s+|\S+", old), re.findall(r"\s+|\S+", new)
    pieces = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("".join(before[a:b])))
            continue
        pieces += [Piece("".join(before[a:b]), "deleted")] if b > a else []
        pieces += [Piece("".join(after[c:d]), "inserted")] if d > c else []
    return pieces


def word_differences(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Two texts to be read beside each other: in each, what the other has not.

    Nothing is marked in texts that have little in common. A single word that both happen to have
    within a passage that differs is marked with it, so that passages and not crumbs are seen.
    """
    before, after = re.findall(r"\s+|\S+\s*", first), re.findall(r"\s+|\S+\s*", second)
    matcher = difflib.SequenceMatcher(
        None, [word.strip() for word in before], [word.strip() for word in after], autojunk=False
    )
    if matcher.ratio() < LEAST_SHARED:
        return [Piece(first)] if first else [], [Piece(second)] if second else []
    left: list[Piece] = []
    right: list[Piece] = []
    codes = matcher.get_opcodes()
    for place, (kind, a, b, c, d) in enumerate(codes):
        crumb = kind == "equal" and b - a == 1 and 0 < place < len(codes) - 1
        equal = kind == "equal" and not crumb
        _append(left, before[a:b], "" if equal else "deleted")
        _append(right, after[c:d], "" if equal else "inserted")
    return left, right


def _append(pieces: list[Piece], words: Sequence[str], tone: str) -> None:
    """Add a stretch, joined to the one before it where both are of one tone; no mark on the space after it."""
    text = "".join(words)
    if tone and len(pieces) > 1 and not pieces[-1].text.strip() and pieces[-2].tone == tone:
        space, before = pieces.pop(), pieces.pop()
        text = before.text + space.text + text
    for part, its_tone in ((text.rstrip(), tone), (text[len(text.rstrip()) :], "")) if tone else ((text, ""),):
        if part and pieces and pieces[-1].tone == its_tone:
            pieces[-1] = Piece(pieces[-1].text + part, its_tone)
        elif part:
            pieces.append(Piece(part, its_tone))
