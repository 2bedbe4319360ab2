"""`compare`: which cells changed, what is found, and that it is fair to both sides."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.records import Outcome, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference, Interval, compare, rates

LETTERS: dict[str, Outcome] = {"u": "upheld", "v": "violated", "n": "not applicable", "?": "undecided"}


def verdicts(condition: str, table: dict[tuple[str, str], str]) -> list[Verdict]:
    """`{(scenario, clause): letters}`, one letter a sample."""
    return [
        Verdict(
            scenario_id=scenario_id,
            condition=condition,
            sample=sample,
            clause_id=clause_id,
            outcome=LETTERS[letter],
            confidence=1.0,
            reason="",
            judge="check",
        )
        for (scenario_id, clause_id), letters in table.items()
        for sample, letter in enumerate(letters)
    ]


def of_clause(comparison: Comparison, clause_id: str) -> Difference:
    return next(d for d in comparison.differences if d.clause_id == clause_id)


# Three scenarios, two clauses, two samples each. Shares of upheld among decided samples:
#              before        after      change
#   s1 a       1/2           2/2        fixed
#   s1 b       2/2           0/2        regressed
#   s2 a       0/2           0/2        unchanged
#   s2 b       none (?, n)   1/2        undecided
#   s3 a       1/1 (one ?)   1/2        regressed
#   s3 b       none          none       no cell
BEFORE = {
    ("s1", "a"): "uv",
    ("s1", "b"): "uu",
    ("s2", "a"): "vv",
    ("s2", "b"): "?n",
    ("s3", "a"): "u?",
    ("s3", "b"): "nn",
}
AFTER = {
    ("s1", "a"): "uu",
    ("s1", "b"): "vv",
    ("s2", "a"): "vv",
    ("s2", "b"): "uv",
    ("s3", "a"): "uv",
    ("s3", "b"): "??",
}


def test_a_case_worked_by_hand() -> None:
    found = compare(verdicts("draft", BEFORE), verdicts("refined", AFTER), ["a", "b"])
    assert (found.first, found.second) == ("draft", "refined")
    assert [(c.scenario_id, c.clause_id, c.first, c.second, c.change) for c in found.cells] == [
        ("s1", "a", 0.5, 1.0, "fixed"),
        ("s1", "b", 1.0, 0.0, "regressed"),
        ("s2", "a", 0.0, 0.0, "unchanged"),
        ("s2", "b", None, 0.5, "undecided"),
        ("s3", "a", 1.0, 0.5, "regressed"),
    ]
    assert [found.count(change) for change in ("fixed", "regressed", "unchanged", "undecided")] == [1, 2, 1, 1]
    # a: (0.5 + 0 - 0.5) / 3; b: s1 alone is decided on both sides
    assert (of_clause(found, "a").interval.value, of_clause(found, "a").interval.scenarios) == (0.0, 3)
    assert (of_clause(found, "b").interval.value, of_clause(found, "b").interval.scenarios) == (-1.0, 1)
    # all clauses: means over decided clauses are s1 0.75 → 0.5, s2 0 → 0.25, s3 1 → 0.5
    assert found.total().interval.value == round((-0.25 + 0.25 - 0.5) / 3, 4)
    assert found.total().interval.scenarios == 3


def test_rates_count_every_outcome_and_score_only_what_is_decided() -> None:
    a, b, all_clauses = rates(verdicts("draft", BEFORE), ["a", "b"])
    assert (a.clause_id, b.clause_id, all_clauses.clause_id) == ("a", "b", ALL)
    assert a.verdicts == {"upheld": 2, "violated": 3, "not applicable": 0, "undecided": 1}
    assert (a.interval.value, a.interval.scenarios) == (0.5, 3)  # (1/2 + 0 + 1) / 3
    assert b.verdicts == {"upheld": 2, "violated": 0, "not applicable": 3, "undecided": 1}
    assert (b.interval.value, b.interval.scenarios) == (1.0, 1)
    assert all_clauses.interval.value == round((0.75 + 0 + 1) / 3, 4)
    assert all_clauses.verdicts == {"upheld": 4, "violated": 3, "not applicable": 3, "undecided": 2}


def test_undecided_verdicts_change_no_score() -> None:
    plain = {("s1", "a"): "uv", ("s2", "a"): "uu"}
    unsure = {key: letters + "??n" for key, letters in plain.items()}
    assert [r.interval for r in rates(verdicts("x", unsure), ["a"])] == [
        r.interval for r in rates(verdicts("x", plain), ["a"])
    ]
    other = verdicts("y", {("s1", "a"): "vv", ("s2", "a"): "vu"})
    found = [of_clause(compare(verdicts("x", first), other, ["a"]), "a") for first in (unsure, plain)]
    assert len({(d.interval, d.p_value, d.finding) for d in found}) == 1


def test_a_scenario_that_is_missing_on_one_side_is_in_no_difference() -> None:
    found = compare(verdicts("x", {("s1", "a"): "v", ("s2", "a"): "v"}), verdicts("y", {("s1", "a"): "u"}), ["a"])
    assert of_clause(found, "a").interval.scenarios == 1
    assert [cell.change for cell in found.cells] == ["fixed", "undecided"]


def clause_table(letters: str, samples: int = 2) -> dict[tuple[str, str], str]:
    return {(f"s{number}", "a"): letter * samples for number, letter in enumerate(letters)}


def finding(before: str, after: str) -> str:
    return of_clause(
        compare(verdicts("x", clause_table(before)), verdicts("y", clause_table(after)), ["a"]), "a"
    ).finding


def test_findings_by_hand() -> None:
    assert finding("v" * 5, "u" * 5) == "too few scenarios to tell"
    assert finding("v" * 6, "u" * 6) == "better"  # p = 2/64
    assert finding("u" * 6, "v" * 6) == "worse"
    assert finding("u" * 6, "u" * 6) == "no difference shown"
    assert finding("vvvvuu", "uuuuuu") == "no difference shown"  # four gains: p = 2/16
    assert finding("vvvvvuu", "uuuuuuv") == "no difference shown"  # five gains, a loss: p = 14/64
    assert finding("?" * 6, "u" * 6) == "too few scenarios to tell"


def test_where_nobody_fails_rate_and_difference_have_a_width() -> None:
    found = compare(verdicts("x", clause_table("u" * 10)), verdicts("y", clause_table("u" * 10)), ["a"])
    assert all(rate.interval == Interval(value=1.0, low=0.7225, high=1.0, scenarios=10) for rate in found.rates)
    assert of_clause(found, "a").interval == Interval(value=0.0, low=-0.2775, high=0.2775, scenarios=10)


def test_p_values_are_adjusted_over_the_clauses() -> None:
    # a: six gains of six, 2/64; b and c: nothing, 1. Adjusted by three clauses: 6/64 > 5 %
    before = {(f"s{n}", clause): "v" for n in range(6) for clause in "abc"}
    after = {key: "u" if key[1] == "a" else "v" for key in before}
    alone = of_clause(compare(verdicts("x", before), verdicts("y", after), ["a"]), "a")
    among = of_clause(compare(verdicts("x", before), verdicts("y", after), ["a", "b", "c"]), "a")
    assert (alone.p_value, alone.finding) == (pytest.approx(2 / 64), "better")
    assert (among.p_value, among.finding) == (pytest.approx(6 / 64), "no difference shown")


def test_nothing_compared_with_nothing_is_an_answer_too() -> None:
    found = compare([], [], ["a"])
    assert found.cells == ()
    assert found.total().finding == "too few scenarios to tell"
    assert found.total().interval.value is None


CLAUSES = ["a", "b"]
tables = st.dictionaries(
    st.tuples(st.sampled_from([f"s{n}" for n in range(8)]), st.sampled_from(CLAUSES)),
    st.text("uvn?", min_size=1, max_size=4),
    max_size=16,
)
modest = settings(max_examples=40, deadline=None)


@given(tables, tables)
@modest
def test_every_cell_and_verdict_is_accounted_for(
    before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]
) -> None:
    first, second = verdicts("x", before), verdicts("y", after)
    found = compare(first, second, CLAUSES)
    decided = {(v.scenario_id, v.clause_id) for v in first + second if v.outcome in ("upheld", "violated")}
    assert {(cell.scenario_id, cell.clause_id) for cell in found.cells} == decided
    assert sum(found.count(change) for change in ("fixed", "regressed", "unchanged", "undecided")) == len(found.cells)
    for condition, given_verdicts in (("x", first), ("y", second)):
        if given_verdicts:
            by_clause = {r.clause_id: r for r in found.rates if r.condition == condition}
            assert sum(by_clause[ALL].verdicts.values()) == len(given_verdicts)
            for outcome, count in by_clause[ALL].verdicts.items():
                assert count == sum(by_clause[clause].verdicts[outcome] for clause in CLAUSES)
    for interval in [*(r.interval for r in found.rates), *(d.interval for d in found.differences)]:
        if interval.value is not None:
            assert interval.low is not None and interval.high is not None
            assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert all(r.interval.low is None or r.interval.low >= 0 for r in found.rates)


OPPOSITE = {"better": "worse", "worse": "better"}
TURNED = {"fixed": "regressed", "regressed": "fixed"}


@given(tables, tables)
@modest
def test_the_comparison_turned_round_says_the_opposite(
    before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]
) -> None:
    first, second = verdicts("x", dict(sorted(before.items()))), verdicts("y", dict(sorted(after.items())))
    there, back = compare(first, second, CLAUSES), compare(second, first, CLAUSES)
    for one, other in zip(there.differences, back.differences, strict=True):
        assert one.interval.scenarios == other.interval.scenarios
        assert one.p_value == pytest.approx(other.p_value)
        if one.interval.value is not None and other.interval.value is not None:
            assert one.interval.value == pytest.approx(-other.interval.value, abs=2e-4)
            if {v.scenario_id for v in first} == {v.scenario_id for v in second}:  # so in the same order
                assert OPPOSITE.get(one.finding, one.finding) == other.finding
    turned = {(c.scenario_id, c.clause_id): TURNED.get(c.change, c.change) for c in there.cells}
    assert turned == {(c.scenario_id, c.clause_id): c.change for c in back.cells}


def near(one: float | None, other: float | None, tolerance: float) -> bool:
    return one == other if one is None or other is None else abs(one - other) <= tolerance


@given(tables, tables, st.randoms(use_true_random=False))
@modest
def test_the_order_of_verdicts_does_not_matter(
    before: dict[tuple[str, str], str], after: dict[tuple[str, str], str], random: Random
) -> None:
    def shuffled(values: Sequence[Verdict]) -> list[Verdict]:
        return random.sample(list(values), len(values))

    first, second = verdicts("x", before), verdicts("y", after)
    one, other = compare(first, second, CLAUSES), compare(shuffled(first), shuffled(second), CLAUSES)
    assert {(c.scenario_id, c.clause_id): c for c in one.cells} == {
        (c.scenario_id, c.clause_id): c for c in other.cells
    }
    assert [r.verdicts for r in one.rates] == [r.verdicts for r in other.rates]
    intervals = [[*(r.interval for r in c.rates), *(d.interval for d in c.differences)] for c in (one, other)]
    for mine, its in zip(*intervals, strict=True):
        assert mine.scenarios == its.scenarios
        assert near(mine.value, its.value, 2e-4)
        assert near(mine.low, its.low, 2e-4) and near(mine.high, its.high, 2e-4)
    for d, e in zip(one.differences, other.differences, strict=True):
        assert d.p_value == pytest.approx(e.p_value)
