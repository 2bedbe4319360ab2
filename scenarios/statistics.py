"""Rates and differences with intervals. Scenarios are the unit: samples of one are not independent.

Everything is computed from each scenario's mean score, which makes standard errors clustered by
scenario (Miller 2024, arXiv 2411.00640, section 2.2), and differences paired (section 4.2).
Student's t stands for the normal distribution, as suites have tens of scenarios and not thousands.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Record

Scores = NDArray[np.float64]
CONFIDENCE = 0.95
POWER = 0.8
FLIPS = 5000
MOST_EXACT = 12  # gaps of which all 2¹² patterns of signs are tried


class Interval(Record):
    """An estimate with its interval (95 % unless said), and from how many scenarios. All None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    scenarios: int


def rate(scores: Scores, level: float = CONFIDENCE) -> Interval:
    """The mean of the scenarios' scores in [0, 1]; NaN marks a scenario without a decided verdict.

    Wilson's interval (1927) at the effective number of independent samples, that is with the
    clustered standard error in place of the binomial one (Korn and Graubard 1998). Where every
    scenario scores the same nothing can be told of that, and each scenario counts as one sample.
    """
    kept = scores[~np.isnan(scores)]
    if not len(kept):
        return Interval(value=None, low=None, high=None, scenarios=0)
    mean = float(kept.mean())
    error = _error(kept)
    if error == 0:
        low, high = _wilson_of_one(mean, len(kept), _normal_quantile(level))
    else:
        low, high = _wilson_of_one(mean, mean * (1 - mean) / error**2, _t_quantile(level, len(kept)))
    return _interval(mean, low, high, len(kept))


def difference(first: Scores, second: Scores, level: float = CONFIDENCE) -> Interval:
    """The mean of `second - first`, paired by scenario (those decided on both sides), with Student's interval."""
    gaps, pairs = _paired(first, second)
    if not len(gaps):
        return Interval(value=None, low=None, high=None, scenarios=0)
    mean, error = float(gaps.mean()), _error(gaps)
    if error == 0:
        low, high = _newcombe(*pairs, _normal_quantile(level))
    else:
        reach = _t_quantile(level, len(gaps)) * error
        low, high = max(mean - reach, -1.0), min(mean + reach, 1.0)
    return _interval(mean, low, high, len(gaps))


def p_value(first: Scores, second: Scores) -> float | None:
    """Two-sided paired permutation test of no difference: the signs of scenario differences flipped.

    Exact where gaps are all as large, which with single samples is McNemar's exact test (1947),
    and where they are few; otherwise from FLIPS random patterns (Phipson and Smyth 2010).
    """
    from scipy.stats import binomtest

    gaps, _ = _paired(first, second)
    if len(gaps) < 2:
        return None
    gaps = gaps[gaps != 0]
    if not len(gaps):
        return 1.0
    sizes = np.sort(np.abs(gaps))
    if sizes[0] == sizes[-1]:
        return float(binomtest(int((gaps > 0).sum()), len(gaps)).pvalue)
    signs = _signs(len(gaps))
    as_far = int((np.abs(signs @ sizes) >= abs(gaps.sum()) - 1e-9).sum())
    return as_far / len(signs) if len(gaps) <= MOST_EXACT else (as_far + 1) / (len(signs) + 1)


def adjusted(p_values: list[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjustment (1995) over those that there are."""
    from scipy.stats import false_discovery_control

    there = [p for p in p_values if p is not None]
    if not there:
        return list(p_values)
    corrected = iter(false_discovery_control(there).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def power(first: Scores, second: Scores, drop: float, *, samples: int, tests: int = 1) -> float | None:
    """The chance that this suite finds a true drop of that size, where it is the only one of `tests`.

    By the paired t-test at the level 5 % / tests, from the spread of these differences. Where they
    hardly spread, from the least spread that such a drop brings: that of `samples` draws a scenario.
    None for fewer than two scenarios.
    """
    from statsmodels.stats.power import TTestPower

    gaps, _ = _paired(first, second)
    if len(gaps) < 2 or drop <= 0:
        return None
    spread = max(float(gaps.std(ddof=1)), math.sqrt(drop * (1 - drop) / samples), 1e-6)
    found = float(TTestPower().power(drop / spread, nobs=len(gaps), alpha=(1 - CONFIDENCE) / tests))
    return 1.0 if math.isnan(found) else found  # what it gives where the chance of missing is below its precision


def smallest_found(first: Scores, second: Scores, *, samples: int, tests: int = 1) -> float | None:
    """The smallest true drop that this suite finds in four cases of five; None where it finds none.

    Also a drop of that size must be able to show in so many scenarios that flipping signs can tell.
    """
    gaps, _ = _paired(first, second)
    fewest = 1 + math.ceil(math.log2(tests / (1 - CONFIDENCE)))  # all in one direction: p = 2 / 2^fewest
    if len(gaps) < fewest:
        return None
    low, high = fewest / samples / len(gaps), 1.0
    if (power(first, second, high - 1e-9, samples=samples, tests=tests) or 0.0) < POWER:
        return None
    while high - low > 0.0005:
        middle = (low + high) / 2
        found = (power(first, second, middle, samples=samples, tests=tests) or 0.0) >= POWER
        low, high = (low, middle) if found else (middle, high)
    return round(high, 3)


def wilson(shares: Scores, counts: Scores, quantile: float | None = None) -> tuple[Scores, Scores]:
    """Wilson's interval (1927) of shares of so many samples each; with the normal quantile of 95 % unless another.

    statsmodels has it for the normal quantile alone.
    """
    per = (quantile or _normal_quantile(CONFIDENCE)) ** 2 / counts
    middle = (shares + per / 2) / (1 + per)
    reach = np.sqrt(shares * (1 - shares) * per + per**2 / 4) / (1 + per)
    return np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)


def _paired(first: Scores, second: Scores) -> tuple[Scores, tuple[Scores, Scores]]:
    """The differences of the scenarios that are decided on both sides, and both sides of those."""
    both = ~np.isnan(first) & ~np.isnan(second)
    return (second - first)[both], (first[both], second[both])


def _error(values: Scores) -> float:
    """The standard error of the mean; 0 where all are equal (and not what rounding leaves of it)."""
    if values.min() == values.max():
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


@lru_cache(maxsize=8)
def _signs(count: int) -> NDArray[np.int8]:
    """Patterns of signs, one a row: all that there are for few gaps, random ones for many."""
    if count <= MOST_EXACT:
        return np.array(list(product((-1, 1), repeat=count)), dtype=np.int8)
    return np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.int8), size=(FLIPS, count))


@lru_cache(maxsize=256)
def _t_quantile(level: float, scenarios: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(scenarios - 1, 0.5 + level / 2))


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def _wilson_of_one(share: float, count: float, quantile: float) -> tuple[float, float]:
    low, high = wilson(np.array(share), np.array(count), quantile)
    return float(low), float(high)


def _newcombe(first: Scores, second: Scores, quantile: float) -> tuple[float, float]:
    """Newcombe's interval (1998, method 10) where all scenarios differ by the same."""
    a, b = float(first.mean()), float(second.mean())
    (a_low, a_high), (b_low, b_high) = _wilson_of_one(a, len(first), quantile), _wilson_of_one(b, len(second), quantile)
    gap = b - a
    low = gap - math.hypot(b - b_low, a_high - a)
    high = gap + math.hypot(b_high - b, a - a_low)
    return max(low, -1.0), min(high, 1.0)


def _interval(value: float, low: float, high: float, count: int) -> Interval:
    return Interval(
        value=round(value, 4), low=round(min(low, value), 4), high=round(max(high, value), 4), scenarios=count
    )
