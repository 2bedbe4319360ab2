"""The decisions of a run: who decided what at which gate, on evidence of which digest."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.records import Approval
from prefect_ratify.store import read_records, write_records


def decisions(run_folder: Path) -> list[Approval]:
    """Every decision of a run, in order."""
    path = run_folder / "decisions.jsonl"
    return read_records(path, Approval) if path.exists() else []


def record_decision(run_folder: Path, decision: Approval) -> None:
    """Append a decision to the run's record."""
    write_records(run_folder / "decisions.jsonl", [*decisions(run_folder), decision])
