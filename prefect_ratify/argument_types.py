"""What several commands take: numbers, and how much may be spent."""

from __future__ import annotations

import argparse
import math


def add_budget(parser: argparse.ArgumentParser) -> None:
    """What a command may spend."""
    for unit, kind in (("calls", positive), ("tokens", positive), ("dollars", amount)):
        parser.add_argument(f"--budget-{unit}", type=kind, metavar="N", help=f"stop after so many {unit}")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def amount(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def share(text: str) -> float:
    """A number of at least 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return value
