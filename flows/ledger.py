"""The ledger: every answer given at a gate of a run, in a file that can only grow.

Each entry holds the digest of the one before it, so that an edited, dropped or reordered entry
shows. A chain alone does not show that its end was cut off, or that all of it was written anew;
therefore this worker keeps the head (how many entries, and the last one's digest) in its private
folder, outside the project. The head also stands in the report and the model card: whoever
publishes it can prove the whole ledger later.

A new entry goes to the private folder first and to the file after it; a crash between the two
is mended when the ledger is read next.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from prefect_ratify.errors import LedgerError
from prefect_ratify.records import LedgerEntry, LedgerHead, Record, digest
from prefect_ratify.store import append_line, private_folder, read_record, write_record, write_text

FILE = "ledger.jsonl"
R = TypeVar("R", bound=Record)


class Beginning(Record):
    """The first line: a name that no other ledger has, to which the first entry is chained."""

    ledger: str


def begin_ledger(run_folder: Path) -> None:
    """Begin a run's ledger, where there is none."""
    path = run_folder / FILE
    with FileLock(run_folder / ".ledger.lock"):
        if not path.exists():
            beginning = Beginning(ledger=secrets.token_hex(32))
            write_record(_head_path(beginning.ledger), LedgerHead(head=beginning.ledger, entry=None))
            write_text(path, beginning.model_dump_json() + "\n")


def read_ledger(run_folder: Path) -> tuple[LedgerEntry, ...]:
    """Every entry, oldest first; LedgerError where the ledger is not the one that was written here."""
    with FileLock(run_folder / ".ledger.lock"):
        return _whole(run_folder)[1]


def append(run_folder: Path, make: Callable[[tuple[LedgerEntry, ...], str], LedgerEntry]) -> LedgerEntry:
    """Add the entry that `make` gives for the entries so far and the digest to chain it to."""
    with FileLock(run_folder / ".ledger.lock"):
        ledger, entries = _whole(run_folder)
        entry = make(entries, head_of(ledger, entries))
        write_record(_head_path(ledger), LedgerHead(head=digest(entry), entry=entry))
        append_line(run_folder / FILE, entry.model_dump_json())
    return entry


def requests(run_folder: Path, *gates: str) -> tuple[str, ...]:
    """What people asked to be changed at these gates, oldest first."""
    return tuple(
        entry.comment
        for entry in read_ledger(run_folder)
        if entry.gate in gates and entry.decision == "request changes" and entry.comment and not entry.refused
    )


def head_digest(run_folder: Path) -> str:
    """The digest that stands for the whole ledger."""
    with FileLock(run_folder / ".ledger.lock"):
        return head_of(*_whole(run_folder))


def head_of(ledger: str, entries: tuple[LedgerEntry, ...]) -> str:
    """The last entry's digest, or the ledger's own name while it has none."""
    return digest(entries[-1]) if entries else ledger


def read_chain(run_folder: Path) -> tuple[str, tuple[LedgerEntry, ...]]:
    """The ledger's name and its entries, chained as they should be; LedgerError where they are not."""
    path = run_folder / FILE
    try:
        # Not splitlines: a comment may hold U+0085 or U+2028, which are line ends to Python alone.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError):
        raise LedgerError(f"{path}: the ledger is missing or cannot be read") from None
    if lines == [""]:
        raise LedgerError(f"{path}: the ledger is empty: its first line was cut off")
    ledger = _parsed(Beginning, lines[0], path, 1).ledger
    entries: list[LedgerEntry] = []
    previous = ledger
    for number, line in enumerate(lines[1:], 1):
        entry = _parsed(LedgerEntry, line, path, number + 1)
        if entry.number != number or entry.previous != previous:
            raise LedgerError(f"{path}:{number + 1}: entry {number} does not follow the one before it")
        previous = digest(entry)
        entries.append(entry)
    return ledger, tuple(entries)


def check_head(run_folder: Path, ledger: str, entries: tuple[LedgerEntry, ...]) -> LedgerEntry | None:
    """Hold a chain against the head that this worker keeps; LedgerError where it is another one.

    Returns the entry that a crash kept from the file, if it did.
    """
    path, kept_at = run_folder / FILE, _head_path(ledger)
    if not kept_at.exists():
        raise LedgerError(
            f"{path}: this worker has not written this ledger (or its private folder is gone); start anew with --fresh"
        )
    kept = read_record(kept_at, LedgerHead)
    found = head_of(ledger, entries)
    if found == kept.head:
        return None
    if kept.entry is not None and found == kept.entry.previous and digest(kept.entry) == kept.head:
        return kept.entry
    written = kept.entry.number if kept.entry else 0
    raise LedgerError(
        f"{path}: {len(entries)} entries are there, and {written} were written, ending in {kept.head[:12]}: "
        "some were cut off or replaced"
    )


def _whole(run_folder: Path) -> tuple[str, tuple[LedgerEntry, ...]]:
    """The chain, as this worker wrote it; a crash's missing line is added."""
    ledger, entries = read_chain(run_folder)
    missing = check_head(run_folder, ledger, entries)
    if missing is None:
        return ledger, entries
    append_line(run_folder / FILE, missing.model_dump_json())
    return ledger, (*entries, missing)


def _head_path(ledger: str) -> Path:
    return private_folder() / "ledgers" / f"{digest(ledger)[:32]}.json"


def _parsed(kind: type[R], line: str, path: Path, number: int) -> R:
    try:
        return kind.model_validate_json(line)
    except ValueError:
        raise LedgerError(f"{path}:{number}: this is no line of a ledger") from None
