"""Krippendorff's alpha: the textbook's figure, cases worked by hand, and intervals that cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.flows.calibrating import CalibrationReport
from prefect_ratify.flows.calibration_markdown import markdown
from prefect_ratify.flows.calibration_text import show
from prefect_ratify.scenarios.labels import Label, Ruled
from prefect_ratify.scenarios.pluralism.alpha import Unit, agreements, alpha, alpha_words

# Krippendorff's own example: 12 units, 4 observers, some of whom did not see all.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
TEXTBOOK = [
    (str(n), "c", [value for value in values if value != "."])
    for n, values in enumerate(zip(*map(str.split, OBSERVERS), strict=True))
]


def units(*said: str, clause: str = "c") -> list[Unit]:
    return [(f"{clause}{n}", clause, list(each)) for n, each in enumerate(said)]


def test_the_textbooks_figure() -> None:
    found = alpha(TEXTBOOK)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.scenarios == 11  # the twelfth was seen by one observer alone
    assert found.low is not None and found.high is not None and found.low < 0.743 < found.high <= 1


def test_two_people_worked_by_hand() -> None:
    # Three a and five b: 2 of 8 coincidences are of different ones, and 2 · 3 · 5 / 7 would be by chance.
    assert alpha(units("aa", "ab", "bb", "bb")).value == pytest.approx(1 - 2 / (30 / 7), abs=1e-4)
    assert alpha(units("ab", "ba")).value == -0.5  # 1 − 4 / (2 · 2 · 2 / 3)


def test_full_agreement_is_1_and_not_certain_and_no_variation_is_no_estimate() -> None:
    found = alpha(units("aaa", "bbb", "aa", "b"))
    assert (found.value, found.high, found.scenarios) == (1.0, 1.0, 3)
    assert found.low is not None and found.low < 0.5
    for same in (units("aa", "aa"), units("a", "b"), []):
        assert alpha(same).value is None and alpha(same).low is None


def test_that_clauses_differ_is_no_agreement_on_responses() -> None:
    divided = units("uv", "vu", "uv", "vu", clause="y")
    kept = units("uu", "uu", "uu", "uu", clause="x")
    assert alpha([*kept, *divided]).value == alpha(divided).value == -0.75
    one_clause = [(scenario_id, "c", said) for scenario_id, _, said in (*kept, *divided)]
    assert (alpha(one_clause).value or 0.0) > -0.75


def test_one_scenario_has_the_interval_of_one() -> None:
    found = alpha([("s", "c", "ab"), ("s", "c", "aa"), ("s", "c", "bb")])
    assert found.scenarios == 1 and found.low is not None and found.low < -0.3


SAID = st.lists(st.tuples(st.sampled_from("stuv"), st.sampled_from("cd"), st.text("unv", max_size=4)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(SAID, st.randoms(use_true_random=False))
def test_it_is_the_same_whatever_the_order_and_at_most_1(said: list[Unit], random: object) -> None:
    found = alpha(said)
    mixed = [(scenario_id, clause_id, random.sample(each, len(each))) for scenario_id, clause_id, each in said]  # type: ignore[attr-defined]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    again = alpha(mixed)
    assert (found.value is None) == (again.value is None)
    if found.value is not None and found.low is not None and found.high is not None:
        assert again.value == pytest.approx(found.value, abs=1e-4)
        assert -1 <= found.low <= max(found.value, -1) and found.value <= found.high <= 1


def label(by: str, outcome: Ruled, scenario_id: str = "s", clause_id: str = "c", response: str = "r") -> Label:
    return Label(scenario_id=scenario_id, response=response, clause_id=clause_id, outcome=outcome, by=by)


def ruled() -> list[Label]:
    """Ada and Ben on two clauses, Cy on one; Dee alone."""
    return [
        *(label(by, "upheld", "s") for by in ("Ada", "Ben", "Cy")),
        *(label(by, "violated", "t") for by in ("Ada", "Ben", "Cy")),
        label("Ada", "violated", "t", response=" r\n"),  # said before, of the same response
        label("Ada", "upheld", "s", "d"),
        label("Ben", "violated", "s", "d"),
        label("Dee", "upheld", "z"),
    ]


def test_rulings_on_the_same_response_and_clause_are_compared() -> None:
    together, of_c, of_d = agreements(ruled())
    assert (together.clause_id, together.people, together.responses) == ("", 3, 2)
    assert (of_c.clause_id, of_c.alpha.value, of_c.people, of_c.responses) == ("c", 1.0, 3, 2)
    assert (of_d.alpha.value, of_d.people) == (0.0, 2)
    assert alpha_words(of_c).startswith("Krippendorff's alpha 1.00 [")
    assert alpha_words(of_c).endswith("] between 3 people on 2 responses")


def test_nobody_agrees_alone_and_one_clause_is_said_once() -> None:
    assert agreements([label("Ada", "upheld"), label(" ADA", "upheld"), label("ada", "violated")]) == ()
    assert agreements([label("Ada", "upheld"), label("Ada", "violated")]) == ()
    assert agreements([]) == ()
    (unnamed,) = agreements([label("", "upheld"), label("", "violated"), label("", "upheld", "t")])
    assert (unnamed.people, unnamed.responses) == (2, 1)


def test_calibrate_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = CalibrationReport("T", 10, 4, (), (), (), agreements(ruled())[0])
    said = "All together: Krippendorff's alpha"
    assert sum(line.startswith(said) for line in markdown(report).splitlines()) == 1
    show(report)
    assert capsys.readouterr().out.count(said) == 1
    assert said not in markdown(CalibrationReport("T", 10, 4, (), (), ()))


def _drawn(rng: np.random.Generator, scenarios: int, people: int, upheld: float, wrong: float) -> Sequence[Unit]:
    """Each of two responses is kept or not, and each person sees otherwise with a small chance."""
    found = []
    for place in range(2 * scenarios):
        kept = rng.random() < upheld
        found.append((str(place // 2), "c", ["uv"[int(kept ^ (rng.random() < wrong))] for _ in range(people)]))
    return found


@pytest.mark.model
@pytest.mark.parametrize(
    ("scenarios", "people", "upheld", "wrong"),
    [(12, 2, 0.8, 0.05), (12, 3, 0.7, 0.02), (12, 4, 0.5, 0.3), (30, 2, 0.9, 0.03)],
)
def test_the_interval_covers(scenarios: int, people: int, upheld: float, wrong: float) -> None:
    rng = np.random.default_rng(3)
    share = upheld * (1 - wrong) + (1 - upheld) * wrong
    true = 1 - 2 * wrong * (1 - wrong) / (2 * share * (1 - share))
    found = [alpha(_drawn(rng, scenarios, people, upheld, wrong)) for _ in range(100)]
    covered = [f.low <= true <= f.high for f in found if f.low is not None and f.high is not None]
    assert np.mean(covered) >= 0.91  # what 100 draws may show of 95 %
