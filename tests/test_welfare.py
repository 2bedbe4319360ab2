"""Welfare functions: against values worked by hand, at their limits, and within what a mean may be."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.scenarios.pluralism.welfare import MEAN, NASH, RAWLS, function_name, welfare
from prefect_ratify.scenarios.statistics import Scores

POWERS = st.floats(-60, 1) | st.sampled_from([1.0, 0.5, 1e-12, 5e-324, 0.0, -1e-12, -1.0, -1e9, -math.inf])
WORTHS = st.lists(st.floats(1e-6, 1) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=6)  # shares of clauses


def of(worths: list[float], power: float, seats: list[float] | None = None) -> float:
    return float(welfare(np.array(worths), np.array(seats or [1.0] * len(worths)), power))


@pytest.mark.parametrize(
    ("power", "equal", "weighted"),
    [
        (MEAN, 0.625, 0.4375),  # (¼ + 1) / 2, and (3 · ¼ + 1) / 4
        (NASH, 0.5, 0.25**0.75),  # √(¼ · 1)
        (RAWLS, 0.25, 0.25),
        (-1, 0.4, 4 / 13),  # 2 / (4 + 1), and 4 / (3 · 4 + 1)
        (0.5, 0.5625, 0.390625),  # ((½ + 1) / 2)², and ((3 · ½ + 1) / 4)²
    ],
)
def test_two_jurors_worked_by_hand(power: float, equal: float, weighted: float) -> None:
    assert of([0.25, 1.0], power) == pytest.approx(equal, abs=1e-12)
    assert of([0.25, 1.0], power, [3.0, 1.0]) == pytest.approx(weighted, abs=1e-12)


@pytest.mark.parametrize("power", [0.0, -1e-9, -1.0, -60.0, -math.inf])
def test_who_is_left_with_nothing_makes_it_nothing(power: float) -> None:
    assert of([0.0, 1.0], power) == of([0.0, 0.0], power) == 0.0
    assert of([0.0, 1.0], power, [0.0, 1.0]) == 1.0  # unless without a seat


def test_powers_above_0_let_others_make_up_for_it() -> None:
    assert of([0.0, 1.0], 0.5) == pytest.approx(0.25) and of([0.0, 0.0], 0.5) == 0.0
    for seats in permutations([1.0, 2.0, 3.0, 4.0]):  # shares that add up to more than 1, as floats do
        assert of([0.0] * 4, MEAN, list(seats)) == of([0.0] * 4, 0.5, list(seats)) == 0.0


def test_who_is_undecided_is_left_out_of_that_response_alone() -> None:
    worths = np.array([[np.nan, 0.5], [0.25, 1.0], [np.nan, np.nan]])
    for power, second in ((MEAN, 0.625), (NASH, 0.5), (RAWLS, 0.25)):
        found = welfare(worths, np.ones(2), power)
        assert found[:2] == pytest.approx([0.5, second]) and np.isnan(found[2])
    assert np.isnan(welfare(worths[:1], np.array([1.0, 0.0]), MEAN)).all()
    assert np.isnan(welfare(np.zeros((2, 0)), np.zeros(0), NASH)).all()


@pytest.mark.parametrize("size", [1e308, 1e-320])
def test_seats_count_by_their_shares_however_large_or_small(size: float) -> None:
    for power, found in ((MEAN, 0.625), (0.5, 0.5625), (NASH, 0.5), (-1, 0.4)):
        assert of([0.25, 1.0], power, [size, size]) == pytest.approx(found, abs=1e-9)
        assert of([0.25, 1.0, math.nan], power, [1.0, 1.0, size]) == pytest.approx(found, abs=1e-9)


def test_functions_have_names_and_none_puts_the_most_content_first() -> None:
    assert [function_name(power) for power in (1, 0, -math.inf, -1, 0.5)] == [
        "mean",
        "nash",
        "rawls",
        "power -1",
        "power 0.5",
    ]
    with pytest.raises(ValueError, match="at most 1"):
        of([0.5], 2)


@settings(deadline=None)
@given(WORTHS, POWERS, POWERS, st.randoms(use_true_random=False))
def test_it_is_a_mean_that_grows_with_its_power_whatever_the_order(
    worths: list[float], one: float, other: float, random: object
) -> None:
    low, high = sorted((one, other))
    seats = [1.0 + place for place in range(len(worths))]
    small, large = of(worths, low, seats), of(worths, high, seats)
    assert min(worths) <= small <= large + 1e-9 and large <= max(worths)
    order = list(range(len(worths)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert of([worths[n] for n in order], low, [seats[n] for n in order]) == pytest.approx(small, abs=1e-9)


@settings(deadline=None)
@given(WORTHS, POWERS, st.floats(0, 1))
def test_nobody_gains_by_a_loss_and_seats_are_shares(worths: list[float], power: float, better: float) -> None:
    before = of(worths, power)
    assert of([max(worths[0], better), *worths[1:]], power) >= before - 1e-9
    assert of(worths, power, [7.0] * len(worths)) == pytest.approx(before, abs=1e-9)
    twice = of([*worths, worths[0]], power)  # one juror with two seats is two that agree
    assert of(worths, power, [2.0, *[1.0] * (len(worths) - 1)]) == pytest.approx(twice, abs=1e-9)


def test_powers_near_the_limits_are_near_them() -> None:
    worths: Scores = np.array([[0.3, 0.9, 0.6], [1e-9, 1.0, 0.5]])
    for near, limit in ((1e-9, NASH), (-1e-9, NASH), (-1e6, RAWLS)):
        assert welfare(worths, np.ones(3), near) == pytest.approx(welfare(worths, np.ones(3), limit), rel=1e-4)
    assert of([0.3, 0.9], -1000) == pytest.approx(0.3 * 2 ** (1 / 1000), abs=1e-12)
