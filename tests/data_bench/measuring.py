"""Everyone makes the same rows against the same server, one after another; what comes of it as lines of `make bench`.

    python -m tests.data_bench.measuring [--count N]

distilabel's three steps are processes of their own. Each may have 64 calls under way, which makes up
to 192 in all where the others have 64: with 21 a step, for 64 in all, it took four times as long.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from tests.benching import NotInstalled, Outcome, Row, against, empty_folder, install_packages, median, served, timed
from tests.data_bench.work import AT_ONCE, CALLS

DISTILABEL = "1.5.3"
OPENAI = "3.54.0"
TIMES = 3  # the bare loop and our own rows take turns; the median of so many counts

ASKED = """\
{count} rows of critique and revision: {calls} calls, {at_once} at a time, each answered after {delay:.0f} ms.
  bare         asyncio and aiohttp, {at_once} workers, three calls a row in turn; stores nothing; median of {times}
  ours         the stage as a whole: calls stored, rows with provenance in shards, leak check, lint; median of {times}
  distilabel   {distilabel}: three steps, {at_once} calls each at once; the run less a run of one row
"""


@dataclass(frozen=True)
class Bench:
    """A server that is running, and how many rows each is to make of it."""

    url: str
    count: int

    def bare(self) -> Outcome:
        command = [sys.executable, "-m", "tests.data_bench.bare", self.url, str(self.count)]
        return timed(self.url, CALLS * self.count, AT_ONCE, command)

    def ours(self) -> Outcome:
        with empty_folder() as folder:
            command = [sys.executable, "-m", "tests.data_bench.ours", self.url, str(folder / "project")]
            return timed(self.url, CALLS * self.count, AT_ONCE, [*command, str(self.count), "1"])

    def distilabel(self) -> Outcome:
        try:
            python = install_packages(
                "distilabel", f"distilabel[openai]=={DISTILABEL}", "requests", f"openai=={OPENAI}"
            )
        except NotInstalled as error:
            return Outcome(problem=str(error))
        with empty_folder() as folder:
            command = [str(python), "-m", "tests.data_bench.distilabel_pipeline", self.url, str(self.count)]
            calls, at_once = CALLS * (self.count + 1), CALLS * AT_ONCE  # a run of one row goes before
            return timed(self.url, calls, at_once, [*command, str(folder), str(AT_ONCE)])


def measure(count: int = 1000, delay: float = 0.05) -> list[Row]:
    """Run everything, and give the lines of `make bench`; says before what each is asked to do."""
    told = {"count": count, "calls": CALLS * count, "at_once": AT_ONCE, "delay": 1000 * delay, "times": TIMES}
    print(ASKED.format(**told, distilabel=DISTILABEL), flush=True)
    with served("tests.data_bench.server", delay) as url:
        bench = Bench(url, count)
        turns = [(bench.bare(), bench.ours()) for _ in range(TIMES)]
        bare, ours = median([turn[0] for turn in turns]), median([turn[1] for turn in turns])
        return [
            against("training rows, written", ours, "a bare loop", bare, slower=True),
            against("rows, times as fast as distilabel", ours, f"distilabel {DISTILABEL}", bench.distilabel()),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.data_bench.measuring")
    parser.add_argument("--count", type=int, default=1000, help="rows; each takes three calls")
    for name, value, unit, compared, goal in measure(parser.parse_args().count):
        print(f"{name:<36} {value:>10} {unit:<12} {compared:<44} {goal}")


if __name__ == "__main__":
    main()
