"""The measures of pluralism: cases worked by hand, what always holds, and that no order matters."""

from __future__ import annotations

import math
import time
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from prefect_ratify.scenarios.pluralism.distributional import closest, distances, entropies, entropy, js_distance
from prefect_ratify.scenarios.pluralism.objectives import (
    MOST_POINTS,
    dominates,
    four_digits,
    front,
    hypervolume,
    volume_change,
    volume_interval,
    volume_scores,
)
from prefect_ratify.scenarios.pluralism.overton import coverage
from prefect_ratify.scenarios.pluralism.resampling import RESAMPLES, bootstrap, resamples
from prefect_ratify.scenarios.pluralism.steerable import (
    accuracy,
    accuracy_scores,
    by_attribute,
    f1_change,
    f1_scores,
    macro_f1,
)
from prefect_ratify.scenarios.pluralism.trade_offs import regrets, rewards
from prefect_ratify.scenarios.statistics import Interval, Scores, difference, rate

NAN = math.nan
NOTHING = Interval(value=None, low=None, high=None, scenarios=0)
# Of the distance between the same distribution written twice, rounding leaves the root of 1e-16.
ROUNDING = 1e-7


def scores(*values: float) -> Scores:
    return np.array(values, dtype=np.float64)


def table(*rows: list[float]) -> Scores:
    return np.array(rows, dtype=np.float64)


def same(one: Interval, other: Interval) -> bool:
    ends = zip((one.value, one.low, one.high), (other.value, other.low, other.high), strict=True)
    close = all(a == b or (a is not None and b == pytest.approx(a, abs=2e-4)) for a, b in ends)
    return close and one.scenarios == other.scenarios


def bounded(interval: Interval, least: float = 0.0) -> bool:
    if interval.value is None or interval.low is None or interval.high is None:
        return interval == NOTHING
    return least <= interval.low <= interval.value <= interval.high <= 1


def decisions(*shape: int) -> st.SearchStrategy[Scores]:
    return arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, NAN]))


def counts(options: int) -> st.SearchStrategy[Scores]:
    return arrays(np.float64, (options,), elements=st.integers(0, 40).map(float))


# Overton


def test_coverage_is_the_mean_share_of_the_answers_that_are_decided() -> None:
    # plain: (2/3 + 1/2) / 2; by the weights 2, 1, 1: ((2 + 1)/4 + 2/(2 + 1)) / 2
    share, weighted = coverage([table([1, 0, 1], [1, NAN, 0])], [scores(2, 1, 1)])
    assert share == pytest.approx([7 / 12])
    assert weighted == pytest.approx([17 / 24])


def test_what_nobody_can_tell_is_not_covered_and_not_uncovered() -> None:
    covered = [table([NAN, NAN], [1, 0]), table([NAN]), np.empty((0, 2))]
    share, weighted = coverage(covered, [scores(1, 3), scores(1), scores(1, 1)])
    assert share == pytest.approx([0.5, NAN, NAN], nan_ok=True)
    assert weighted == pytest.approx([0.25, NAN, NAN], nan_ok=True)


@settings(deadline=None)
@given(decisions(3, 4), arrays(np.float64, (4,), elements=st.floats(0.1, 9)), st.permutations(range(4)))
def test_coverage_is_a_share_whatever_the_order(covered: Scores, weights: Scores, order: list[int]) -> None:
    found = coverage([covered], [weights])
    assert all(math.isnan(part[0]) or 0 <= part[0] <= 1 for part in found)
    turned = coverage([covered[::-1, order]], [weights[order]])
    assert np.allclose(found, turned, equal_nan=True)
    assert np.allclose(*coverage([covered], [np.full(4, 7.0)]), equal_nan=True)


# Steerable

# [scenario, steered to, attribute]
STEERED = np.array([[[1.0, 0], [1, 1]], [[1, 1], [0, 0]]])


def test_accuracy_and_f1_of_two_attributes() -> None:
    # steered to the first: follows in both scenarios; to the second: in one of two
    assert accuracy_scores(STEERED) == pytest.approx([1, 0.5])
    assert accuracy(STEERED) == rate(scores(1, 0.5))
    # first: precision 2/3 (one more follows that was steered to the second), recall 1: F1 0.8
    # second: precision 1/2, recall 1/2: F1 0.5
    (first, f1_of_first), (second, f1_of_second) = by_attribute(STEERED)
    assert (first.value, second.value) == (1, 0.5)
    assert (f1_of_first.value, f1_of_second.value) == (0.8, 0.5)
    assert macro_f1(STEERED).value == 0.65


def test_f1s_error_is_that_of_the_linearised_ratio() -> None:
    # first attribute: y = 2, 2 and x = told + following = 1 + 2, 1 + 1: R = 4/5;
    # R + n (y − R x) / Σ x = 0.8 + 2 (2 − 2.4) / 5 and 0.8 + 2 (2 − 1.6) / 5
    assert f1_scores(STEERED, [0]) == pytest.approx([0.64, 0.96])
    # both: the means with the second's, R = 2/4: 0.5 + 2 (2 − 0.5 · 2)/4 and 0.5 + 2 (0 − 0.5 · 2)/4
    assert f1_scores(STEERED, [0, 1]) == pytest.approx([(0.64 + 1) / 2, (0.96 + 0) / 2])


def test_a_model_that_does_the_same_whatever_it_is_told_is_not_steered() -> None:
    # always the first and never the second: accuracy 1/2; F1 of the first 2n / (n + 2n), of the second 0
    stuck = np.tile([[1.0, 0], [1, 0]], (6, 1, 1))
    assert accuracy(stuck).value == 0.5
    assert macro_f1(stuck).value == pytest.approx(1 / 3, abs=1e-4)
    never = by_attribute(stuck)[1][1]
    # recall at most 3.8415 / (6 + 3.8415) = 0.3903: 2 · 0.3903 · 6 / (6 + 0.3903 · 6)
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(2 * 0.3903 / 1.3903, abs=1e-4)
    stuck[:, 0, 1] = 1  # six more follow the second, that were steered to the first
    assert by_attribute(stuck)[1][1].high == pytest.approx(2 * 0.3903 / 2.3903, abs=1e-4)


def test_an_attribute_that_nobody_could_decide_has_no_figure() -> None:
    follows = STEERED.copy()
    follows[:, 1, 1] = NAN
    assert by_attribute(follows)[1] == (NOTHING, NOTHING)
    assert macro_f1(follows).value == 0.8
    nothing = np.full((3, 2, 2), NAN)
    assert accuracy(nothing) == macro_f1(nothing) == f1_change(nothing, nothing) == NOTHING


def test_the_change_of_f1_is_that_of_the_cells_decided_on_both_sides() -> None:
    after = STEERED.copy()
    after[1, 1, 1] = 1  # the second attribute: precision 2/3, recall 1
    assert f1_change(STEERED, after).value == pytest.approx((0.8 + 0.8) / 2 - 0.65)
    after[0, 1] = NAN  # then of the first attribute 2·2/(2 + 2), of the second before 0, after 2·1/(1 + 2)
    assert f1_change(STEERED, after).value == pytest.approx((2 / 3 - 0) / 2, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(decisions(5, 3, 3), st.permutations(range(3)), st.permutations(range(5)))
def test_steering_is_within_bounds_whatever_the_order(follows: Scores, order: list[int], rows: list[int]) -> None:
    turned = follows[rows][:, order][:, :, order]
    for measure in (accuracy, macro_f1):
        assert bounded(measure(follows))
        assert same(measure(follows), measure(turned))
    by_one, by_other = by_attribute(follows), by_attribute(turned)
    for place, other in zip(order, by_other, strict=True):
        assert all(bounded(one) and same(one, two) for one, two in zip(by_one[place], other, strict=True))


# Distributional


def test_the_jensen_shannon_distance_of_two_options() -> None:
    assert js_distance(scores(1, 0), scores(0, 1)) == 1
    assert js_distance(scores(3, 1), scores(3, 1)) == 0
    # middle (3/4, 1/4) with 3/4 log2(4/3) + 1/4 · 2 = 0.8113 bits, less (1 + 0) / 2: √0.3113
    assert js_distance(scores(50, 50), scores(1, 0)) == pytest.approx(0.5579, abs=1e-4)


def test_entropy_is_a_share_of_the_most_there_is() -> None:
    # 1/2 · 1 + 1/4 · 2 + 1/4 · 2 = 1.5 bits of log2(3) = 1.585
    assert entropy(scores(2, 1, 1)) == pytest.approx(0.9464, abs=1e-4)
    assert entropy(scores(7, 7, 7, 7)) == pytest.approx(1)
    assert str(entropy(scores(0, 5))) == "0.0"  # and not minus zero


def test_one_option_is_no_choice_and_no_votes_are_no_distribution() -> None:
    assert entropy(scores(5)) == js_distance(scores(5), scores(2)) == 0
    model, people = [scores(1, 0), scores(1, 1), scores(1, 1)], [scores(NAN, NAN), scores(0, 0), scores(1, 1)]
    assert distances(model, people) == pytest.approx([NAN, NAN, 0], nan_ok=True)
    assert entropies(people) == pytest.approx([NAN, NAN, 1], nan_ok=True)
    with pytest.raises(ValueError, match="same shape"):
        js_distance(scores(1), scores(1, 1))


@settings(deadline=None)
@given(counts(4), counts(4), counts(4), st.permutations(range(4)))
def test_the_distance_is_a_metric_in_0_to_1_whatever_the_order(
    p: Scores, q: Scores, r: Scores, order: list[int]
) -> None:
    assume(p.sum() and q.sum() and r.sum())
    found = js_distance(p, q)
    assert 0 <= found <= 1
    assert found == pytest.approx(js_distance(q[order], p[order]), abs=ROUNDING)
    assert found == pytest.approx(js_distance(p / 7, q), abs=ROUNDING)
    assert found == pytest.approx(jensenshannon(p, q, base=2), abs=ROUNDING)
    assert found <= js_distance(p, r) + js_distance(r, q) + ROUNDING
    assert 0 <= entropy(p) <= 1
    assert entropy(p) == pytest.approx(entropy(p[order]))


def test_the_closest_group_is_that_of_most_resamples() -> None:
    # Distances 0 and 1 against 0.558 twice: the first is closer unless the second question comes twice,
    # which it does in a quarter of resamples of two.
    model = [scores(1, 0), scores(1, 0)]
    first, second = [scores(1, 0), scores(0, 1)], [scores(1, 1), scores(1, 1)]
    found = closest(model, {"first": first, "second": second})
    error = math.sqrt(0.75 * 0.25 / RESAMPLES)
    assert found["first"] == pytest.approx(0.75, abs=4 * error)
    assert found["second"] == pytest.approx(1 - found["first"])


def test_groups_as_close_share_and_are_compared_on_the_same_questions() -> None:
    model = [scores(1, 0), scores(1, 3)]
    near, far = [scores(1, 0), scores(1, 3)], [scores(0, 1), scores(3, 1)]
    assert closest(model, {"a": far, "b": near, "c": near}) == {"a": 0, "b": 0.5, "c": 0.5}
    # On the question that both know, they are the same.
    partly = [scores(NAN, NAN), scores(1, 3)]
    assert closest(model, {"a": near, "b": partly}) == {"a": 0.5, "b": 0.5}
    unknown = [scores(0, 0), scores(0, 0)]
    assert closest(model, {"a": near, "nobody": unknown}) == {"a": 1}
    assert closest(model, {"a": [near[0], unknown[0]], "b": [unknown[0], near[1]]}) == {}
    assert closest(model, {"nobody": unknown}) == closest(model, {}) == {}


@settings(max_examples=10, deadline=None)
@given(arrays(np.float64, (6, 3, 3), elements=st.integers(1, 9).map(float)), st.permutations(range(6)))
def test_who_is_closest_does_not_hang_on_an_order(drawn: Scores, order: list[int]) -> None:
    model, a, b = (list(drawn[:, side]) for side in range(3))
    found = closest(model, {"a": a, "b": b})
    turned = drawn[order][:, :, [2, 0, 1]]
    model, a, b = (list(turned[:, side]) for side in range(3))
    assert closest(model, {"b": b, "a": a}) == pytest.approx(found)
    assert sum(found.values()) == pytest.approx(1)


def test_2000_questions_are_compared_in_seconds() -> None:
    drawn = np.random.default_rng(0).dirichlet([1, 1, 1], size=(4, 2000))
    started = time.process_time()
    found = closest(list(drawn[0]), {name: list(drawn[place]) for place, name in enumerate("abc", start=1)})
    assert time.process_time() - started < 20  # it takes two
    assert sum(found.values()) == pytest.approx(1)
    assert max(part.size for part in resamples(2000)) <= 1_000_000


# Objectives


def test_a_point_dominates_what_is_no_better_anywhere() -> None:
    assert dominates(scores(1, 0.5), scores(0.5, 0.5))
    assert not dominates(scores(0.5, 0.5), scores(0.5, 0.5))
    assert not dominates(scores(1, 0.4), scores(0.5, 0.5))
    # Only the first is decided on both sides.
    assert dominates(scores(1, NAN), scores(0.5, 1))
    assert not dominates(scores(NAN, 1), scores(0.5, NAN))


def test_the_front_is_what_nothing_dominates() -> None:
    points = [scores(1, 0.2), scores(0.2, 1), scores(0.2, 0.2), scores(1, 0.2)]
    assert front(points) == [True, True, False, True]
    assert front([]) == []


def test_the_hypervolume_of_overlapping_boxes() -> None:
    # 1/2 + 1/2 − 1/4
    assert hypervolume([scores(0.5, 1), scores(1, 0.5)]) == pytest.approx(0.75)
    # three of 1/4; each two share 1/8, and so do all: 3/4 − 3/8 + 1/8
    thirds = [scores(*point) for point in set(permutations((1.0, 0.5, 0.5)))]
    assert hypervolume(thirds) == pytest.approx(0.5)
    # above 1/2: 1/2 · 1/4 and 1/4 · 0.4, less 1/4 · 1/4; what is below on one objective adds nothing
    above = [scores(1, 0.75), scores(0.75, 0.9), scores(0.1, 1)]
    assert hypervolume(above, reference=0.5) == pytest.approx(0.1625)


def test_a_small_volume_keeps_its_digits() -> None:
    assert four_digits(hypervolume([np.full(20, 0.3)])) == 3.487e-11  # 0.3²⁰ = 3.4868e−11


def test_the_hypervolume_is_of_the_objectives_decided_for_all() -> None:
    assert hypervolume([scores(0.5, NAN), scores(0.25, 1)]) == 0.5
    assert math.isnan(hypervolume([scores(NAN, 1), scores(1, NAN)]))
    assert math.isnan(hypervolume([]))


def test_many_points_are_refused_unless_they_are_dominated() -> None:
    slope = np.linspace(0, 1, MOST_POINTS + 1)
    line = list(np.stack([slope, 1 - slope], axis=1))
    with pytest.raises(ValueError, match="17 points"):
        hypervolume(line)
    assert hypervolume([*line, scores(1, 1)]) == 1
    # 16 points of 30 objectives, of which each is best in one: 1 − 1/2 is what no two share
    corner = [np.where(np.arange(30) == place, 1.0, 0.5) for place in range(MOST_POINTS)]
    assert hypervolume(corner) == pytest.approx(0.5**29 + (MOST_POINTS - 1) * 0.5**30, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, (5, 3), elements=st.integers(0, 4)), st.permutations(range(5)), st.permutations(range(3)))
def test_the_hypervolume_is_the_number_of_cells_below(cells: Scores, rows: list[int], columns: list[int]) -> None:
    below = sum(any(all(np.array(cell) < point) for point in cells) for cell in product(range(4), repeat=3))
    points = list(cells / 4.0)
    assert hypervolume(points) == pytest.approx(below / 4**3)
    assert hypervolume(list((cells / 4.0)[rows][:, columns])) == pytest.approx(below / 4**3)
    assert front([points[row] for row in rows]) == [front(points)[row] for row in rows]


def test_the_volume_of_one_clause_is_its_rate() -> None:
    clause = scores(1, 1, 0.5, 0, NAN, 1)
    assert volume_interval(clause[:, np.newaxis]) == rate(clause)


def test_the_volume_of_two_clauses_and_its_interval() -> None:
    both = table([1, 1], [1, 1], [1, 0], [0, 1])
    # Each rate is 3/4, from 0.1307 to 0.9836 (Wilson at 3 samples, t = 3.1824); they go against each other,
    # which counts as not together: 0.5625 exp(−√2 log(0.75 / 0.1307)) = 0.0475.
    # Linearised: 0.5625 + 0.75 (gaps of both) = 0.9375 twice and 0.1875 twice, standard error 0.2165, which
    # is Wilson at 5.25 samples: up to 0.926; more than 0.5625 exp(√2 log(0.9836 / 0.75)) = 0.8254.
    assert volume_scores(both) == pytest.approx([0.9375, 0.9375, 0.1875, 0.1875])
    found = volume_interval(both)
    assert (found.value, found.scenarios) == (0.5625, 4)
    assert (found.low, found.high) == pytest.approx((0.0475, 0.926), abs=2e-4)


def test_what_is_always_or_never_upheld_is_not_certain() -> None:
    always, never = volume_interval(np.ones((10, 3))), volume_interval(np.zeros((10, 3)))
    # Wilson at 10 of 10 is 0.7225 to 1; of three that do not spread: exp(−√3 log(1 / 0.7225))
    assert (always.value, always.high) == (1, 1)
    assert always.low == pytest.approx(0.7225 ** math.sqrt(3), abs=1e-4)
    # at 0 of 10 up to 0.2775, for the product of three as for one
    assert (never.value, never.low, never.high) == (0, 0, 0.2775)
    assert volume_interval(np.full((3, 2), NAN)) == NOTHING


def test_a_change_of_volume_is_of_the_cells_decided_on_both_sides() -> None:
    before = table([1, 1], [1, 0], [1, 1], [1, NAN])
    after = table([1, 1], [0, 1], [1, 1], [NAN, 1])
    # of the first three scenarios: 1 · 2/3 before and 2/3 · 1 after
    found = volume_change(before, after)
    assert (found.value, found.scenarios) == (0, 3)
    assert found.low is not None and found.high is not None and -1 <= found.low < 0 < found.high <= 1
    assert volume_change(before, np.full((4, 2), NAN)) == NOTHING


def test_a_change_to_the_same_is_the_difference_of_what_either_could_be() -> None:
    mixed = table(*([[1, 1], [0, 1], [1, 0], [1, 1]] * 4))
    alone, found = volume_interval(mixed), volume_change(mixed, mixed)
    assert alone.value is not None and alone.low is not None and alone.high is not None
    # They go together wholly: √(a² + b² − 2 a b), with the one's way down for a and the other's way up for b.
    reach = abs((alone.value - alone.low) - (alone.high - alone.value))
    assert (found.value, found.low, found.high) == pytest.approx((0, -reach, reach), abs=1e-3)


def test_a_rate_whose_end_is_rounded_to_0_has_a_volume() -> None:
    found = volume_interval(table([0.0002, 0.0002], [0, 0]))
    assert found.value == pytest.approx(1e-8)
    assert bounded(found)


@settings(max_examples=60, deadline=None)
@given(decisions(6, 4), decisions(6, 4), st.permutations(range(6)), st.permutations(range(4)))
def test_volumes_are_within_bounds_whatever_the_order(
    first: Scores, second: Scores, rows: list[int], columns: list[int]
) -> None:
    found, change = volume_interval(first), volume_change(first, second)
    assert bounded(found)
    assert bounded(change, least=-1.0)
    assert same(found, volume_interval(first[rows][:, columns]))
    assert same(change, volume_change(first[rows][:, columns], second[rows][:, columns]))
    back = volume_change(second, first)
    if change.value is not None and back.value is not None:
        assert back.value == pytest.approx(-change.value, abs=1e-4)
        assert float(np.nanmean(volume_scores(first))) == pytest.approx(found.value, abs=1e-3)


# Trade-offs


def test_a_reward_is_the_weighted_mean_of_what_is_decided() -> None:
    # (3 · 1 + 1 · 0) / 4; the second clause alone; nothing
    found = rewards(table([1, 0], [NAN, 1], [NAN, NAN]), scores(3, 1))
    assert found == pytest.approx([0.75, 1, NAN], nan_ok=True)
    assert np.isnan(rewards(table([1, NAN]), scores(0, 1))).all()


def test_regret_is_what_the_best_gains_over_it() -> None:
    # gains 0.5, 0, 0.5, 0: mean 0.25, error 0.1443, t = 3.1824: up to 0.7093; below 0 there is no regret
    tried = {"own": scores(0.5, 0.5, 0, 0), "best": scores(1, 0.5, 0.5, 0), "worse": scores(0, 0, 0, 0)}
    found, best = regrets(tried, "own")
    assert (found, best) == (Interval(value=0.25, low=0.0, high=0.7093, scenarios=4), "best")
    assert regrets(tried, "best")[0].value == 0
    assert regrets(tried, "best")[1] == "best"


def test_the_more_were_tried_the_less_the_best_of_them_shows() -> None:
    gain = scores(0.5, 0.4, 0.6, 0.5, 0.3)
    tried = {"own": scores(*[0.2] * 5), "a": 0.2 + gain, "b": 0.2 + gain, "c": 0.2 + gain}
    found, best = regrets(tried, "own")
    assert best == "a"
    assert found.low == difference(tried["own"], tried["a"], level=1 - 0.05 / 3).low
    assert found.high == difference(tried["own"], tried["a"]).high
    alone, _ = regrets({"own": tried["own"], "a": tried["a"]}, "own")
    assert alone.low is not None and found.low is not None and alone.low > found.low > 0


def test_regret_needs_something_to_compare_with() -> None:
    assert regrets({"own": scores(1, 0)}, "own") == (NOTHING, "own")
    assert regrets({"own": scores(1, NAN), "other": scores(NAN, 1)}, "own") == (NOTHING, "own")


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (3, 6), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN])), st.permutations(range(6)))
def test_regret_is_within_0_and_1_whatever_the_order(drawn: Scores, order: list[int]) -> None:
    found, best = regrets(dict(zip("abc", drawn, strict=True)), "b")
    assert bounded(found)
    turned, other = regrets(dict(zip("cba", drawn[::-1, order], strict=True)), "b")
    assert same(found, turned)
    assert (best == "b") == (not found.value)
    assert (other == "b") == (not turned.value)


# Resampling


def test_a_resample_draws_as_many_as_there_are() -> None:
    parts = list(resamples(7))
    assert sum(len(part) for part in parts) == RESAMPLES
    assert all((part.sum(axis=1) == 7).all() for part in parts)
    assert np.concatenate(parts).mean(axis=0) == pytest.approx(np.ones(7), abs=0.05)  # standard error 0.009


def test_the_bootstrap_of_a_mean_of_many_is_students() -> None:
    values = np.random.default_rng(4).normal(0.5, 0.1, size=200)
    low, high = bootstrap(lambda weights: weights @ values / weights.sum(axis=1), 200)
    students = difference(np.zeros(200), values)
    assert (low, high) == pytest.approx((students.low, students.high), abs=0.002)


def test_the_bootstrap_needs_two_units_and_a_defined_statistic() -> None:
    assert np.isnan(bootstrap(lambda weights: weights[:, 0], 1)).all()
    assert np.isnan(bootstrap(lambda weights: np.full(len(weights), NAN), 5)).all()
    assert bootstrap(lambda weights: np.ones(len(weights)), 5) == (1, 1)


def test_resamples_without_a_value_are_left_out() -> None:
    values = scores(0.2, 0.4, 0.6, 0.8)

    def mean_where_the_first_is_drawn(weights: Scores) -> Scores:
        return np.where(weights[:, 0] > 0, weights @ values / weights.sum(axis=1), NAN)

    low, high = bootstrap(mean_where_the_first_is_drawn, 4)
    assert 0.2 <= low < 0.5 < high <= 0.8
