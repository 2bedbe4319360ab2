"""What the report's sections on pluralism and juries are made of: pictures, changes, sentences and tables.

Cells and sentences are plain text, some of it people's; the template escapes all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prefect_ratify.flows.pages import percent, reach
from prefect_ratify.flows.pictures import Dot, lanes
from prefect_ratify.flows.pluralism_words import direction
from prefect_ratify.scenarios.statistics import Interval

Labels = Mapping[str, str]  # how conditions are named for readers


@dataclass(frozen=True)
class Row:
    """A line of a block's picture: what it is of, a few words on that, and the conditions' dots."""

    name: str
    text: str
    picture: Markup


@dataclass(frozen=True)
class Moved:
    """What changed against one condition, in numbers and in words; `of` is the line of the picture that it is of."""

    first: str
    of: str
    interval: Interval
    said: str

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return bool(direction(self.interval))


@dataclass(frozen=True)
class Table:
    """Figures behind a summary line; all cells are text."""

    summary: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Block:
    """One measure: what it asks, its picture, the changes, sentences, and a table."""

    title: str
    asks: str
    rows: Sequence[Row] = ()
    moved: Sequence[Moved] = ()
    sentences: Sequence[str] = ()
    table: Table | None = None
    people: bool = False  # whether the picture has a dot for people

    @property
    def firsts(self) -> list[str]:
        """The conditions that something is compared with."""
        return list(dict.fromkeys(change.first for change in self.moved))

    @property
    def changes(self) -> list[tuple[str, list[Moved | None]]]:
        """The changes of each line of the picture, in the order of `firsts`."""
        there = {(change.of, change.first): change for change in self.moved}
        return [
            (of, [there.get((of, first)) for first in self.firsts]) for of in dict.fromkeys(c.of for c in self.moved)
        ]


def row(name: str, text: str, dots: Iterable[tuple[str, Interval]], labels: Labels) -> Row:
    """A line with a dot for each condition."""
    drawn = [Dot(condition, label(condition, labels), interval) for condition, interval in dots]
    return Row(name, text, lanes(name, drawn))


def figure(interval: Interval) -> str:
    """`54 % (40–68)`, or a dash."""
    return f"{percent(interval.value)} ({reach(interval)})" if reach(interval) else percent(interval.value)


def label(condition: str, labels: Labels) -> str:
    """A condition's name for readers."""
    return labels.get(condition, condition)
