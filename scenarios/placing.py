"""What becomes of each piece of a policy document: a clause, a scenario, an example, or named with a reason.

Every line that is not blank is accounted for. No word is changed; where a list's introduction begins
its sentences (“The assistant must not:”), a clause is made of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from prefect_ratify.scenarios.document import Block, wording
from prefect_ratify.scenarios.document_pieces import (
    OPENING,
    Became,
    Entry,
    about_itself,
    announces_requests,
    asked_in,
    definition_in,
    unread,
)
from prefect_ratify.scenarios.introductions import introduction_of, joined, lowered, sets_condition, why_unclear
from prefect_ratify.scenarios.labels_in_text import Segment, Shows, label_of, segments_of, unquoted
from prefect_ratify.scenarios.normative import (
    is_instruction,
    opens,
    sentences_in,
    why_no_clause,
    without_number,
)

NEAR = 400  # characters before a sentence, in which its “It” may name the model
_RUN_IN = re.compile(r"^(?:\*\*[^*]+\*\*|__[^_]+__)[.:]?$")
_TAIL = re.compile(r"[;,]\s*(?:and|or|and/or)?$", re.IGNORECASE)


def place(text: str, blocks: Sequence[Block], usable: Callable[[str], bool] = bool) -> list[Entry]:
    """What became of every piece, in the order of lines; `usable` says whether a text can stand as a clause."""
    placing = _Placing(blocks, text.split("\n"), usable)
    for place in range(len(blocks)):
        placing.read(place)
    return sorted([*placing.entries, *unread(text, placing.entries)], key=lambda entry: (entry.line, entry.last))


class _Placing:
    """One walk over the blocks. The query, and what the next block shows, are forgotten at each heading."""

    def __init__(self, blocks: Sequence[Block], lines: Sequence[str], usable: Callable[[str], bool]) -> None:
        self.blocks, self.lines, self.usable = blocks, lines, usable
        self.entries: list[Entry] = []
        self.clauses: dict[str, int] = {}  # line by text
        self.read_already: set[int] = set()
        self.query = ""
        self.answered = False
        self.section: Shows | None = None  # what a heading says of all beneath it
        self.next: tuple[Shows, int] | None = None  # what a label without text says of the next block

    def read(self, place: int) -> None:
        block = self.blocks[place]
        if place in self.read_already:
            return
        if block.kind == "front matter":
            self._add(place, "context", block.text, why="front matter")
        elif block.kind == "heading":
            self._heading(place, block)
        elif block.kind == "column":
            self._add(place, "heading", block.text, why="a column of a table")
        elif block.kind == "html":
            comment = block.text.lstrip().startswith("<!--")
            self._add(place, "not placed", block.text, why="a comment in HTML" if comment else "HTML is not read")
        elif block.kind == "cell":
            self._row(place, block)
        else:
            self._text(place, block)

    def _add(self, place: int, became: Became, text: str, start: int = 0, **fields: object) -> None:
        """An entry for a part of a block that begins `start` lines below its first one."""
        block = self.blocks[place]
        line = min(block.line + start, block.last)
        whole = text == block.text
        last = block.last if whole else min(line + text.count("\n"), block.last)
        if text.strip() or became == "heading":
            entry = Entry(line, last, became, text, path=block.path, block=place)
            self.entries.append(replace(entry, **fields))  # type: ignore[arg-type]

    def _heading(self, place: int, block: Block) -> None:
        self._add(place, "heading", block.text, used=wording(block.text))
        label = label_of(wording(block.text))
        shows = label.shows if label and label.sure else None
        self.section, self.next, self.answered = shows if shows in ("good", "bad") else None, None, False
        if self.section is None:
            self.query = ""

    def _text(self, place: int, block: Block) -> None:
        defined = definition_in(block.text, block.path)
        if defined:
            self._add(place, "definition", block.text, used=defined)
            return
        shows = self._shown(place, block)
        segments = list(segments_of(block.text))
        if shows and not any(segment.label for segment in segments):
            self._shown_block(place, block, shows)
        elif block.kind == "code" and not any(segment.label for segment in segments):
            self._add(place, "not placed", block.text, why="a block of code")
        else:
            for segment in segments:
                if segment.label:
                    self._labelled(place, segment, shows)
                else:
                    self._sentences(place, segment.text, segment.line)

    def _shown(self, place: int, block: Block) -> Shows | None:
        """What a label or heading above a block says that it shows."""
        if self.next:
            shows, at = self.next
            if block.kind == "item" and block.lead == at:
                return shows
            self.next = None
            return None if block.kind == "item" else shows
        wholly = unquoted(block.text)[1]
        is_example = bool(block.quote) or block.kind in ("code", "item") or wholly
        return self.section if is_example else None

    def _shown_block(self, place: int, block: Block, shows: Shows) -> None:
        """A whole block, with those after it in the same quotation."""
        same = [place]
        while block.quote and same[-1] + 1 < len(self.blocks) and self.blocks[same[-1] + 1].quote == block.quote:
            same.append(same[-1] + 1)
        parts = [self.blocks[each].text for each in same]
        said = "\n\n".join(part if block.kind == "code" else unquoted(wording(part))[0] for part in parts)
        self._show(place, block.text, 0, shows, said)
        for each in same[1:]:
            self.read_already.add(each)
            self._add(each, "context", self.blocks[each].text, why=f"goes on from line {block.line}")

    def _labelled(self, place: int, segment: Segment, above: Shows | None) -> None:
        label = segment.label
        assert label is not None
        said, quoted = unquoted(wording(segment.text[label.start :]))
        shows: Shows = above if label.shows == "answer" and above in ("good", "bad") else label.shows
        if not said:
            self._add(place, "context", segment.text, segment.line, why="a label")
            if label.sure:
                self.next = (shows, place)
        elif shows in ("good", "bad") and not (label.sure or quoted or self.query):
            self._rule(place, segment, said, shows)
        else:
            self._show(place, segment.text, segment.line, shows, said)

    def _show(self, place: int, text: str, start: int, shows: Shows, said: str) -> None:
        if shows == "query":
            self._query(place, text, start, said)
        elif shows == "answer":
            self.answered = True
            self._add(place, "not placed", text, start, why="an answer that is marked neither good nor bad")
        else:
            self._add(place, "example", text, start, used=said, good=shows == "good", query=self.query)

    def _query(self, place: int, text: str, start: int, said: str) -> None:
        if self.answered and text.count("\n") == 0 and start:
            self._add(place, "not placed", text, start, why="a later turn of a conversation; write it as messages")
            self.query = ""
            return
        self.query, self.answered = said, False
        self._add(place, "scenario", text, start, used=said)

    def _rule(self, place: int, segment: Segment, said: str, shows: Shows) -> None:
        """A line under “Do:”, “Don't:” or a sign that shows no example: a rule, where its words say which."""
        name = segment.text[: segment.label.start].strip(" \t*_:：") if segment.label else ""
        if shows == "good" or not is_instruction(said):
            self._clause(place, segment.text, segment.line, said)
        elif opens(name):
            self._clause(place, segment.text, segment.line, f"{name} {lowered(said)}")
        else:
            why = f"whether {name or 'its sign'} marks an example or what must not be done is not clear"
            self._add(place, "not placed", segment.text, segment.line, why=why, is_sentence=True)

    def _row(self, place: int, block: Block) -> None:
        """The cells of a row: what shows something by its column first, so that rules and examples meet."""
        rest = range(place, len(self.blocks))
        row = ("cell", block.line)
        cells = list(takewhile(lambda each: (self.blocks[each].kind, self.blocks[each].line) == row, rest))
        self.read_already.update(cells)
        shown = {each: label_of(f"{self.blocks[each].column}:") for each in cells}
        raw = self.lines[block.line - 1].strip(" \t>|")
        if len(re.split(r"(?<!\\)\|", raw)) > len(cells):
            self._add(place, "not placed", raw, why="the row has more cells than the table has columns")
            return
        self.query = ""
        queries = [each for each, label in shown.items() if label and label.shows == "query"]
        for each in [*queries, *(cell for cell in cells if cell not in queries)]:
            text, label = self.blocks[each].text, shown[each]
            if label and text.strip():
                head = f"{self.blocks[each].column}: "
                self._cell(each, Segment(replace(label, start=len(head)), head + text, 0))
            else:
                self._sentences(each, text, 0)
        self.query = ""

    def _cell(self, place: int, segment: Segment) -> None:
        before = len(self.entries)
        self._labelled(place, segment, None)
        for at in range(before, len(self.entries)):
            self.entries[at] = replace(self.entries[at], text=self.blocks[place].text)

    def _sentences(self, place: int, text: str, start: int) -> None:
        block = self.blocks[place]
        if self._is_query(block, text):
            self._query(place, text, start, unquoted(wording(text))[0])
            self.query = ""
            return
        last = 0
        for number, (begin, end) in enumerate(sentences_in(text)):
            start += text[last:begin].count("\n")
            last = begin
            self._sentence(place, text[begin:end].rstrip(), start, text[max(0, begin - NEAR) : begin], number)

    def _is_query(self, block: Block, text: str) -> bool:
        """Whether a list item is one of the requests that a heading or introduction announces."""
        if block.kind != "item":
            return False
        above = [block.path[-1]] if block.path else []
        above += [self.blocks[block.lead].text] if block.lead is not None else []
        said, quoted = unquoted(wording(text))
        return any(map(announces_requests, above)) and (quoted or said.endswith("?"))

    def _sentence(self, place: int, raw: str, start: int, before: str, number: int) -> None:
        block, said = self.blocks[place], without_number(wording(raw))
        lead = introduction_of(block, self.blocks)
        lead = lead if number == 0 or sets_condition(lead) else ""
        why = _why_not_here(block) or why_unclear(block, self.blocks, said, lead)
        if why:
            self._add(place, "not placed", raw, start, why=why, is_sentence=True)
        elif opens(lead) or sets_condition(lead):
            item = _TAIL.sub("", said).rstrip()
            whole = joined(lead, item)
            self._clause(place, raw, start, whole, how="" if whole == item else "with what stands above its list")
        else:
            self._clause(place, raw, start, said, before)
        for query in asked_in(raw):
            self._add(place, "scenario", raw, start, used=query)

    def _clause(self, place: int, raw: str, start: int, said: str, before: str = "", how: str = "") -> None:
        """A clause, where the sentence is one by its words; else what it is, or why it is not placed."""
        why = "it only introduces what follows" if self._introduces(place, raw) else why_no_clause(said, before=before)
        key = " ".join(said.lower().split()).rstrip(".!")
        if not why and not self.usable(said):
            why = "it is too long for one clause, or cannot be written as one"
        context = self._context(place, raw) if why else ""
        if context:
            self._add(place, "context", raw, start, used=said, why=context)
        elif why:
            self._add(place, "not placed", raw, start, why=why, is_sentence=True)
        elif key in self.clauses:
            self._add(place, "duplicate", raw, start, used=said, why=f"says the same as line {self.clauses[key]}")
        else:
            self.clauses[key] = self.blocks[place].line + start
            self._add(place, "clause", raw, start, used=said, why=how)

    def _context(self, place: int, raw: str) -> str:
        """What a sentence is that asks for nothing, where its place says so; empty where it does not."""
        block = self.blocks[place]
        if self._introduces(place, raw):
            return "introduces a list"
        if re.match(r"^[\w ]{1,30}:$", wording(raw)):
            return "a label"
        if _RUN_IN.match(raw.strip()) and len(raw.split()) <= 8:
            return "a heading within the text"
        is_opening = block.kind == "paragraph" and len(block.path) <= 1 and not block.quote and not self.clauses
        return OPENING if is_opening else ""

    def _introduces(self, place: int, raw: str) -> bool:
        """Whether a sentence goes on in the list beneath it."""
        said = wording(raw)
        is_lead = any(other.lead == place for other in self.blocks[place + 1 : place + 2])
        return is_lead and (said.endswith((":", ",", "—", "–")) or opens(said))


def _why_not_here(block: Block) -> str:
    """Why no sentence of a block is a clause, whatever its words."""
    about = about_itself(block.path)
    if about:
        return f"its section “{about}” is about the document"
    return "it stands in a quotation, and whose words it is is not said" if block.quote else ""
