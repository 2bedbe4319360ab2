"""Both, one after the other, some times over, each in a process of its own; the median of the ratios."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prefect_ratify.embedded import checkpoint
from tests.training_bench.work import write_demonstrations

STEPS, TIMES = 48, 3


def measure(steps: int = STEPS, times: int = TIMES) -> list[tuple[str, str, str, str, str]]:
    """Rows for `make bench`: wall time of the whole process, and how far the final losses lie apart."""
    base, _ = checkpoint()
    ratios, apart = [], []
    with tempfile.TemporaryDirectory() as name:
        rows = write_demonstrations(Path(name), 4 * steps)
        for number in range(times):
            # Each goes first in turn: whoever comes second finds files in the machine's memory.
            order = ("bare", "ours") if number % 2 == 0 else ("ours", "bare")
            took = {side: _run(side, base, rows, Path(name) / f"{side}-{number}", steps) for side in order}
            ratios.append(took["ours"][0] / took["bare"][0])
            apart.append(abs(took["ours"][1] - took["bare"][1]))
    seen = f"{min(ratios):.3f} to {max(ratios):.3f} in {times} turns of {steps} steps"
    return [
        ("training, wall time", f"{statistics.median(ratios):.3f}", "times", f"a bare TRL script; {seen}", "<= 1.03"),
        ("training, final loss apart", f"{max(apart):.6f}", "", "the same script", "<= 0.0001"),
    ]


def _run(side: str, base: Path, rows: Path, folder: Path, steps: int) -> tuple[float, float]:
    """Seconds of the whole process, and the loss of the last step."""
    command = [sys.executable, "-m", f"tests.training_bench.{side}", str(base), str(rows), str(folder), str(steps)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    log = json.loads(done.stdout.splitlines()[-1])
    return seconds, [entry["loss"] for entry in log if "loss" in entry][-1]
