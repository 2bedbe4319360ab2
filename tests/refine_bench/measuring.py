"""Lines for `make bench`: what each optimiser reaches on the task, over several seeds."""

from __future__ import annotations

import statistics
import sys
from importlib.util import find_spec

from prefect_ratify.policy_modules.responder import instructions
from tests.refine_bench.optimisers import OPTIMISERS, reached
from tests.refine_bench.server import scripted_model
from tests.refine_bench.task import DRAFT, best_score, expected_score

SEEDS = 5
GOAL = ">= 0.95"
Row = tuple[str, str, str, str, str]


def measure() -> list[Row]:
    """One line an optimiser."""
    sys.setrecursionlimit(20_000)  # COPRO nests what it copies with each wording
    with scripted_model() as url:
        return [_row(name, url) for name in OPTIMISERS]


def _row(name: str, url: str) -> Row:
    """The median of the seeds, with the lowest and the highest, and the most calls."""
    title, goal = f"refined policy of 6 clauses, {name}", GOAL if name == "ours" else "-"
    if name == "MIPROv2" and find_spec("optuna") is None:
        return (title, "-", "-", "optuna is not installed", goal)
    found = [reached(name, seed, url) for seed in range(SEEDS)]
    shares = sorted(each.share for each in found)
    drafted = expected_score(instructions(DRAFT)) / best_score()
    compared = f"{shares[0]:.2f}-{shares[-1]:.2f}, draft {drafted:.2f}; {max(each.calls for each in found)} calls"
    return (title, f"{statistics.median(shares):.3f}", "of the best", compared, goal)


def main() -> None:
    for row in measure():
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
