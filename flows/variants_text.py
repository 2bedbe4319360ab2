"""Variants at a terminal: clause by clause the rates, the differences against the draft, and the wordings.

Text of people is put into `Text`, which obeys no markup, with nothing in it that a terminal obeys. Words
that a variant leaves out or puts in stand in [-…-] and {+…+}, so that no reader has to see colours.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line, readable
from prefect_ratify.flows.pages import gap, gap_reach, percent, reach
from prefect_ratify.flows.regressing import Bench
from prefect_ratify.flows.regression_page import SPLITS
from prefect_ratify.flows.regression_words import arrow
from prefect_ratify.flows.taking import Taken
from prefect_ratify.flows.terminal import STYLES, heading
from prefect_ratify.flows.variants import Best, Tried
from prefect_ratify.flows.variants_words import (
    cautions,
    next_steps,
    notices,
    pairs,
    sums,
    told_best,
    undecided,
    wording,
)
from prefect_ratify.flows.versions import DRAFT, FORMER, Versions
from prefect_ratify.flows.word_difference import Piece
from prefect_ratify.scenarios.comparing import ALL

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LONGEST_NAME = 22
FIGURES = 20  # columns for the indent and `100 % [100–100]`
FRAMES = {"deleted": ("[-", "-]", STYLES["worse"]), "inserted": ("{+", "+}", STYLES["better"])}


def show(versions: Versions, bench: Bench, tried: Tried) -> None:
    """Print what trying the variants came to, and what to do next."""
    from rich.console import Console

    console = Console(highlight=False)
    for part in _parts(versions, bench, tried):
        console.print(part)


def told_taken(folder: Path, taken: Taken) -> str:
    """What was taken, in lines."""
    if taken.former is None:
        return f"{folder / 'policy.md'} has these clauses already; nothing was changed."
    back = shlex.join(["ratify", "variants", str(folder), "--take", f"{FORMER}{taken.former.stem}"])
    kept = f"What it was before is kept in {taken.former}, and is not tried. To have it back:\n  {back}"
    if taken.restored:
        return f"{folder / 'policy.md'} is again what {taken.restored} is.\n{kept}"
    clauses = ", ".join(f"{clause_id} of {name}" for clause_id, name in taken.clauses.items())
    return (
        f"{folder / 'policy.md'} was written anew with {clauses}.\n"
        f"{kept}\n"
        "Together these were not tried yet: run `ratify variants` again."
    )


def _parts(versions: Versions, bench: Bench, tried: Tried) -> Iterator[RenderableType]:
    count = tried.regression.scenarios
    yield ""
    yield _line(f"{versions.policy.title}: the draft (policy.md) and {', '.join(tried.names[1:])}", "bold")
    yield _line(
        f"{count} {SPLITS[tried.regression.split]}; clauses upheld, in %, and differences against the draft in "
        "points, with 95 % intervals over scenarios"
    )
    yield from (_line(f"! {told}") for told in notices(versions, bench))
    for best in tried.best:
        yield ""
        yield from _clause(best, versions, tried)
    yield from heading("Clauses that move together, from the draft")
    for name in tried.names[1:]:
        yield _line(f"{name}: {sums(tried, name)}")
        yield from (_indented(_text(told), 4) for told in pairs(tried, name))
    yield ""
    yield from (_line(f"! {told}") for told in cautions(tried))
    yield from _next(bench.project.folder, versions, tried)
    if tried.regression.dollars:
        yield _line(f"Spent: ${tried.regression.dollars:.4f}", "dim")


def _next(folder: Path, versions: Versions, tried: Tried) -> Iterator[RenderableType]:
    from rich.text import Text

    yield from heading("Next")
    for command, purpose in next_steps(folder, versions, tried):
        yield Text(readable(command), "bold", no_wrap=True, overflow="ignore")  # to be copied as one line
        yield _indented(_text(purpose), 4)


def _clause(best: Best, versions: Versions, tried: Tried) -> Iterator[RenderableType]:
    """A clause: which version is best, and a line for each with its wording beneath."""
    from rich.text import Text

    name = best.clause_id.capitalize() if best.clause_id == ALL else one_line(best.clause_id)
    style = STYLES["better"] if best.is_shown else ""
    yield Text.assemble((name, "bold"), "  ", (told_best(best, versions), style))
    for version in tried.names:
        yield _version(version, best.clause_id, tried)
        pieces = wording(versions, version, best.clause_id)
        if pieces:
            yield _indented(_marked(pieces), 6)


def _version(name: str, clause_id: str, tried: Tried) -> Text:
    from rich.text import Text

    width = min(max(len(each) for each in tried.names), LONGEST_NAME)
    rate, padded = tried.rate(name, clause_id), Text(name)
    padded.truncate(width, overflow="ellipsis", pad=True)
    if rate.interval.value is None:
        return Text.assemble("  ", padded, "  nothing decided")
    figures = f"{percent(rate.interval.value):>5} [{reach(rate.interval)}]"
    open_verdicts = f" ({undecided(rate)})" if undecided(rate) else ""
    line = Text.assemble("  ", padded, "  ", figures, open_verdicts)
    if name != DRAFT:
        line.pad_right(max(0, width + FIGURES - len(line)))
        line.append_text(_difference(name, clause_id, tried))
    return line


def _difference(name: str, clause_id: str, tried: Tried) -> Text:
    from rich.text import Text

    d = tried.difference(DRAFT, name, clause_id)
    style = f"bold {STYLES.get(d.finding, '')}".strip()
    moved = f"{gap(d.interval)} [{gap_reach(d.interval)}]" if d.interval.value is not None else "not decided on both"
    return Text.assemble(f" {arrow(d) or ' '} {moved}  ", (d.finding, style))


def _marked(pieces: Sequence[Piece]) -> Text:
    from rich.text import Text

    text = Text()
    for piece in pieces:
        opens, closes, style = FRAMES.get(piece.tone, ("", "", ""))
        text.append(f"{opens}{readable(piece.text)}{closes}", style if piece.text.strip() else "")
    return text


def _line(text: str, style: str = "") -> Text:
    return _text(one_line(text, limit=10_000), style)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(readable(text), style)


def _indented(text: Text, by: int) -> RenderableType:
    from rich.padding import Padding

    return Padding(text, (0, 0, 0, by), expand=False)
