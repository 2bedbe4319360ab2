"""Rates and differences with intervals. Scenarios are the unit: samples of one are not independent.

The bootstrap draws whole scenarios (a cluster bootstrap; Miller 2024, arXiv 2411.00640,
section 2.2, for why). Where every scenario scores the same a bootstrap interval has no width,
whatever the number of scenarios: such a rate gets Wilson's interval on scenarios instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Record

Scores = NDArray[np.float64]
RESAMPLES = 5000
CONFIDENCE = 0.95


class Interval(Record):
    """An estimate with its 95 % interval, and from how many scenarios. All None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    scenarios: int


def rate(scores: Scores, seed: int = 0) -> Interval:
    """The mean of the scenarios' scores in [0, 1]; NaN marks a scenario without a decided verdict."""
    kept = scores[~np.isnan(scores)]
    if not len(kept):
        return Interval(value=None, low=None, high=None, scenarios=0)
    low, high = _percentiles(_bootstrap(kept, seed))
    if kept.min() == kept.max():
        low, high = _wilson(float(kept.mean()), len(kept))
    return _interval(float(kept.mean()), low, high, len(kept))


def difference(first: Scores, second: Scores, seed: int = 0) -> Interval:
    """The mean of `second - first`, paired by scenario (those decided on both sides)."""
    both = ~np.isnan(first) & ~np.isnan(second)
    gaps = (second - first)[both]
    if not len(gaps):
        return Interval(value=None, low=None, high=None, scenarios=0)
    low, high = _percentiles(_bootstrap(gaps, seed))
    if gaps.min() == gaps.max():
        low, high = _degenerate_difference(first[both], second[both])
    return _interval(float(gaps.mean()), low, high, len(gaps))


def p_value(first: Scores, second: Scores, seed: int = 0) -> float | None:
    """Two-sided paired permutation test of no difference (signs of scenario differences flipped)."""
    from scipy.stats import permutation_test

    both = ~np.isnan(first) & ~np.isnan(second)
    gaps = (second - first)[both]
    if len(gaps) < 2:
        return None
    if not gaps.any():
        return 1.0
    result = permutation_test(
        (gaps,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def adjusted(p_values: list[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjustment (1995) over those that there are."""
    from scipy.stats import false_discovery_control

    there = [p for p in p_values if p is not None]
    if not there:
        return list(p_values)
    corrected = iter(false_discovery_control(there).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def _bootstrap(values: Scores, seed: int) -> Scores:
    """Means of RESAMPLES resamples, half of them the other half mirrored.

    The values are sorted, so that the order of scenarios does not matter; each draw is applied
    from both ends, so that turning a difference round turns its interval round exactly.
    """
    rows = len(values)
    counts = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES // 2)
    ordered = np.sort(values)
    means: Scores = np.concatenate([counts @ ordered, counts @ ordered[::-1]]) / rows
    return means


def _percentiles(means: Scores) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _wilson(share: float, count: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * count, count, alpha=1 - CONFIDENCE, method="wilson")
    return float(low), float(high)


def _degenerate_difference(first: Scores, second: Scores) -> tuple[float, float]:
    """Newcombe's interval (1998, method 10) where all scenarios differ by the same."""
    a, b = float(first.mean()), float(second.mean())
    (a_low, a_high), (b_low, b_high) = _wilson(a, len(first)), _wilson(b, len(second))
    gap = b - a
    low = gap - float(np.hypot(b - b_low, a_high - a))
    high = gap + float(np.hypot(b_high - b, a - a_low))
    return max(low, -1.0), min(high, 1.0)


def _interval(value: float, low: float, high: float, count: int) -> Interval:
    return Interval(
        value=round(value, 4), low=round(min(low, value), 4), high=round(max(high, value), 4), scenarios=count
    )
