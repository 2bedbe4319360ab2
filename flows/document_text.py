"""What became of a policy document, in Markdown for the project and in lines for the terminal.

The document is foreign text: escaped in Markdown, and on one line without control characters here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.drafting import next_steps
from prefect_ratify.flows.markdown import escaped, table
from prefect_ratify.records import Policy

if TYPE_CHECKING:
    from prefect_ratify.flows.document_draft import Draft, Piece

SHOWN = 5  # pieces at the terminal; import.md has all


def told(draft: Draft, folder: Path) -> list[str]:
    """The lines that an import ends with."""
    return [one_line(line) if not line.startswith("  ") else "  " + one_line(line) for line in _told(draft, folder)]


def _told(draft: Draft, folder: Path) -> Iterator[str]:
    pieces, policy = draft.pieces, draft.policy
    left = [piece for piece in pieces if is_left(piece)]
    notes = sum(piece.entry.became == "example" and bool(piece.id) for piece in pieces) - draft.precedents
    yield (
        f"{draft.source}: {len(policy.clauses)} clauses, {draft.added} scenarios, {draft.precedents} precedents, "
        f"{notes} examples as notes of clauses, {len(policy.definitions)} definitions; "
        f"{len(left)} pieces are not placed"
    )
    for piece in left[:SHOWN]:
        yield f"  not placed, line {piece.entry.line}: {one_line(piece.entry.text, 120)} ({_why(piece)})"
    if len(left) > SHOWN:
        yield f"  not placed: {len(left) - SHOWN} more in import.md"
    yield f"{folder / 'policy.md'}: {len(policy.clauses)} clauses, each with its place in the document as its note"
    if draft.kept:
        yield f"the former policy is kept in {draft.kept}"
    what = "requests that the document quotes" if draft.starter else f"scenarios, {draft.added} of them new"
    yield f"{folder / 'scenarios.yaml'}: {draft.scenarios} {what}"
    if not draft.scenarios:
        yield "the document quotes no request: write scenarios before you go on"
    yield f"{folder / 'import.md'}: what became of every line, and what could not be placed"
    yield next_steps(folder)


def is_left(piece: Piece) -> bool:
    """Whether a piece is neither placed nor known to be none of policy, suite and precedents."""
    return piece.entry.became == "not placed" or (piece.entry.became == "example" and not piece.id)


def markdown(source: Path, policy: Policy, pieces: Sequence[Piece]) -> str:
    """import.md: every piece of the document with its lines, those that could not be placed first."""
    left = [piece for piece in pieces if is_left(piece)]
    placed = [piece for piece in pieces if not is_left(piece) and piece.entry.became != "layout"]
    layout = [str(piece.entry.line) for piece in pieces if piece.entry.became == "layout"]
    counts = Counter(piece.entry.became for piece in placed)
    summed = ", ".join(f"{counts[name]} {name}" for name in counts)
    parts = [
        f"# Import of {escaped(source.name)}: {escaped(policy.title)}",
        "Every line of the document that is not blank stands in one of these lists. Of what is not placed, put what "
        "matters into policy.md or scenarios.yaml by hand.",
        f"## Not placed ({len(left)})\n\n" + _listed(left),
        f"## Placed ({len(placed)})\n\n{summed}.\n\n" + _listed(placed),
        "## Marks without words\n\n" + (f"Lines {', '.join(layout)}." if layout else "None."),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(pieces: Sequence[Piece]) -> str:
    if not pieces:
        return "None."
    return table(["line", "what it became", "text", "id", "remark"], map(_row, pieces))


def _row(piece: Piece) -> list[str]:
    entry = piece.entry
    lines = str(entry.line) if entry.last == entry.line else f"{entry.line}–{entry.last}"
    return [lines, _became(piece), escaped(entry.text), escaped(piece.id), escaped(_why(piece))]


def _became(piece: Piece) -> str:
    entry = piece.entry
    if entry.became != "example" or not piece.id:
        return entry.became
    return f"{'good' if entry.good else 'bad'} {'precedent' if entry.query else 'example, a note of the clause'}"


def _why(piece: Piece) -> str:
    entry = piece.entry
    if entry.became == "example" and not piece.id:
        return f"an example marked {'good' if entry.good else 'bad'}: {piece.why}"
    return f"in answer to: {entry.query}" if entry.became == "example" and entry.query else entry.why
