"""One line of progress for long work: how much is done, how fast, and how long it may take.

On a terminal the line is rewritten in place; elsewhere (a log, CI) a line is written every
few seconds. It goes to standard error, so that output can be piped.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

SECONDS_BETWEEN_LINES = 10.0


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line about where the work stands."""
    print(text, file=stream or sys.stderr, flush=True)


class Meter:
    """Counts answers and tokens of one piece of work; use as a context manager."""

    def __init__(self, label: str, total: int, reused: int = 0) -> None:
        self.label, self.total, self.reused = label, total, reused
        self.answers = self.tokens = 0
        self.started = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def add(self, answers: int = 0, tokens: int = 0) -> None:
        """Count, and show the line when it is due."""
        self.answers += answers
        self.tokens += tokens
        now = time.monotonic()
        if self.label and now - self.shown >= (0.5 if self.live else SECONDS_BETWEEN_LINES):
            self.shown = now
            self._show(now)

    def line(self, now: float) -> str:
        """The text of the line at the time `now` (of the monotonic clock)."""
        passed = max(now - self.started, 1e-9)
        parts = [f"{self.label}: {self.answers}/{self.total} answers"]
        if self.reused:
            parts.append(f"{self.reused} reused")
        if self.tokens:
            parts.append(f"{self.tokens / passed:.0f} tokens/s")
        if 0 < self.answers < self.total:
            parts.append(f"about {duration(passed / self.answers * (self.total - self.answers))} left")
        elif self.answers == self.total:
            parts.append(duration(passed))
        return " · ".join(parts)

    def _show(self, now: float, end: str = "") -> None:
        if self.live:
            print(f"\r\033[K  {self.line(now)}", end=end, file=sys.stderr, flush=True)
        else:
            say(f"  {self.line(now)}")

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.label and self.total:
            self._show(time.monotonic(), end="\n")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
