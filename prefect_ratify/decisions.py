"""What people decide at gates, as the ledger keeps it."""

from __future__ import annotations

from typing import Literal

from prefect_ratify.records import Record

Decision = Literal["approve", "request changes", "reject"]


class LedgerEntry(Record):
    """One answer at a gate, chained to the one before it.

    `evidence` and `rule` are digests of what was shown and of who decides how. `asked` names the
    form that was answered. `refused` says why an answer does not count; it is empty for a vote.
    `proven` votes came with a one-time code. `at` is when the answer reached the server. The
    ledger sets `number` (from 1) and `previous`.
    """

    number: int = 0
    gate: str
    round: int
    evidence: str
    rule: str
    decision: Decision | Literal[""]
    approver: str
    role: str = ""
    comment: str = ""
    at: str
    asked: str = ""
    refused: str = ""
    proven: bool = False
    unattended: bool = False
    previous: str = ""


class LedgerHead(Record):
    """What a worker keeps of a ledger: the digest that stands for all of it, and its last entry.

    `run` is the folder that it belongs to, and `inputs` the digest of what the run was begun with.
    """

    head: str
    entry: LedgerEntry | None
    run: str
    inputs: str
