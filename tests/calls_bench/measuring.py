"""Everyone does the same work against the same server, one after another; what comes of it as lines of `make bench`.

A competitor that cannot be installed, fails, makes another number of calls or keeps more than
64 under way gets a line that says so.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benching import (
    BENCH,
    NotInstalled,
    Outcome,
    Row,
    against,
    empty_folder,
    install,
    install_packages,
    median,
    served,
    timed,
)
from tests.calls_bench.work import AT_ONCE

INSPECT_AI = "0.3.285"
OPENAI = "3.54.0"
PROMPTFOO = "0.123.1"
NODE = "22.23.3"  # promptfoo's own, because it refuses older ones
TIMES = 3  # bare loop and our own calls take turns; the median of so many counts
LARGER = 5  # times as many calls, to see whether a call stays as cheap

ASKED = """\
{count} questions, each answer judged once: {calls} calls, {at_once} at a time, each answered after {delay:.0f} ms.
  bare         asyncio and aiohttp, {at_once} workers; stores nothing; the calls alone are timed, median of {times}
  ours         responses and judge calls with the call store; the same, median of {times}
  inspect_ai   {inspect_ai}: eval() of a task with one judge call a sample, its log written, after one sample to warm up
  promptfoo    {promptfoo}: one llm-rubric a test, JSON output written; the process less the same process with one test
"""


@dataclass(frozen=True)
class Bench:
    """A server that is running, and how many questions each is asked to put to it."""

    url: str
    count: int

    def bare(self) -> Outcome:
        return self._run(sys.executable, "bare")

    def ours(self) -> Outcome:
        with empty_folder() as store:
            return self._run(sys.executable, "ours", store)

    def inspect_ai(self) -> Outcome:
        try:
            python = install_inspect_ai()
        except NotInstalled as error:
            return Outcome(problem=str(error))
        with empty_folder() as logs:
            return self._run(str(python), "inspect_task", logs)

    def promptfoo(self) -> Outcome:
        """The seconds without its start: the first run of one test warms up, the second is taken off."""
        try:
            install_promptfoo()
        except NotInstalled as error:
            return Outcome(problem=str(error))
        with empty_folder() as folder:
            runs = [replace(self, count=count) for count in (1, 1, self.count)]
            _, start, whole = [run._run(sys.executable, "promptfoo", folder) for run in runs]
        problem = start.problem or whole.problem
        return Outcome(problem=problem) if problem else Outcome(whole.seconds - start.seconds)

    def _run(self, python: str, module: str, *folder: Path) -> Outcome:
        """One module of this folder, run on the work as a process."""
        command = [python, "-m", f"tests.calls_bench.{module}", self.url, str(self.count), *map(str, folder)]
        return timed(self.url, 2 * self.count, AT_ONCE, command)


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
    with served("tests.calls_bench.server", delay) as url:
        bench = Bench(url, count)
        turns = [(bench.bare(), bench.ours()) for _ in range(TIMES)]
        bare, ours = median([turn[0] for turn in turns]), median([turn[1] for turn in turns])
        larger = replace(bench, count=LARGER * count).ours() if not ours.problem else ours
        return [
            against("calls, stored", ours, "a bare loop", bare, slower=True),
            against("calls, times as fast as inspect_ai", ours, f"inspect_ai {INSPECT_AI}", bench.inspect_ai()),
            against("calls, times as fast as promptfoo", ours, f"promptfoo {PROMPTFOO}", bench.promptfoo()),
            _time_a_call(ours, larger, count),
            _memory(ours, larger, count),
        ]


def install_inspect_ai() -> Path:
    """The Python of an environment that has inspect_ai."""
    return install_packages("inspect", f"inspect-ai=={INSPECT_AI}", f"openai=={OPENAI}")


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
    install(folder, f"promptfoo {PROMPTFOO}, node {NODE}", commands)


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
