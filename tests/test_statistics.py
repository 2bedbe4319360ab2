"""Rates and differences: hand-worked cases, what always holds, and how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefect_ratify.scenarios import statistics
from prefect_ratify.scenarios.statistics import Interval, Scores, adjusted, difference, p_value, rate

NAN = math.nan
NOTHING = Interval(value=None, low=None, high=None, scenarios=0)


def scores(*values: float) -> Scores:
    return np.array(values, dtype=np.float64)


def test_a_rate_is_the_mean_of_the_scenarios_scores() -> None:
    # (1 + 0.5 + 0 + 0.5) / 4; the undecided scenario is left out
    found = rate(scores(1, 0.5, NAN, 0, 0.5))
    assert (found.value, found.scenarios) == (0.5, 4)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low < 0.5 < found.high <= 1


def test_a_rates_interval_is_that_of_the_bootstrap() -> None:
    # Two scenarios, 0 and 1: a resample has mean 0, 0.5 or 1 with chances 1/4, 1/2 and 1/4.
    assert rate(scores(0, 1)) == Interval(value=0.5, low=0.0, high=1.0, scenarios=2)
    # 100 scenarios, half of them 1: normal, 0.5 ± 1.96 · 0.05
    found = rate(scores(*[0.0, 1.0] * 50))
    assert found.low == pytest.approx(0.402, abs=0.015)
    assert found.high == pytest.approx(0.598, abs=0.015)


def test_without_decided_scenarios_there_is_no_estimate() -> None:
    assert rate(scores()) == rate(scores(NAN, NAN)) == NOTHING
    assert difference(scores(1, NAN), scores(NAN, 0)) == NOTHING
    assert p_value(scores(1, NAN), scores(NAN, 0)) is None


def test_where_all_scores_are_equal_a_rate_has_wilsons_interval() -> None:
    # Wilson 1927 with z² = 3.8415 and n = 10: low end at 10/10 is n / (n + z²) = 0.7225
    assert rate(scores(*[1.0] * 10)) == Interval(value=1.0, low=0.7225, high=1.0, scenarios=10)
    assert rate(scores(*[0.0] * 10)) == Interval(value=0.0, low=0.0, high=0.2775, scenarios=10)
    # at 5/10: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) = 0.5 ± 0.2634
    assert rate(scores(*[0.5] * 10)) == Interval(value=0.5, low=0.2366, high=0.7634, scenarios=10)
    alone = rate(scores(1.0))
    assert alone.low == pytest.approx(1 / (1 + 3.8415), abs=1e-4)


def test_a_difference_is_paired_by_scenario() -> None:
    # pairs: 0→1, 1→1, 0.5→0; the others are undecided on one side: mean (1 + 0 - 0.5) / 3
    found = difference(scores(0, 1, 0.5, NAN, 1), scores(1, 1, 0, 1, NAN))
    assert (found.value, found.scenarios) == (0.1667, 3)


def test_pairing_makes_a_constant_gain_certain_where_levels_differ() -> None:
    before = scores(0, 0.25, 0.5, 0.25, 0, 0.5, 0.25, 0, 0.5, 0.25)
    found = difference(before, before + scores(*[0.25, 0.5] * 5))
    assert found.low is not None and found.low >= 0.25


def test_equal_differences_get_an_interval_with_a_width() -> None:
    # Newcombe 1998, method 10, from Wilson's intervals: 10/10 against 10/10 is 0 ± 0.2775
    same = difference(scores(*[1.0] * 10), scores(*[1.0] * 10))
    assert same == Interval(value=0.0, low=-0.2775, high=0.2775, scenarios=10)
    # 0/10 against 10/10: 1 - √(0.2775² + 0.2775²) = 0.6075
    all_fixed = difference(scores(*[0.0] * 10), scores(*[1.0] * 10))
    assert all_fixed == Interval(value=1.0, low=0.6075, high=1.0, scenarios=10)


def test_the_p_value_is_that_of_flipping_signs() -> None:
    # six gains of 1: of 2⁶ sign patterns two are as extreme: 2/64
    assert p_value(scores(*[0.0] * 6), scores(*[1.0] * 6)) == pytest.approx(2 / 64)
    # five of them: 2/32, which cannot reach 5 %
    assert p_value(scores(*[0.0] * 5), scores(*[1.0] * 5)) == pytest.approx(2 / 32)
    # gaps 1, 1, 1, -1 (sum 2): sums of at least 2 have 1 + 4 of 16 patterns; two-sided 10/16
    assert p_value(scores(0, 0, 0, 1), scores(1, 1, 1, 0)) == pytest.approx(10 / 16)


def test_no_gap_anywhere_is_no_evidence_and_one_scenario_is_none() -> None:
    assert p_value(scores(1, 0, 0.5), scores(1, 0, 0.5)) == 1.0
    assert p_value(scores(0), scores(1)) is None


def test_p_values_are_adjusted_as_benjamini_and_hochberg_do() -> None:
    # ranked 0.01, 0.02, 0.03, 0.5: 4/1 · 0.01 = 0.04, 4/2 · 0.02 = 0.04, 4/3 · 0.03 = 0.04, 0.5
    assert adjusted([0.5, None, 0.02, 0.03, 0.01]) == [
        pytest.approx(0.5),
        None,
        pytest.approx(0.04),
        pytest.approx(0.04),
        pytest.approx(0.04),
    ]
    assert adjusted([None, None]) == [None, None]
    assert adjusted([]) == []


quarters = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
any_scores = st.lists(quarters | st.just(NAN), min_size=1, max_size=12)
pairs = st.lists(st.tuples(quarters | st.just(NAN), quarters | st.just(NAN)), min_size=1, max_size=10)
modest = settings(max_examples=50, deadline=None)


@given(any_scores)
@modest
def test_a_rate_lies_in_its_interval_and_between_0_and_1(values: list[float]) -> None:
    found = rate(scores(*values))
    if found.value is None:
        assert all(math.isnan(value) for value in values)
    else:
        assert found.low is not None and found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


@given(pairs)
@example([(0.0, 0.0), (0.0, 0.0), (0.0, 0.25), (0.0, 0.5), (0.25, 0.0)])
@modest
def test_a_difference_turned_round_is_its_negative(values: list[tuple[float, float]]) -> None:
    first, second = scores(*(a for a, _ in values)), scores(*(b for _, b in values))
    there, back = difference(first, second), difference(second, first)
    assert there.scenarios == back.scenarios
    if there.value is not None:
        assert there.low is not None and there.high is not None and back.low is not None and back.high is not None
        assert back.value == pytest.approx(-there.value)
        assert (back.low, back.high) == (pytest.approx(-there.high, abs=2e-4), pytest.approx(-there.low, abs=2e-4))
        assert -1 <= there.low <= there.value <= there.high <= 1
        assert p_value(first, second) == p_value(second, first)


@pytest.mark.model
def test_an_interval_covers_the_true_rate_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # 400 suites of 30 scenarios, each with a chance of its own (Beta(2, 2), mean one half) and
    # 4 samples: 95 % are promised, and the standard error of what is counted is 0.011.
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    drawn = np.random.default_rng(1)
    found = [rate(drawn.binomial(4, drawn.beta(2, 2, size=30)) / 4, seed=n) for n in range(400)]
    share = np.mean([f.low is not None and f.high is not None and f.low <= 0.5 <= f.high for f in found])
    print(f"coverage {share:.3f}")
    assert 0.90 <= share <= 0.98
