"""`ratify ledger verify`: whether a run's ledger is whole, and its evidence what was decided on."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.errors import LedgerError
from prefect_ratify.flows.ledger import check_head, head_of, read_chain
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES


def verify(run: Run, head: str = "") -> str:
    """A line that says that all is well; LedgerError with a line that says what is not.

    `head` is a digest that was published, in whole or its beginning: the ledger must end in it.
    """
    ledger, entries = read_chain(run.folder)
    found = head_of(ledger, entries)
    if head and not found.startswith(head.lower()):
        raise LedgerError(f"{run.folder}: the ledger ends in {found[:16]}, and not in {head[:16]}")
    if not head and (missing := check_head(run.folder, ledger, entries)):
        raise LedgerError(f"{run.folder}: the last entry, by {missing.approver}, is missing; going on restores it")
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if not entry.refused and (entry.gate, entry.evidence) not in seen:
            _require_evidence(run, entry)
            seen.add((entry.gate, entry.evidence))
    return f"run {run.id}: {len(entries)} entries, whole; the evidence is what was decided on; head {found}"


def _require_evidence(run: Run, entry: LedgerEntry) -> None:
    folders = [run.folder, *sorted((run.folder / "rounds").glob("*"))]
    if all(evidence_digest(run, entry.gate, folder) != entry.evidence for folder in folders if _there(folder, entry)):
        raise LedgerError(
            f"entry {entry.number}, by {entry.approver}: what stood at gate {entry.gate} when it was decided on "
            f"(digest {entry.evidence[:16]}) is changed or gone"
        )


def _there(folder: Path, entry: LedgerEntry) -> bool:
    return any((folder / stage).is_dir() for stage in GATES[entry.gate])
