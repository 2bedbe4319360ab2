"""Everything that this package raises on purpose.

RatifyError                 exit status 1: the run cannot go on, and says why
├── InputError              exit status 2: what the user gave is wrong; one line, with its place
├── LeakError               held-out text was about to be trained on
├── ShortOfRows             a stage could not make the rows that it was asked for
├── Collapsed               a model in training no longer writes: it was stopped, and is not kept
├── LedgerError             a run's ledger is not the one that was written
└── NotApproved             no approval covers what was about to be used
    ├── Rejected            people said no
    └── ChangesRequested    people want a stage done again
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

UNWRITABLE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES})  # an OSError's errno


class RatifyError(Exception):
    """The base of them all; its text is one line that says what to do next."""

    exit_status = 1


class InputError(RatifyError):
    """Wrong input, with the place where it stands.

    `seen` says what was found, `advice` what to do; `path` and `line` (from 1) where.
    """

    exit_status = 2

    def __init__(self, seen: str, advice: str = "", *, path: Path | str | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}:{line}: " if line else f"{path}: "
        super().__init__(place + one_line(seen) + (f"; {one_line(advice)}" if advice else ""))


class LeakError(RatifyError):
    """Training data holds text of the held-out split."""


class ShortOfRows(RatifyError):
    """Too few rows passed; the counts are in the message."""


class Collapsed(RatifyError):
    """A model in training repeats itself, falls silent or says the same to all; the numbers are in the message."""


class LedgerError(RatifyError):
    """A ledger was edited, cut, reordered or replaced."""


class NotApproved(RatifyError):
    """No approval covers what was about to be used."""


class Rejected(NotApproved):
    """People said no at a gate; nothing later runs."""


class ChangesRequested(NotApproved):
    """People want the stages before a gate done again."""

    def __init__(self, gate: str, message: str) -> None:
        self.gate = gate
        super().__init__(message)


# Characters that no reader sees: controls, which a terminal obeys, and those that turn the direction
# of the text after them.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def readable(text: str) -> str:
    """Foreign text with � for what no reader sees, so that it can neither steer a terminal nor turn a page."""
    return _UNSEEN.sub("\ufffd", text)


def one_line(text: str, limit: int = 500) -> str:
    """Fold whitespace, so that foreign text cannot spread a message over lines."""
    folded = " ".join(readable(text).split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"
