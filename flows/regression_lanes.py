"""Rates drawn in characters: a dot with its interval on a scale from 0 to 100 %, readable without colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.pages import percent, reach
from prefect_ratify.flows.regressing import Regression
from prefect_ratify.scenarios.comparing import Rate
from prefect_ratify.scenarios.statistics import Interval

if TYPE_CHECKING:
    from rich.text import Text

MARKS = "●○◇□△▽☆◎"  # of the conditions, the one that is compared with the others first
FIGURES = 17  # columns for `100 % [100–100]`
TICKS = (0, 25, 50, 75, 100)
WIDEST_SCALE, LONGEST_NAME = 81, 22


@dataclass(frozen=True)
class Sheet:
    """How the lines are laid out: each condition's mark, and how many columns names, scale and all have."""

    marks: dict[str, str]
    names: int
    scale: int
    width: int

    @property
    def drawn(self) -> list[str]:
        """The conditions in the order in which they are drawn: what is compared with the others comes last."""
        subject, *others = self.marks
        return [*others, subject]


def sheet_for(regression: Regression, width: int) -> Sheet:
    """The sheet of a regression on a terminal of so many columns."""
    from rich.cells import cell_len

    conditions = [one_line(measured.name) for measured in regression.conditions]
    names = min(max((cell_len(name) for name in conditions), default=1), LONGEST_NAME)
    scale = max(min(width - names - FIGURES - 6, WIDEST_SCALE), 11)
    marks = {m.name: MARKS[place % len(MARKS)] for place, m in enumerate(regression.conditions)}
    return Sheet(marks, names, scale - (scale - 1) % 4, width)  # so that 25, 50 and 75 % have a column of their own


def axis(sheet: Sheet) -> Text:
    """The scale, above the lanes."""
    from rich.text import Text

    drawn = [" "] * (sheet.scale + 4)
    for tick in TICKS:
        text = f"{tick} %" if tick == 100 else str(tick)
        start = _place(tick / 100, sheet.scale) - (1 if tick == 100 else len(text) // 2)
        drawn[start : start + len(text)] = text
    return Text(" " * (sheet.names + 5) + "".join(drawn).rstrip(), "dim")


def drawn_rate(rate: Rate, sheet: Sheet) -> Text:
    """A condition with its mark, lane and figures."""
    from rich.text import Text

    mark = sheet.marks[rate.condition]
    name = Text(one_line(rate.condition))
    name.truncate(sheet.names, overflow="ellipsis", pad=True)
    figures = "nothing decided"
    if rate.interval.value is not None:
        figures = f"{percent(rate.interval.value):>5} [{reach(rate.interval)}]"
    return Text.assemble("  ", mark, " ", name, " ", _lane(rate.interval, sheet.scale, mark), " ", figures)


def _lane(interval: Interval, width: int, mark: str) -> Text:
    """A dot with its interval on a dotted grid of 0, 25, 50, 75 and 100 %."""
    from rich.text import Text

    places = {_place(tick / 100, width) for tick in TICKS}
    drawn = ["┊" if place in places else " " for place in range(width)]
    if interval.value is None or interval.low is None or interval.high is None:
        return Text("".join(drawn), "dim")
    low, value, high = (_place(share, width) for share in (interval.low, interval.value, interval.high))
    drawn[low : high + 1] = "─" * (high + 1 - low)
    drawn[low], drawn[high] = "├", "┤"
    drawn[value] = mark
    line = Text("".join(drawn))
    line.stylize("dim", 0, low)
    line.stylize("dim", high + 1, width)
    line.stylize("bold", value, value + 1)
    return line


def _place(share: float, width: int) -> int:
    return round(share * (width - 1))
