"""The ledger: every answer given at a gate of a run, in a file that can only grow.

Each entry holds the digest of the one before it, so that an edited, dropped or reordered entry
shows. A chain alone does not show that its end was cut off, or that all of it was written anew;
therefore this worker keeps the head (the last entry, and its digest) in its private folder, with
the run that the ledger belongs to and the digest of what that run was begun with: policy,
scenarios, people, settings. The head also stands in the report and the model card: whoever
publishes it can prove the whole ledger later.

A new entry goes to the private folder first and to the file after it; a crash between the two
is mended when the ledger is read next.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from prefect_ratify.decisions import LedgerEntry, LedgerHead
from prefect_ratify.embedded import file_digest
from prefect_ratify.errors import LedgerError
from prefect_ratify.records import Record, digest
from prefect_ratify.store import append_line, private_folder, read_record, write_private, write_text

FILE, BEGUN = "ledger.jsonl", ".ledger.begun"
ANEW = "start anew with: ratify run --fresh"
R = TypeVar("R", bound=Record)


class Beginning(Record):
    """The first line: a name that no other ledger has, to which the first entry is chained."""

    ledger: str


def begin_ledger(run_folder: Path) -> None:
    """Begin a run's ledger, where there is none, and bind it to what the run is begun with.

    A run that is begun again may bring other people; anything else there would be another run.
    """
    path = run_folder / FILE
    with FileLock(run_folder / ".ledger.lock"):
        if not path.exists() and not (run_folder / BEGUN).exists():
            beginning = Beginning(ledger=secrets.token_hex(32))
            head = LedgerHead(head=beginning.ledger, entry=None, run=_place(run_folder), inputs=_inputs(run_folder))
            _keep_head(beginning.ledger, head)
            write_text(path, beginning.model_dump_json() + "\n")
            write_text(run_folder / BEGUN, "")  # a ledger that is missing later was taken away
            return
        ledger, _ = read_chain(run_folder)
        _keep_head(ledger, _kept(run_folder, ledger).model_copy(update={"inputs": _inputs(run_folder)}))


def read_ledger(run_folder: Path) -> tuple[LedgerEntry, ...]:
    """Every entry, oldest first; LedgerError where the ledger is not the one that was written here."""
    with FileLock(run_folder / ".ledger.lock"):
        return _whole(run_folder)[1]


def append(run_folder: Path, entry: LedgerEntry) -> LedgerEntry:
    """Add an entry, numbered and chained to the one before it; returns it as it was written."""
    with FileLock(run_folder / ".ledger.lock"):
        ledger, entries = _whole(run_folder)
        place = {"number": len(entries) + 1, "previous": head_of(ledger, entries)}
        entry = entry.model_copy(update=place)
        kept = _kept(run_folder, ledger)
        _keep_head(ledger, kept.model_copy(update={"head": digest(entry), "entry": entry}))
        append_line(run_folder / FILE, entry.model_dump_json())
    return entry


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
        # What stands after the last line end was torn off by a crash: `check_head` gives it back.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, ValueError):
        raise LedgerError(f"{path}: the ledger is missing or cannot be read") from None
    if not lines:
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
    path, kept = run_folder / FILE, _kept(run_folder, ledger)
    if kept.inputs != _inputs(run_folder):
        raise LedgerError(f"{run_folder / 'inputs'}: this is not what the run was begun with; {ANEW}")
    found = head_of(ledger, entries)
    if found == kept.head:
        return None
    if kept.entry is not None and found == kept.entry.previous and digest(kept.entry) == kept.head:
        return kept.entry
    written = kept.entry.number if kept.entry else 0
    raise LedgerError(
        f"{path}: {len(entries)} entries are there, and {written} were written, ending in {kept.head[:12]}: "
        f"some were cut off or replaced; {ANEW}"
    )


def _whole(run_folder: Path) -> tuple[str, tuple[LedgerEntry, ...]]:
    """The chain, as this worker wrote it; a crash's missing line is added."""
    ledger, entries = read_chain(run_folder)
    missing = check_head(run_folder, ledger, entries)
    if missing is None:
        return ledger, entries
    text = (run_folder / FILE).read_text(encoding="utf-8")
    write_text(run_folder / FILE, text[: text.rfind("\n") + 1] + missing.model_dump_json() + "\n")
    return ledger, (*entries, missing)


def _kept(run_folder: Path, ledger: str) -> LedgerHead:
    path = _head_path(ledger)
    if not path.exists():
        raise LedgerError(
            f"{run_folder / FILE}: this worker has not written this ledger (or its private folder is gone); {ANEW}"
        )
    kept = read_record(path, LedgerHead)
    if kept.run != _place(run_folder):
        raise LedgerError(f"{run_folder / FILE}: this is the ledger of another run, {kept.run}; {ANEW}")
    return kept


def _place(run_folder: Path) -> str:
    return str(run_folder.resolve())


def _inputs(run_folder: Path) -> str:
    files = [run_folder / "settings.json", *sorted((run_folder / "inputs").glob("*"))]
    return digest({path.name: file_digest(path) for path in files if path.is_file()})


def _keep_head(ledger: str, head: LedgerHead) -> None:
    write_private(_head_path(ledger), head.model_dump(mode="json"))


def _head_path(ledger: str) -> Path:
    return private_folder() / "ledgers" / f"{digest(ledger)[:32]}.json"


def _parsed(kind: type[R], line: str, path: Path, number: int) -> R:
    try:
        return kind.model_validate_json(line)
    except ValueError:
        raise LedgerError(f"{path}:{number}: this is no line of a ledger") from None
