"""What benches against other tools share: timed processes, a server beside them, an environment for each tool.

Competitors are installed into `.bench/`, at fixed versions, so that figures of two days can be compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BENCH = ROOT / ".bench"
LIMIT = 1800  # seconds for one process

Row = tuple[str, str, str, str, str]


class NotInstalled(Exception):
    """A competitor could not be installed."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to: its seconds, or what went wrong."""

    seconds: float = 0.0
    peak_mb: float = 0.0
    problem: str = ""


@contextmanager
def served(module: str, delay: float) -> Iterator[str]:
    """The address of the server that this module is, until the block ends."""
    command = [sys.executable, "-m", module, "--delay", str(delay)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def counted(url: str, page: str = "count") -> dict[str, int]:
    """What the server counted; the page `reset` begins anew."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/{page}") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def timed(url: str, calls: int, at_once: int, command: list[str]) -> Outcome:
    """One process, held to the number of calls in all and at once; it prints its seconds as its last line."""
    counted(url, "reset")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return Outcome(problem=f"took more than {LIMIT} s")
    if done.returncode:
        return Outcome(problem=last_line(done.stderr))
    found = counted(url)
    if found["calls"] != calls or found["most_at_once"] > at_once:
        return Outcome(problem=f"made {found['calls']} calls, {found['most_at_once']} at once")
    said: dict[str, Any] = json.loads(last_line(done.stdout))
    return Outcome(said["seconds"], said.get("peak_mb", 0.0))


def install(folder: Path, what: str, commands: list[list[str]]) -> None:
    """Run the commands, unless a note in the folder says that the same was installed before."""
    note = folder / "installed.txt"
    if note.is_file() and note.read_text(encoding="utf-8") == what:
        return
    print(f"installing {what} into {folder.relative_to(ROOT)}", flush=True)
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalled(f"could not be installed: {error}") from None
        if done.returncode:
            raise NotInstalled(f"could not be installed: {_errors(done.stderr)}")
    note.write_text(what, encoding="utf-8")


def install_packages(name: str, *packages: str) -> Path:
    """The Python of an environment of its own that has these packages, and what they need."""
    folder = BENCH / name
    python = folder / "bin" / "python"
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *packages],
    ]
    install(folder, ", ".join(package.replace("==", " ") for package in packages), commands)
    return python


@contextmanager
def empty_folder() -> Iterator[Path]:
    """An empty folder for one run's results, on the same disk for everyone."""
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        yield Path(folder)


def median(outcomes: list[Outcome]) -> Outcome:
    """The median of several runs of the same; a problem of one is theirs."""
    problem = next((outcome.problem for outcome in outcomes if outcome.problem), "")
    seconds = statistics.median(outcome.seconds for outcome in outcomes)
    return Outcome(seconds, statistics.median(outcome.peak_mb for outcome in outcomes), problem)


def against(name: str, ours: Outcome, other_name: str, other: Outcome, slower: bool = False) -> Row:
    """Our seconds beside another's: how many times slower, or else faster, we are."""
    goal = "<= 2" if slower else ">= 3"
    if other.problem:
        return (name, "failed", "-", f"{other_name} {other.problem}", goal)
    if ours.problem:
        return (name, "failed", "-", f"{other.seconds:.1f} s of {other_name}; ours: {ours.problem}", goal)
    ratio = ours.seconds / other.seconds
    compared = f"{ours.seconds:.1f} s against {other.seconds:.1f} s of {other_name}"
    return (name, f"{ratio if slower else 1 / ratio:.1f}", "times", compared, goal)


def _errors(text: str) -> str:
    """What pip or npm says went wrong; the lines after that are about their log files."""
    return "; ".join([line for line in text.splitlines() if "error" in line.lower()][:2])[:200]


def last_line(text: str) -> str:
    """The last line of what a process said, cut to a length that can be shown."""
    return (text.strip().splitlines() or ["no output"])[-1][:200]
