"""How often the intervals of the measures of pluralism cover the truth, in simulated data of few scenarios.

Of SETS intervals that cover in 95 % of cases, the covered share has a standard error of 0.011: less than
0.95 − 3 · 0.011 says that they cover less often. Those of regret and volume are to cover more often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.special import digamma, ndtri

from prefect_ratify.scenarios.pluralism import resampling
from prefect_ratify.scenarios.pluralism.distributional import distances, entropies
from prefect_ratify.scenarios.pluralism.objectives import volume_change, volume_interval
from prefect_ratify.scenarios.pluralism.overton import coverage
from prefect_ratify.scenarios.pluralism.steerable import accuracy, by_attribute, f1_change, macro_f1
from prefect_ratify.scenarios.pluralism.trade_offs import regrets
from prefect_ratify.scenarios.statistics import Interval, Scores, difference, rate

pytestmark = pytest.mark.model
SETS, SIZES = 400, (8, 30)
LEAST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / SETS)
ROUNDING = 5e-5  # of the ends
Trial = Callable[[np.random.Generator, int], Sequence[tuple[Interval, float]]]


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None and interval.high is not None
    return interval.low - ROUNDING <= truth <= interval.high + ROUNDING


def check(trial: Trial, *names: str) -> None:
    """Every interval of a trial covers its truth in 95 % of simulated sets of each size."""
    drawn = np.random.default_rng(0)
    for size in SIZES:
        found = [[covers(*one) for one in trial(drawn, size)] for _ in range(SETS)]
        shares = dict(zip(names, np.mean(found, axis=0).round(3).tolist(), strict=True))
        print(f"{size} units: {shares}")
        assert min(shares.values()) >= LEAST, (size, shares)


def decided(drawn: np.random.Generator, chances: Scores, shared: Scores) -> Scores:
    """1 with each chance, the more together the larger `shared` is, which has spread 1 and one row a scenario."""
    return (shared + drawn.normal(size=(len(shared), *chances.shape)) < ndtri(chances) * math.sqrt(2)).astype(float)


def test_overton_coverage() -> None:
    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        # A scenario's chance is 0.6 on average; two answers of weight 3 have it, two of weight 1 half of it.
        chances = drawn.beta(3, 2, size=(size, 1, 1)) * np.array([1, 1, 0.5, 0.5])
        covered = (drawn.random((size, 2, 4)) < chances).astype(float)
        covered[drawn.random(covered.shape) < 0.1] = np.nan
        share, weighted = coverage(list(covered), [np.array([3.0, 3, 1, 1])] * size)
        return [(rate(share), 0.6 * 3 / 4), (rate(weighted), 0.6 * 7 / 8)]

    check(trial, "share", "weighted")


@pytest.mark.parametrize(("count", "own", "other"), [(2, 0.8, 0.3), (3, 0.5, 0.5), (4, 0.95, 0.05)])
def test_steering(count: int, own: float, other: float) -> None:
    def f1(own: float, other: float) -> float:
        return 2 * own / (1 + own + (count - 1) * other)

    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        chances = np.full((count, count), other) + np.eye(count) * (own - other)
        shared = drawn.normal(size=(size, 1, 1))
        before, after = decided(drawn, chances, shared), decided(drawn, chances * 0.8, shared)
        before[drawn.random(before.shape) < 0.1] = np.nan
        change = f1(own * 0.8, other * 0.8) - f1(own, other)
        return [
            (accuracy(before), own),
            (macro_f1(before), f1(own, other)),
            (by_attribute(before)[0][1], f1(own, other)),
            (f1_change(before, after), change),
        ]

    check(trial, "accuracy", "macro-F1", "F1 of one", "change")


def test_distance_and_entropy() -> None:
    def questions(drawn: np.random.Generator, size: int) -> tuple[Scores, Scores, Scores]:
        return drawn.dirichlet([3, 1, 1], size), drawn.dirichlet([6, 1, 0.5], size), drawn.dirichlet([2, 2, 1], size)

    # The mean distances are known to within 0.003, a tenth of the error of 30 questions. The mean entropy of
    # Dirichlet's distribution (a, of sum A) is ψ(A + 1) − Σ a ψ(a + 1) / A.
    many = [list(part) for part in questions(np.random.default_rng(1), 5_000)]
    apart = [float(distances(model, many[2]).mean()) for model in many[:2]]
    spread = float(digamma(6) - (3 * digamma(4) + 2 * digamma(2)) / 5) / math.log(3)

    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        before, after, people = (list(part) for part in questions(drawn, size))
        first, second = distances(before, people), distances(after, people)
        return [
            (rate(first), apart[0]),
            (rate(entropies(before)), spread),
            (difference(first, second), apart[1] - apart[0]),
        ]

    check(trial, "distance", "entropy", "change")


@pytest.mark.parametrize(("clauses", "mean", "touched"), [(3, 0.8, 1.0), (6, 0.9, 0.5), (6, 0.6, 0.7)])
def test_hypervolume(clauses: int, mean: float, touched: float) -> None:
    chances = mean + np.linspace(-0.08, 0.08, clauses)

    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        shared = drawn.normal(size=(size, 1))
        before, after = decided(drawn, chances, shared), decided(drawn, chances - 0.1, shared)
        untouched = drawn.random(before.shape) > touched
        before[untouched] = after[untouched] = np.nan
        there = ~untouched.all(axis=0)
        truth, later = float(chances[there].prod()), float((chances[there] - 0.1).prod())
        return [(volume_interval(before), truth), (volume_change(before, after), later - truth)]

    check(trial, "volume", "change")


@pytest.mark.parametrize("means", [(0.6, 0.6, 0.6, 0.6), (0.5, 0.6, 0.7, 0.7), (0.3, 0.8, 0.8, 0.8, 0.8, 0.8)])
def test_regret(means: tuple[float, ...]) -> None:
    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        tried = {str(place): drawn.beta(4 * mean, 4 - 4 * mean, size) for place, mean in enumerate(means)}
        return [(regrets(tried, "0")[0], max(means) - means[0])]

    check(trial, "regret")


def test_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 2000)

    def trial(drawn: np.random.Generator, size: int) -> list[tuple[Interval, float]]:
        values = drawn.beta(4, 2, size)
        low, high = resampling.bootstrap(lambda weights: weights @ values / weights.sum(axis=1), size)
        return [(Interval(value=float(values.mean()), low=low, high=high, scenarios=size), 4 / 6)]

    check(trial, "mean")
