"""Many rows at once: the stage in a process that is killed twice on the way and goes on, and what that took.

    python -m tests.data_bench.at_size [--rows 100000] [--beside 10000]

Says of each size: whether it finished, the most memory that a process held, how many calls the server
saw and how many of them were made twice (what was under way at a kill, and nothing else), and
whether a shard that was made was written again; then the memory of the two sizes as a ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from prefect_ratify.finetune.dataset import SUPERVISED, shard_name, stream_rows
from tests.benching import ROOT, Row, counted, empty_folder, served

SCENARIOS = 1000
DELAY = 0.02  # seconds
KILLS = (1 / 3, 2 / 3)  # of all shards are made
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_KILL = 0.5  # after that: in the midst of other shards


@dataclass
class Found:
    """What came of one size."""

    rows: int
    planned: int = 0
    calls: int = 0
    different: int = 0
    under_way: list[int] = field(default_factory=list)  # at each kill: asked for, and not kept
    peak_mb: float = 0.0
    seconds: float = 0.0
    there: int = 0
    written_again: int = 0
    killed: int = 0

    @property
    def problems(self) -> list[str]:
        """What is not as it has to be."""
        held = {
            f"killed {self.killed} times, not {len(KILLS)}": self.killed == len(KILLS),
            f"{self.there} of {self.rows} rows are there": self.there == self.rows,
            f"{self.different} different calls where {self.planned} were planned": self.different == self.planned,
            f"{self.calls - self.different} calls made twice": self.calls - self.different == sum(self.under_way),
            f"{self.written_again} shards written again": not self.written_again,
        }
        return [problem for problem, holds in held.items() if not holds]


class Work:
    """The stage as a process, which may be ended and begun again, and what it has written so far."""

    def __init__(self, url: str, folder: Path, rows: int) -> None:
        self.folder, self.found = folder, Found(rows)
        module = ["-m", "tests.data_bench.ours", url, str(folder)]
        self._command = [sys.executable, *module, str(SCENARIOS), str(rows // SCENARIOS)]
        self._files: dict[str, tuple[int, int]] = {}

    def go_on(self, until: float = 2.0) -> None:
        """Work until that share of the shards is made, and then kill it; to the end, if that does not come."""
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        with subprocess.Popen(self._command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and self._share() < until:
                self.found.peak_mb = max(self.found.peak_mb, _peak_mb(process.pid))
                self.look()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            if until < 1:
                time.sleep(SECONDS_TO_KILL)
            process.kill()
        if process.returncode not in (0, -signal.SIGKILL) or (until > 1 and process.returncode):
            raise RuntimeError(f"the stage ended with status {process.returncode}")
        self.found.killed += process.returncode == -signal.SIGKILL

    def look(self) -> None:
        """Note the files of the shards that are made; count those that are not the ones noted before."""
        for stage in self._stage():
            for done in (stage / "shards").glob("*.json"):
                path = stage / SUPERVISED / shard_name(int(done.stem))
                try:
                    state = path.stat().st_ino, path.stat().st_mtime_ns
                except FileNotFoundError:
                    return  # the stage is done, and its folder has another name now; the last look sees it
                self.found.written_again += self._files.setdefault(done.stem, state) != state

    def kept(self) -> int:
        """How many answers the store holds."""
        with closing(sqlite3.connect(self.folder / ".ratify" / "calls.sqlite")) as database:
            return int(database.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    def count(self) -> None:
        """Count the rows that are there, each once, and the calls that were planned."""
        (stage,) = self._stage()
        self.found.planned = json.loads((stage / "plan.json").read_text())["calls"]
        self.found.there = len({row["id"] for row in stream_rows(stage / SUPERVISED, ["id"])})

    def _share(self) -> float:
        made = sum(len(list((stage / "shards").glob("*.json"))) for stage in self._stage())
        return made * 250 / self.found.rows

    def _stage(self) -> Iterator[Path]:
        return self.folder.glob(".ratify/runs/*/generate*")


def measured(rows: int) -> Found:
    """Make so many rows, killed twice."""
    started = time.monotonic()
    with empty_folder() as folder, served("tests.data_bench.server", DELAY) as url:
        work = Work(url, folder / "project", rows)
        found = work.found
        for share in KILLS:
            work.go_on(until=share)
            while counted(url)["now"]:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            found.under_way.append(counted(url)["different"] - work.kept())
        work.go_on()
        work.look()
        work.count()
        found.calls, found.different = (counted(url)[name] for name in ("calls", "different"))
    found.seconds = time.monotonic() - started
    return found


def measure(rows: int = 10_000, beside: int = 1000) -> list[Row]:
    """The lines of `make bench`: whether the larger size was right, and its memory beside that of the smaller."""
    small, large = measured(beside), measured(rows)
    name, goal = f"{rows:,} rows, killed twice", "0 problems"
    found = large.problems  # the smaller one may end before it is killed
    ratio, compared = large.peak_mb / small.peak_mb, f"{large.peak_mb:.0f} MB against {small.peak_mb:.0f} MB"
    return [
        (name, str(len(found)), "problems", "; ".join(found) or f"{large.calls} calls as planned", goal),
        (f"peak memory against {beside:,} rows", f"{ratio:.2f}", "times", compared, "<= 1.2"),
    ]


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    held = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(held[0]) / 1024 if held else 0.0


def told(found: Found) -> str:
    """What came of one size, in two lines."""
    twice = found.calls - found.different
    return (
        f"{found.rows:,} rows in {found.seconds:.0f} s, killed {found.killed} times: "
        f"{'; '.join(found.problems) or 'as it has to be'}\n"
        f"  {found.calls:,} calls seen, {found.planned:,} planned, {twice} made twice "
        f"({' + '.join(map(str, found.under_way))} were under way at the kills); peak {found.peak_mb:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.data_bench.at_size")
    parser.add_argument("--rows", type=int, default=100_000, help="a multiple of 1,000")
    parser.add_argument("--beside", type=int, default=10_000, help="the size that its memory is compared with")
    options = parser.parse_args()
    small = measured(options.beside)
    print(told(small), flush=True)
    large = measured(options.rows)
    print(told(large))
    print(f"peak memory, {options.rows:,} against {options.beside:,} rows: {large.peak_mb / small.peak_mb:.2f} times")


if __name__ == "__main__":
    main()
