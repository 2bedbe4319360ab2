"""Everyone does the same work against the same server, one after another; what comes of it as lines of `make bench`.

Competitors are installed into `.bench/`, at fixed versions, so that figures of two days can be
compared. One that cannot be installed, fails, makes another number of calls or keeps more than
64 under way gets a line that says so.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.calls_bench.work import AT_ONCE

ROOT = Path(__file__).parent.parent.parent
BENCH = ROOT / ".bench"
INSPECT_AI = "0.3.285"
OPENAI = "3.54.0"
PROMPTFOO = "0.123.1"
NODE = "22.23.3"  # promptfoo's own, because it refuses older ones
LIMIT = 1800  # seconds for one process
TIMES = 3  # bare loop and our own calls take turns; the median of so many counts
LARGER = 5  # times as many calls, to see whether a call stays as cheap

Row = tuple[str, str, str, str, str]

ASKED = """\
{count} questions, each answer judged once: {calls} calls, {at_once} at a time, each answered after {delay:.0f} ms.
  bare         asyncio and aiohttp, {at_once} workers; stores nothing; the calls alone are timed, median of {times}
  ours         responses and judge calls with the call store; the same, median of {times}
  inspect_ai   {inspect_ai}: eval() of a task with one judge call a sample, its log written, after one sample to warm up
  promptfoo    {promptfoo}: one llm-rubric a test, JSON output written; the process less the same process with one test
"""


class NotInstalled(Exception):
    """A competitor could not be installed."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to: its seconds, or what went wrong."""

    seconds: float = 0.0
    peak_mb: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Bench:
    """A server that is running, and how many questions each is asked to put to it."""

    url: str
    count: int

    def bare(self) -> Outcome:
        return self._run(sys.executable, "bare")

    def ours(self) -> Outcome:
        with _folder() as store:
            return self._run(sys.executable, "ours", store)

    def inspect_ai(self) -> Outcome:
        try:
            python = install_inspect_ai()
        except NotInstalled as error:
            return Outcome(problem=str(error))
        with _folder() as logs:
            return self._run(str(python), "inspect_task", logs)

    def promptfoo(self) -> Outcome:
        """The seconds without its start: the first run of one test warms up, the second is taken off."""
        try:
            install_promptfoo()
        except NotInstalled as error:
            return Outcome(problem=str(error))
        with _folder() as folder:
            runs = [replace(self, count=count) for count in (1, 1, self.count)]
            _, start, whole = [run._run(sys.executable, "promptfoo", folder) for run in runs]
        problem = start.problem or whole.problem
        return Outcome(problem=problem) if problem else Outcome(whole.seconds - start.seconds)

    def _run(self, python: str, module: str, *folder: Path) -> Outcome:
        """One module of this folder, run on the work as a process, and held to the number of calls."""
        command = [python, "-m", f"tests.calls_bench.{module}", self.url, str(self.count), *map(str, folder)]
        self._counted("reset")
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return Outcome(problem=f"took more than {LIMIT} s")
        if done.returncode:
            return Outcome(problem=_last_line(done.stderr))
        served = self._counted("count")
        if served["calls"] != 2 * self.count or served["most_at_once"] > AT_ONCE:
            return Outcome(problem=f"made {served['calls']} calls, {served['most_at_once']} at once")
        said = json.loads(_last_line(done.stdout))
        return Outcome(said["seconds"], said.get("peak_mb", 0.0))

    def _counted(self, page: str) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/{page}") as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


def measure(count: int = 2000, delay: float = 0.05) -> list[Row]:
    """Run everything, and give the lines of `make bench`; says before what each is asked to do."""
    print(
        ASKED.format(
            count=count,
            calls=2 * count,
            at_once=AT_ONCE,
            delay=1000 * delay,
            times=TIMES,
            inspect_ai=INSPECT_AI,
            promptfoo=PROMPTFOO,
        ),
        flush=True,
    )
    BENCH.mkdir(exist_ok=True)
    with _server(delay) as url:
        bench = Bench(url, count)
        turns = [(bench.bare(), bench.ours()) for _ in range(TIMES)]
        bare, ours = _median([turn[0] for turn in turns]), _median([turn[1] for turn in turns])
        larger = replace(bench, count=LARGER * count).ours() if not ours.problem else ours
        return [
            _against("calls, stored", ours, "a bare loop", bare, slower=True),
            _against("calls, times as fast as inspect_ai", ours, f"inspect_ai {INSPECT_AI}", bench.inspect_ai()),
            _against("calls, times as fast as promptfoo", ours, f"promptfoo {PROMPTFOO}", bench.promptfoo()),
            _time_a_call(ours, larger, count),
            _memory(ours, larger, count),
        ]


def install_inspect_ai() -> Path:
    """The Python of an environment that has inspect_ai."""
    folder = BENCH / "inspect"
    python = folder / "bin" / "python"
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            f"inspect-ai=={INSPECT_AI}",
            f"openai=={OPENAI}",
        ],
    ]
    _install(folder, f"inspect_ai {INSPECT_AI}, openai {OPENAI}", commands)
    return python


def install_promptfoo() -> None:
    """Put promptfoo, and a node that runs it, where `tests.calls_bench.promptfoo` looks for them."""
    folder = BENCH / "promptfoo"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"node": NODE, "promptfoo": PROMPTFOO}
    package = {
        "private": True,
        "dependencies": wanted,
        "allowScripts": {"node": True},
    }  # its script fetches the program
    (folder / "package.json").write_text(json.dumps(package), encoding="utf-8")
    npm = shutil.which("npm") or "npm"
    commands = [[npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]]
    _install(folder, f"promptfoo {PROMPTFOO}, node {NODE}", commands)


def _install(folder: Path, what: str, commands: list[list[str]]) -> None:
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


@contextmanager
def _server(delay: float) -> Iterator[str]:
    """The server's address, until the block ends."""
    command = [sys.executable, "-m", "tests.calls_bench.server", "--delay", str(delay)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder for one run's results, on the same disk for everyone."""
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        yield Path(folder)


def _median(outcomes: list[Outcome]) -> Outcome:
    problem = next((outcome.problem for outcome in outcomes if outcome.problem), "")
    seconds = statistics.median(outcome.seconds for outcome in outcomes)
    return Outcome(seconds, statistics.median(outcome.peak_mb for outcome in outcomes), problem)


def _against(name: str, ours: Outcome, other_name: str, other: Outcome, slower: bool = False) -> Row:
    """Our seconds beside another's: how many times slower, or else faster, we are."""
    goal = "<= 2" if slower else ">= 3"
    if other.problem:
        return (name, "failed", "-", f"{other_name} {other.problem}", goal)
    if ours.problem:
        return (name, "failed", "-", f"{other.seconds:.1f} s of {other_name}; ours: {ours.problem}", goal)
    ratio = ours.seconds / other.seconds
    compared = f"{ours.seconds:.1f} s against {other.seconds:.1f} s of {other_name}"
    return (name, f"{ratio if slower else 1 / ratio:.1f}", "times", compared, goal)


def _time_a_call(ours: Outcome, larger: Outcome, count: int) -> Row:
    name, goal = f"time a call, {LARGER} times as many", "within ±10"
    if larger.problem:
        return (name, "failed", "-", larger.problem, goal)
    small, large = (1000 * o.seconds / (2 * n) for o, n in ((ours, count), (larger, LARGER * count)))
    return (name, f"{100 * (large / small - 1):+.0f}", "%", f"{large:.2f} against {small:.2f} ms", goal)


def _memory(ours: Outcome, larger: Outcome, count: int) -> Row:
    name, goal = f"peak memory, {LARGER} times as many", "<= 1.3"
    if larger.problem:
        return (name, "failed", "-", larger.problem, goal)
    compared = f"{larger.peak_mb:.0f} MB for {2 * LARGER * count} calls against {ours.peak_mb:.0f} MB"
    return (name, f"{larger.peak_mb / ours.peak_mb:.2f}", "times", compared, goal)


def _errors(text: str) -> str:
    """What pip or npm says went wrong; the lines after that are about their log files."""
    return "; ".join([line for line in text.splitlines() if "error" in line.lower()][:2])[:200]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:200]
