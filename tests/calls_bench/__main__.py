"""The lines about calls alone: `python -m tests.calls_bench --count 200` is the quick way."""

from __future__ import annotations

import argparse

from tests.calls_bench.measuring import measure


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.calls_bench")
    parser.add_argument("--count", type=int, default=2000, help="questions; each makes two calls")
    for name, value, unit, compared, goal in measure(parser.parse_args().count):
        print(f"{name:<36} {value:>10} {unit:<12} {compared:<44} {goal}")


if __name__ == "__main__":
    main()
