"""Points such as “(a) …”, of which legal texts make lists and which Markdown takes for text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MARK = re.compile(r"[ \t]*(?:\((?P<mark>[a-z]|[ivx]{2,5}|\d{1,2})\)|(?P<bare>[a-z])\))[ \t]+(?=\S)", re.IGNORECASE)
_FIRST = ("a", "i", "1")  # what a list begins with; another mark at the beginning of a line is where prose was wrapped
_LETTER_BEFORE = {"i": "h", "v": "u", "x": "w"}  # of letters that are Roman numbers too


@dataclass(frozen=True)
class Part:
    """Some lines of a block, from line `line` of it (from 0); a point has the place of the block that introduces it."""

    text: str
    line: int
    is_point: bool
    lead: int | None = None


@dataclass
class _Level:
    kind: str
    lead: int | None
    mark: str


@dataclass
class Points:
    """The lists of points that are open, the innermost last; one without a mark is what a list may follow."""

    levels: list[_Level] = field(default_factory=list)

    def parts(self, text: str, place: int, *, may_begin: bool = True) -> list[Part]:
        """A block's text with each of its points apart; the first part is to be the block at `place`.

        `may_begin` is False where the text is a list item by its own mark, so that it begins with none.
        """
        lines = text.split("\n")
        begun: list[tuple[int, bool, int | None]] = []
        for number, line in enumerate(lines):
            mark = _mark_of(line) if number or may_begin else ""
            level = self._level(mark, place + len(begun) - 1) if mark else None
            if level:
                begun.append((number, True, level.lead))
            elif number == 0:
                self.levels = [_Level("", None, "")]
                begun.append((0, False, None))
        ends = [*(number for number, _, _ in begun[1:]), len(lines)]
        return [Part("\n".join(lines[at:end]), at, *rest) for (at, *rest), end in zip(begun, ends, strict=True)]  # type: ignore[arg-type]

    def _level(self, mark: str, above: int) -> _Level | None:
        """The list that a point belongs to, a new one beneath the block `above` where it begins one; else None."""
        kind = self._kind(mark)
        known = [level.kind for level in self.levels]
        if kind in known:
            del self.levels[known.index(kind) + 1 :]
            self.levels[-1].mark = mark
            return self.levels[-1]
        if mark not in _FIRST:
            return None
        self.levels.append(_Level(kind, above if self.levels else None, mark))
        return self.levels[-1]

    def _kind(self, mark: str) -> str:
        follows = any(level.mark == _LETTER_BEFORE.get(mark) for level in self.levels)
        if mark.isdigit():
            return "number"
        return "roman" if re.fullmatch("[ivx]+", mark) and not follows else "letter"


def begins_with_point(text: str) -> bool:
    """Whether a text begins with the first point of a list."""
    return _mark_of(text.partition("\n")[0]) in _FIRST


def _mark_of(line: str) -> str:
    found = _MARK.match(line)
    return (found["mark"] or found["bare"]).lower() if found else ""
