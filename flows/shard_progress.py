"""The line of progress over the shards of a data set: how many of all, how many rows, how long."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.finetune.shards import counts_of, is_made
from prefect_ratify.progress import SECONDS_BETWEEN_LINES, duration, say


class ShardProgress:
    """Which shards of a stage are missing, and what has come of those that were not."""

    def __init__(self, stage_folder: Path, numbers: Sequence[int]) -> None:
        self._folder = stage_folder
        self._all = len(numbers)
        self.missing = [number for number in numbers if not is_made(stage_folder, number)]
        self._done = self._all - len(self.missing)
        self._made = self._rows = self._pairs = 0
        self._said = ""
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def ended(self, number: int) -> None:
        """Count a shard that somebody tried to make, and show the line when it is due."""
        self._made += 1
        counts = counts_of(self._folder, number)
        if counts is not None:
            self._done += 1
            self._rows += counts.demonstrations + counts.retained
            self._pairs += counts.pairs
        now = time.monotonic()
        if now - self._shown >= (0.5 if self._live else SECONDS_BETWEEN_LINES):
            self._shown = now
            self._show("")

    def end(self) -> None:
        """Show the last line, where there is more than one shard."""
        if self._made and self._all > 1:
            self._show("\n")

    def heading(self) -> str:
        """What a shard's own line begins with, where no other is under way."""
        return f"{self.line()} · " if self._all > 1 else ""

    def line(self) -> str:
        """The text of the line."""
        parts = [f"shards: {self._done}/{self._all}"]
        if self._made:
            passed, left = time.monotonic() - self._started, len(self.missing) - self._made
            parts.append(f"{self._rows:,} rows" + (f" and {self._pairs:,} pairs" if self._pairs else ""))
            parts.append(f"about {duration(passed / self._made * left)} left" if left else duration(passed))
        return " · ".join(parts)

    def _show(self, end: str) -> None:
        line = self.line()
        if self._live:
            print(f"\r\033[K  {line}", end=end, file=sys.stderr, flush=True)
        elif line != self._said:
            say(f"  {line}")
        self._said = line
