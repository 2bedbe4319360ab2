"""What is said of a pairwise judge at a terminal."""

from __future__ import annotations

from prefect_ratify.flows.pages import gap, gap_reach, percent, reach
from prefect_ratify.policy_modules.pairwise import PairwiseBias
from prefect_ratify.scenarios.statistics import Interval


def bias_lines(bias: PairwiseBias) -> list[str]:
    """A judge's biases, a line each, with 95 % intervals over pairs; what nothing is known of is left out."""
    lines = [
        ("preferred what stood first, beyond one half", _points(bias.position)),
        ("the two orders disagree", _share(bias.inconsistent)),
        ("preferred the longer response", _share(bias.longer)),
        ("preferred the one that people call better", _share(bias.accuracy)),
        ("the same where that one is the longer", _share(bias.accuracy_longer)),
        ("the same where that one is the shorter", _share(bias.accuracy_shorter)),
        ("difference that length makes", _points(bias.by_length)),
    ]
    pairs = f"{bias.pairs} pair{'' if bias.pairs == 1 else 's'}, each in both orders"
    counts = f"{bias.ties} tie{'' if bias.ties == 1 else 's'}, {bias.undecided} undecided"
    return [f"{pairs}: {counts}", *(f"  {name}: {figure}" for name, figure in lines if figure)]


def _share(interval: Interval) -> str:
    return f"{percent(interval.value)} [{reach(interval)}] of {interval.scenarios}" if interval.scenarios else ""


def _points(interval: Interval) -> str:
    return f"{gap(interval)} [{gap_reach(interval)}]" if interval.scenarios else ""
