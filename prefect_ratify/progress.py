"""One line of progress for long work: how much is done, how fast, and how long it may take.

On a terminal the line is rewritten in place; elsewhere (a log, CI) a line is written every
few seconds. It goes to standard error, so that output can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

from prefect_ratify.budget import Spending, money

SECONDS_BETWEEN_LINES = 10.0
_heading: ContextVar[str | None] = ContextVar("heading", default="")


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line about where the work stands."""
    print(text, file=stream or sys.stderr, flush=True)


@contextmanager
def headed(heading: str | None) -> Iterator[None]:
    """Within this block meters show a part of longer work: the heading before their line, and no last line.

    None shows no line: where several parts are under way, each would tear the others'.
    """
    token = _heading.set(heading)
    try:
        yield
    finally:
        _heading.reset(token)


class Meter:
    """Counts answers, tokens and money of one piece of work; use as a context manager.

    `total` is how many answers are needed, as far as that is known: `expect` adds to it.
    """

    def __init__(self, label: str, total: int, spending: Spending | None = None) -> None:
        heading = _heading.get()
        self.label, self.total = "" if heading is None else label, total
        self.heading = heading or ""
        self.spending = spending or Spending()
        self.answers = self.reused = self.tokens = 0
        self.started = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def expect(self, answers: int) -> None:
        """So many more answers are needed."""
        self.total += answers

    def add(self, *, answers: int = 0, reused: int = 0, tokens: int = 0) -> None:
        """Count, and show the line when it is due. `tokens` are those of models in process, as they are made."""
        self.answers += answers
        self.reused += reused
        self.tokens += tokens
        now = time.monotonic()
        if self.label and now - self.shown >= (0.5 if self.live else SECONDS_BETWEEN_LINES):
            self.shown = now
            self._show(now)

    def line(self, now: float) -> str:
        """The text of the line at the time `now` (of the monotonic clock)."""
        passed = max(now - self.started, 1e-9)
        needed = self.total - self.reused
        parts = [f"{self.heading}{self.label}: {self.answers}/{needed} answers"]
        if self.reused:
            parts.append(f"{self.reused} reused")
        if self.tokens:
            parts.append(f"{self.tokens / passed:.0f} tokens/s")
        elif self.spending.tokens:
            parts.append(f"{self.spending.tokens:,} tokens")
        limit = self.spending.budget
        if limit.calls is not None:
            parts.append(f"{self.spending.calls:,} of {limit.calls:,} calls")
        if self.spending.dollars or limit.dollars is not None:
            of = "" if limit.dollars is None else f" of {money(limit.dollars)}"
            parts.append(f"{money(self.spending.dollars)}{of}")
        if 0 < self.answers < needed:
            parts.append(f"about {duration(passed / self.answers * (needed - self.answers))} left")
        elif self.answers == needed:
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
        if self.label and self.answers and not self.heading:
            self._show(time.monotonic(), end="\n")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
