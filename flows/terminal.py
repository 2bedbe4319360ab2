"""What every text at a terminal is made of: lines, paragraphs and tables.

They are put into `Text`, which obeys no markup; paragraphs and tables leave nothing in them that a terminal obeys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

STYLES = {"better": "deep_sky_blue3", "worse": "dark_orange3"}  # blue and orange: told apart by nearly everybody


def line(text: str, style: str = "") -> Text:
    """A line, or several, as it stands: its caller makes foreign text in it readable."""
    from rich.text import Text

    return Text(text, style)


def heading(text: str) -> Iterator[RenderableType]:
    """An empty line, and a title."""
    yield ""
    yield line(text, "bold underline")


def indented(text: str, width: int, by: int, hanging: int = 0, *, dim: bool = True, style: str = "") -> RenderableType:
    """A paragraph, all of whose lines but the first begin `hanging` columns further in."""
    from rich.text import Text

    flat = one_line(text, limit=100_000)
    first, rest = " " * by, " " * (by + hanging)
    lines = wrap(flat, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return Text("\n".join(lines), style or ("dim" if dim else ""))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """Names at the left, numbers at the right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 0, 0, 2), header_style="bold")
    for place, name in enumerate(header):
        made.add_column(Text(name), justify="right" if place else "left", overflow="fold", no_wrap="\n" in name)
    for row in rows:
        made.add_row(*[Text(one_line(cell)) for cell in row])
    return made
