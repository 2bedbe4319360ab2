"""Welfare: what responses are worth to a whole jury, in one number.

A jury-pluralistic benchmark lets a jury rate each response, and joins the ratings by a welfare
function (Sorensen et al. 2024, arXiv 2402.05070, the definition of jury-pluralistic benchmarks). Here
it is a power mean, which says by one exponent how much the least content count (Moulin 2003, Fair
Division and Collective Welfare; Atkinson 1970, On the Measurement of Inequality, whose equally
distributed equivalent it is, with aversion 1 − power):

    1   the mean (utilitarian)
    0   the geometric mean: Nash's product (1950, The Bargaining Problem), with the root that makes it
        comparable between juries of different sizes (Kaneko and Nakamura 1979, The Nash Social
        Welfare Function)
    −∞  the least (Rawls 1971, A Theory of Justice: the difference principle)
"""

from __future__ import annotations

import math

import numpy as np

from prefect_ratify.scenarios.statistics import Scores

MEAN, NASH, RAWLS = 1.0, 0.0, -math.inf
NAMED = {"mean": MEAN, "nash": NASH, "rawls": RAWLS}
_TINY = 1e-12  # powers nearer to 0, which floating point cannot tell from it


def function_name(power: float) -> str:
    """`mean`, `nash`, `rawls`, or `power -1`."""
    return next((name for name, named in NAMED.items() if named == power), f"power {power:g}")


def welfare(worths: Scores, seats: Scores, power: float) -> Scores:
    """The jury's welfare `[…]` in [0, 1], of worths `[…, jurors]` in [0, 1] and `[jurors]` seats.

        (Σ seats · worth^power / Σ seats)^(1 / power), and its limits at 0 and −∞

    A worth of NaN is undecided: that juror is left out there. Who has no seat does not count. NaN where
    nobody is left. At a power of 0 or less one seated juror with a worth of 0 makes it 0. ValueError for
    a power above 1, which would put the most content first.
    """
    if power > 1:
        raise ValueError(f"a welfare function's power is at most 1, not {power}")
    power = NASH if abs(power) < _TINY else power
    there = ~np.isnan(worths) & (seats > 0)
    least = np.where(there, worths, np.inf).min(axis=-1, initial=np.inf)
    most = np.where(there, worths, 0.0).max(axis=-1, initial=0.0)
    found = least if power == RAWLS else _power_mean(worths, there * seats, least if power < 0 else most, power)
    welfares: Scores = np.where(there.any(axis=-1), np.clip(found, np.minimum(least, most), most), np.nan)
    return welfares


def _power_mean(worths: Scores, seats: Scores, largest: Scores, power: float) -> Scores:
    """Relative to the worth of the largest term, so that neither large nor tiny powers lose anything."""
    most = seats.max(axis=-1, keepdims=True, initial=0.0)
    seats = seats / np.where(most > 0, most, 1.0)  # so that no sum of them is too large or too small for a float
    shares = seats / np.maximum(seats.sum(axis=-1, keepdims=True), 1.0)
    unit = np.where((largest > 0) & (largest < np.inf), largest, 1.0)
    with np.errstate(divide="ignore", over="ignore"):  # of a worth of 0
        logs = np.log(np.where(seats > 0, worths, 1.0) / unit[..., np.newaxis])
        terms = np.where(seats > 0, shares * (np.expm1(power * logs) if power else logs), 0.0).sum(axis=-1)
        means: Scores = unit * np.exp(np.log1p(np.maximum(terms, -1.0)) / power if power else terms)
    return means
