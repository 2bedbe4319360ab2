"""Rates and differences: hand-worked cases, what always holds, and how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.contingency_tables import mcnemar

from prefect_ratify.scenarios.statistics import (
    Interval,
    Scores,
    adjusted,
    difference,
    p_value,
    power,
    rate,
    smallest_found,
)

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


def test_a_rates_interval_is_wilsons_at_the_effective_number_of_samples() -> None:
    # 100 scenarios, half of them 1: standard error √(0.25 · 100/99 / 100), 99 effective samples, t = 1.9842:
    # 0.5 ± (√(0.25 · 0.03977 + 0.03977²/4)) / 1.03977
    found = rate(scores(*[0.0, 1.0] * 50))
    assert found == Interval(value=0.5, low=0.4022, high=0.5978, scenarios=100)
    # Four times as many samples that all agree within their scenario tell no more than one each.
    # Scenarios that disagree within tell more: the same rate from halves and quarters is narrower.
    mixed = rate(scores(*[0.25, 0.75] * 50))
    assert mixed.low is not None and found.low is not None and mixed.low > found.low


def test_a_difference_has_students_interval() -> None:
    # gaps 0.5, 0, 0.25, 0.25: mean 0.25, standard deviation 0.2041, error 0.1021, t with 3 degrees 3.1824
    found = difference(scores(0, 0, 0.5, 0.25), scores(0.5, 0, 0.75, 0.5))
    assert found == Interval(value=0.25, low=-0.0748, high=0.5748, scenarios=4)


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


@given(pairs)
@modest
def test_the_p_value_is_scipys(values: list[tuple[float, float]]) -> None:
    first, second = scores(*(a for a, _ in values)), scores(*(b for _, b in values))
    gaps = (second - first)[~np.isnan(second - first)]
    if len(gaps) >= 2:
        theirs = permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p_value(first, second) == pytest.approx(float(theirs.pvalue))


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=40))
@modest
def test_with_single_samples_the_p_value_is_mcnemars(values: list[tuple[float, float]]) -> None:
    table = [[sum(pair == (a, b) for pair in values) for b in (1.0, 0.0)] for a in (1.0, 0.0)]
    first, second = scores(*(a for a, _ in values)), scores(*(b for _, b in values))
    assert p_value(first, second) == pytest.approx(min(1.0, float(mcnemar(table, exact=True).pvalue)))


def test_few_scenarios_can_detect_nothing() -> None:
    # With 6 tests a sign test needs 1 + log2(6 / 0.05) = 8 scenarios.
    same = scores(*[1.0] * 7)
    assert smallest_found(same, same, samples=4, tests=6) is None
    assert smallest_found(scores(*[1.0] * 60), scores(*[1.0] * 60), samples=1, tests=6) is not None


def test_more_scenarios_detect_smaller_drops_and_more_clauses_larger_ones() -> None:
    drawn = np.random.default_rng(4)
    first, second = drawn.binomial(4, 0.8, size=400) / 4, drawn.binomial(4, 0.8, size=400) / 4
    by_count = [smallest_found(first[:n], second[:n], samples=4) or 1.0 for n in (20, 60, 400)]
    assert by_count == sorted(by_count, reverse=True) and len(set(by_count)) == 3
    assert (smallest_found(first, second, samples=4, tests=20) or 0) > by_count[-1]


# A suite of 60 scenarios, 4 samples and 6 clauses, as it might be: each scenario and clause has a chance of
# its own (Beta(4, 1): 80 % on average), which makes its samples correlated.
SUITES, SCENARIOS, SAMPLES, CLAUSES = 1000, 60, 4, 6
CHANCE = 0.8


def suite(drawn: np.random.Generator, drop: float = 0.0) -> tuple[Scores, Scores]:
    """Scores `[scenarios, clauses]` before and after, where the first clause drops by so much on average."""
    before = drawn.beta(4, 1, size=(SCENARIOS, CLAUSES))
    after = before.copy()
    after[:, 0] *= 1 - drop / CHANCE
    return drawn.binomial(SAMPLES, before) / SAMPLES, drawn.binomial(SAMPLES, after) / SAMPLES


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None and interval.high is not None
    return interval.low <= truth <= interval.high


@pytest.mark.model
def test_without_a_true_difference_at_most_5_percent_are_false_alarms_and_intervals_cover() -> None:
    # The standard error of these shares over 1,000 suites is 0.007.
    drawn = np.random.default_rng(2)
    alarms, differences, levels = [], [], []
    for _ in range(SUITES):
        first, second = suite(drawn)
        p_values = adjusted([p_value(first[:, c], second[:, c]) for c in range(CLAUSES)])
        alarms.append(any(p is not None and p <= 0.05 for p in p_values))
        differences.append(covers(difference(first[:, 0], second[:, 0]), 0.0))
        levels.append(covers(rate(first[:, 0]), CHANCE))
    print(f"alarms {np.mean(alarms):.3f}, cover {np.mean(differences):.3f} and {np.mean(levels):.3f}")
    assert np.mean(alarms) <= 0.05
    assert 0.93 <= np.mean(differences) <= 0.97
    assert 0.93 <= np.mean(levels) <= 0.97


@pytest.mark.model
def test_a_true_drop_of_15_points_is_found_as_often_as_is_said() -> None:
    drawn = np.random.default_rng(3)
    found, said, covered = [], [], []
    for number in range(SUITES):
        first, second = suite(drawn, drop=0.15)
        p = adjusted([p_value(first[:, c], second[:, c]) for c in range(CLAUSES)])[0]
        interval = difference(first[:, 0], second[:, 0])
        assert p is not None and interval.high is not None
        found.append(p <= 0.05 and interval.high < 0)
        covered.append(covers(interval, -0.15))
        if number % 5 == 0:
            said.append(power(first[:, 0], second[:, 0], 0.15, samples=SAMPLES, tests=CLAUSES) or 0.0)
    print(f"found {np.mean(found):.3f}, said {np.mean(said):.3f}, cover {np.mean(covered):.3f}")
    assert np.mean(found) >= 0.80
    assert abs(np.mean(found) - np.mean(said)) <= 0.05
    assert 0.93 <= np.mean(covered) <= 0.97
