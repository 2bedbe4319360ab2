"""Which clause an example of a policy document shows: only where its place leaves one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prefect_ratify.scenarios.document import Block
from prefect_ratify.scenarios.document_pieces import Entry

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Places:
    """Where the clauses of a document stand: by block, by row of a table (its line), and by section.

    `above` has for each entry the place of the nearest one before it that belongs to no example.
    """

    entries: Sequence[Entry]
    blocks: Sequence[Block]
    by_block: dict[int, list[Entry]]
    by_row: dict[int, list[Entry]]
    by_section: dict[tuple[str, ...], list[Entry]]
    above: Sequence[int]

    def section(self, path: tuple[str, ...]) -> list[Entry]:
        """The clauses of a section, or else of the nearest one above it that has any."""
        above = (path[:length] for length in range(len(path), -1, -1))
        return next((self.by_section[each] for each in above if each in self.by_section), [])

    def shown_by(self, place: int) -> Entry | str:
        """The clause that an example shows, or why that is not known.

        By what it stands in, nearest first: its own block, its row, a list item around it, its
        section; or else by the paragraph before it, where that holds one clause.
        """
        entry = self.entries[place]
        block = self.blocks[entry.block]
        row = self.by_row.get(block.line, []) if block.kind == "cell" else []
        items = (self.by_block.get(item, []) for item in reversed(block.items))
        section = self.section(entry.path)
        for found in (self.by_block.get(entry.block, []), row, *items, section, self._before(place)):
            if len(found) == 1:
                return found[0]
        if not section:
            return "no clause stands in its section"
        return f"its section has {len(section)} clauses, and which one it shows is not said"

    def _before(self, place: int) -> list[Entry]:
        """The clauses of the paragraph above an example and others like it, in the same section."""
        entry, near = self.entries[place], self.entries[self.above[place]]
        is_paragraph = near.block >= 0 and self.blocks[near.block].kind == "paragraph"
        return self.by_block.get(near.block, []) if is_paragraph and near.path == entry.path else []


def places_of(entries: Sequence[Entry], blocks: Sequence[Block]) -> Places:
    """The places of all clauses."""
    clauses = [entry for entry in entries if entry.became == "clause"]
    rows = [(blocks[entry.block].line, entry) for entry in clauses if blocks[entry.block].kind == "cell"]
    return Places(
        entries,
        blocks,
        _grouped((entry.block, entry) for entry in clauses),
        _grouped(rows),
        _grouped((entry.path, entry) for entry in clauses),
        _above(entries),
    )


def _above(entries: Sequence[Entry]) -> list[int]:
    places, last = [], 0
    for place, entry in enumerate(entries):
        places.append(last)
        if entry.became not in ("example", "scenario", "layout") and entry.why != "a label":
            last = place
    return places


def _grouped(pairs: Iterable[tuple[Key, Entry]]) -> dict[Key, list[Entry]]:
    found = defaultdict[Key, list[Entry]](list)
    for key, entry in pairs:
        found[key].append(entry)
    return dict(found)
