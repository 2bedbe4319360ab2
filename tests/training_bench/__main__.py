"""`python -m tests.training_bench`: the rows of `make bench` alone."""

from __future__ import annotations

import os

from prefect_ratify.command_line import ENVIRONMENT
from tests.training_bench.measuring import measure

if __name__ == "__main__":
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    for row in measure():
        print("  ".join(row))
