"""Calibration: figures worked by hand and by other libraries, what always holds, and judges of known worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows.calibrating import CalibrationReport, JudgeReport
from prefect_ratify.flows.calibration_text import show
from prefect_ratify.flows.calibration_words import clause_row, sentences
from prefect_ratify.policy import parse_policy
from prefect_ratify.records import Policy, Verdict
from prefect_ratify.scenarios import agreement as agreement_module
from prefect_ratify.scenarios.agreement import Rated, agreement, auc, holm, kappa, labels_missing, p_better
from prefect_ratify.scenarios.calibration import (
    Calibration,
    ClauseCalibration,
    Judged,
    calibrate,
    load_calibration,
    people,
)
from prefect_ratify.scenarios.labels import Item, Label, items_of, load_labels
from prefect_ratify.scenarios.yardstick import CHECK
from prefect_ratify.store import write_record
from tests.model_server import Messages, ModelServer, model_server

CLAUSES = ("sorry", "ask")
TEXT = "# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n"
POLICY = parse_policy(TEXT)
RULED = ("upheld", "violated", "not applicable")
outcomes = st.sampled_from(RULED)
ratings = st.lists(st.tuples(st.sampled_from("abcdefgh"), outcomes, outcomes), min_size=1, max_size=40)


def rated(*counts: tuple[int, str, str]) -> list[Rated]:
    """So many scenarios of one response, of which the first rater says this and the second that."""
    listed = [(first, second) for count, first, second in counts for _ in range(count)]
    return [(f"s{n}", first, second) for n, (first, second) in enumerate(listed)]


# figures


def test_kappa_is_agreement_beyond_chance() -> None:
    # Cohen's usual example: both yes 20, both no 15, 5 and 10 between; 35/50 agree, by chance 0.5·0.6 + 0.5·0.4
    table = rated(
        (20, "upheld", "upheld"), (5, "upheld", "violated"), (10, "violated", "upheld"), (15, *2 * ["violated"])
    )
    found = kappa(table)
    assert agreement(table).value == 0.7
    assert found.value == pytest.approx((0.7 - 0.5) / 0.5)
    assert found.low is not None and found.high is not None and found.low < 0.4 < found.high
    reference = cohens_kappa(np.array([[20, 5], [10, 15]]))
    assert found.value == pytest.approx(reference.kappa, abs=1e-4)
    assert found.low <= reference.kappa_low + 0.03 and found.high >= reference.kappa_upp - 0.03


@given(ratings)
@settings(max_examples=60, deadline=None)
def test_kappa_is_that_of_statsmodels_where_each_scenario_has_one_response(given_ratings: list[Rated]) -> None:
    single = [(f"s{n}", first, second) for n, (_, first, second) in enumerate(given_ratings)]
    table = np.zeros((3, 3))
    for _, first, second in single:
        table[RULED.index(first), RULED.index(second)] += 1
    found = kappa(single).value
    if found is None:
        assert (table.sum(axis=0) == len(single)).any() and (table.sum(axis=1) == len(single)).any()
    else:
        assert found == pytest.approx(cohens_kappa(table, return_results=False), abs=1e-4)


@given(ratings, st.randoms())
@settings(max_examples=100, deadline=None)
def test_kappa_is_in_its_bounds_and_the_same_in_any_order_and_for_raters_exchanged(
    given_ratings: list[Rated], random: object
) -> None:
    found = kappa(given_ratings)
    if found.value is not None:
        assert found.low is not None and found.high is not None
        assert -1 <= found.low <= found.value <= found.high <= 1
    shuffled = list(given_ratings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    exchanged = [(scenario, second, first) for scenario, first, second in given_ratings]
    for other in (kappa(shuffled), kappa(exchanged)):
        assert other.model_dump() == pytest.approx(found.model_dump(), abs=2e-4)


def test_a_scenario_counts_once_however_many_of_its_responses_are_labelled() -> None:
    # a: right; b: 1 of 4 right: (1 + 0.25) / 2
    table = [("a", "upheld", "upheld"), *[("b", "violated", said) for said in ("violated", *["upheld"] * 3)]]
    assert agreement(table).value == 0.625
    assert agreement(table).scenarios == 2


def test_auc_counts_pairs_and_ties_as_half() -> None:
    # 0.9 and 0.5 against 0.5 and 0.1: above, above, tie, above: 3.5 of 4
    found = auc([("a", 0.9), ("b", 0.5)], [("c", 0.5), ("d", 0.1)])
    assert (found.value, found.scenarios) == (0.875, 4)
    assert auc([("a", 1.0)] * 3, []).value is None
    sure = auc([(str(n), 0.9) for n in range(10)], [(str(n), 0.2) for n in range(10, 20)])
    assert sure.value == sure.high == 1.0 and sure.low is not None and 0.7 < sure.low < 0.9


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.lists(st.integers(0, 20), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_auc_is_blind_to_the_scale_and_turns_round_with_the_sides(higher: list[int], lower: list[int]) -> None:
    def scored(scores: Sequence[float], name: str) -> list[tuple[str, float]]:
        return [(f"{name}{n}", score) for n, score in enumerate(scores)]

    found = auc(scored(higher, "a"), scored(lower, "b"))
    bent = auc(scored([np.exp(s / 3) for s in higher], "a"), scored([np.exp(s / 3) for s in lower], "b"))
    turned = auc(scored(lower, "b"), scored(higher, "a"))
    assert bent == found
    assert found.value is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert turned.value == pytest.approx(1 - found.value, abs=2e-4)
    assert turned.low == pytest.approx(1 - found.high, abs=2e-4)


def test_better_than_chance_is_fishers_exact_test() -> None:
    # three of four and three of four: 17/70 (Fisher's lady and her tea)
    tea = rated((3, "upheld", "upheld"), (1, "upheld", "violated"), (1, "violated", "upheld"), (3, *2 * ["violated"]))
    assert p_better(tea) == pytest.approx(17 / 70)
    assert p_better(rated((4, *2 * ["upheld"]), (4, *2 * ["violated"]))) == pytest.approx(1 / 70)
    assert p_better(rated((9, *2 * ["upheld"]))) is None, "labels of one outcome say nothing"
    assert p_better(rated((4, *2 * ["upheld"]), (4, "violated", "not applicable"))) == 1.0, "that is wrong, and counts"
    assert p_better([*tea, *rated((5, "not applicable", "upheld"))]) == pytest.approx(17 / 70)


def test_with_several_responses_a_scenario_verdicts_change_places_between_like_scenarios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two scenarios of two, one all upheld and one all violated, judged rightly: of the 2 orders of scenarios one
    # is as good, so p is a half; by Fisher's test it were 1/6.
    both = [(name, label, label) for name, label in zip("aabb", ["upheld"] * 2 + ["violated"] * 2, strict=True)]
    assert p_better(both) == pytest.approx(1 / 2, abs=0.03)
    # With one of each kind in both, the 2 · 2 orders within scenarios count: p is 1/4.
    mixed = [(name, label, label) for name in "ab" for label in ("upheld", "violated")]
    assert p_better(mixed) == pytest.approx(1 / 4, abs=0.03)
    # With one response a scenario it would be Fisher's test.
    tea = rated((3, "upheld", "upheld"), (1, "upheld", "violated"), (1, "violated", "upheld"), (3, *2 * ["violated"]))
    tables = agreement_module._by_size(tea)
    found = sum(int((labels & said).sum()) for labels, said in tables)
    as_good = np.concatenate([hits >= found for hits in agreement_module._permuted(tables)])
    assert as_good.mean() == pytest.approx(17 / 70, abs=0.02)


@given(ratings, st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_test_is_the_same_in_any_order_and_by_any_names(given_ratings: list[Rated], random: object) -> None:
    shuffled = [(f"other {scenario}", first, second) for scenario, first, second in given_ratings]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(agreement_module, "DRAWS", 500)
        found = p_better(given_ratings)
        assert p_better(shuffled) == found
    assert found is None or 0 < found <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)  # a tenth of a second each, for that of statsmodels
def test_holms_adjustment_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize(("upheld", "violated"), [(0, 0), (10, 0), (2, 2), (30, 1), (8, 9)])
def test_so_many_labels_more_do_and_one_less_does_not(upheld: int, violated: int, level: float) -> None:
    more = labels_missing(upheld, violated, level)

    def least(extra: int) -> float:
        """The smallest p-value of a judge without fault, over all ways to add so many labels."""
        ways = [(upheld + n, violated + extra - n) for n in range(extra + 1)]
        return min(
            (fisher_exact([[u, 0], [0, v]], alternative="greater").pvalue for u, v in ways if u and v), default=1
        )

    assert least(more) <= level + 1e-9
    assert more == 0 or least(more - 1) > level + 1e-9


# what is said of a judge


def judged(clause_id: str, *counts: tuple[int, str, str], confidence: float = 0.9) -> list[Judged]:
    """Labelled items of one clause, each of its own scenario, and a judge's verdicts."""
    found = []
    for scenario_id, label, said in rated(*counts):
        word = Label.model_validate(
            {"scenario_id": scenario_id, "response": "r", "clause_id": clause_id, "outcome": label, "by": "Ada"}
        )
        verdict = Verdict.model_validate(
            {
                "scenario_id": scenario_id,
                "condition": "c",
                "sample": 0,
                "clause_id": clause_id,
                "outcome": said,
                "confidence": confidence,
                "reason": "why",
                "judge": "j",
            }
        )
        found.append(Judged(Item(scenario_id, "r", clause_id, (word,)), verdict))
    return found


def measured(*given: Sequence[Judged], policy: Policy = POLICY, judge: str = "j") -> list[ClauseCalibration]:
    everything = [each for listed in given for each in listed]
    return calibrate(judge, everything, policy, made="2026-01-01", labels_digest="d")


GOOD = ((12, "upheld", "upheld"), (10, "violated", "violated"))
CHANCE = ((6, "upheld", "upheld"), (6, "upheld", "violated"), (6, "violated", "upheld"), (6, "violated", "violated"))


def test_who_is_better_than_chance_is_let_through_and_who_is_not_is_barred() -> None:
    barred, better = measured(judged("sorry", *GOOD), judged("ask", *CHANCE))
    assert (barred.clause_id, barred.state, better.clause_id, better.state) == ("ask", "barred", "sorry", "better")
    assert (better.kappa.value, better.accuracy.value, better.labels) == (1.0, 1.0, 22)
    assert barred.kappa.value == 0.0 and barred.accuracy.value == 0.5
    assert barred.why.startswith("not shown to be better than chance on 24 labels (kappa 0.00 [")
    assert barred.confusion["violated"] == {"upheld": 6, "violated": 6, "not applicable": 0}


def test_undecided_verdicts_are_counted_apart_and_a_wrong_not_applicable_is_wrong() -> None:
    (found,) = measured(judged("ask", *GOOD, (8, "upheld", "undecided"), (2, "violated", "not applicable")))
    assert found.decided.value == 0.75
    assert found.agreement.value == found.accuracy.value == pytest.approx(22 / 24, abs=1e-4)
    assert found.confusion["undecided"] == {"upheld": 8, "violated": 0, "not applicable": 0}
    assert sum(count for row in found.confusion.values() for count in row.values()) == found.labels == 32


def test_accuracy_is_of_what_people_call_upheld_or_violated() -> None:
    (found,) = measured(judged("ask", *GOOD, (8, "not applicable", "upheld")))
    assert (found.accuracy.value, found.agreement.value) == (1.0, pytest.approx(22 / 30, abs=1e-4))


def test_calls_that_failed_are_named() -> None:
    assert sentences(JudgeReport("j", (), (), failed=3)) == [
        "The judge j gave no answer to 3 calls; the same command asks them again."
    ]


def test_a_judge_that_calls_every_violation_not_applicable_is_barred() -> None:
    (found,) = measured(judged("ask", (12, "upheld", "upheld"), (12, "violated", "not applicable")))
    assert found.state == "barred"


@pytest.mark.parametrize(
    "counts",
    [
        ((1, "upheld", "upheld"), (2, "upheld", "violated"), (3, "violated", "upheld")),
        ((3, "upheld", "violated"), (2, "violated", "upheld")),
        ((2, "upheld", "upheld"), (1, "violated", "upheld")),  # whatever it is shown
    ],
)
def test_who_does_no_better_than_chance_on_few_labels_does_not_decide(counts: Sequence[tuple[int, str, str]]) -> None:
    (found,) = measured(judged("ask", *counts))
    assert found.state == "barred"
    assert found.why.startswith(f"not shown to be better than chance on {sum(c for c, *_ in counts)} labels (kappa ")
    assert "may show" not in found.why


def sharing(given: Sequence[Judged]) -> list[Judged]:
    """The same, with two responses to each scenario."""
    return [replace(each, item=replace(each.item, scenario_id=f"s{n // 2}")) for n, each in enumerate(given)]


def test_where_more_labels_may_show_that_a_barred_judge_is_better_it_is_said() -> None:
    seven_of_eight = judged("ask", (3, *2 * ["upheld"]), (1, "upheld", "violated"), (4, *2 * ["violated"]))
    (found,) = measured(seven_of_eight)
    assert (found.state, round(found.p_value or 0, 4)) == ("barred", 0.0714)
    assert found.barring.endswith("; more labelled responses may show that it is).")
    (check,) = measured(seven_of_eight, judge=CHECK)
    assert check.barring.endswith("; more labelled responses may show that it is): it has to be mended.")
    (shared,) = measured(sharing(judged("ask", *CHANCE, (2, *2 * ["upheld"]), (2, *2 * ["violated"]))))
    assert shared.state == "barred"
    assert shared.why.endswith("; labelled responses to more scenarios may show that it is)")


def test_where_labels_share_scenarios_no_number_of_labels_is_promised() -> None:
    (found,) = measured(sharing(judged("ask", (3, *2 * ["upheld"]), (3, *2 * ["violated"]))))
    assert found.state == "not calibrated"
    assert found.why == "6 labels are too few to tell; label responses to more scenarios"


def test_better_than_chance_may_be_by_little_and_miss_much() -> None:
    def told(*counts: tuple[int, str, str]) -> tuple[ClauseCalibration, str]:
        (found,) = measured(judged("ask", *counts))
        (sentence,) = sentences(JudgeReport("j", (found,), (), failed=0))
        return found, sentence.replace("\u00a0", " ")

    found, sentence = told(
        (95, *2 * ["upheld"]), (5, "upheld", "violated"), (15, "violated", "upheld"), (5, *2 * ["violated"])
    )
    assert found.state == "better" and found.kappa.low is not None and found.kappa.low < 0
    assert (found.missed.value, found.missed.scenarios) == (0.75, 20)
    assert clause_row(found)[-1] == "✓ better, p 0.011"
    assert sentence == (
        "The judge j is better than chance on clause ask, p 0.011, but by how much is open (kappa 0.25 [-0.10, 0.51]); "
        "it misses 75 % [51–90] of what people call violated."
    )
    _, sentence = told(*GOOD)
    assert sentence == (
        "The judge j is better than chance on clause ask, p<0.001; it misses 0 % [0–28] of what people call violated."
    )


def test_a_long_name_cuts_off_nothing_of_what_figures_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    name = "openai/" + "long-" * 20
    (found,) = measured(judged("ask", *GOOD), judge=name)
    show(CalibrationReport("T", 22, 22, (), (), (JudgeReport(name, (found,), (), failed=0),)))
    assert "of what people call violated." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (((20, "upheld", "upheld"),), "none of 20 labels says violated; 1 more would do"),
        (((2, "upheld", "upheld"), (2, "violated", "violated")), "4 labels are too few to tell; 2 more would do"),
        (((20, "not applicable", "upheld"),), "none of 20 labels says upheld; 6 more would do"),
        (((9, "upheld", "upheld"), (9, "violated", "undecided")), "it decided nothing that people call violated"),
        (((9, "upheld", "undecided"), (9, "violated", "undecided")), "it decided nothing that people call upheld"),
    ],
)
def test_with_too_few_labels_nobody_is_barred_and_it_is_said_how_many_would_do(
    counts: Sequence[tuple[int, str, str]], why: str
) -> None:
    (found,) = measured(judged("ask", *counts))
    assert (found.state, found.why, found.p_value) == ("not calibrated", why, None)


def test_barred_is_only_who_could_have_passed() -> None:
    # Three and three judged without fault: p = 1/20, which alone passes, and beside a failing clause cannot.
    few = judged("sorry", (3, *2 * ["upheld"]), (3, *2 * ["violated"]))
    assert [c.state for c in measured(few)] == ["better"]
    states = {c.clause_id: (c.state, c.why) for c in measured(few, judged("ask", *CHANCE))}
    assert states["ask"][0] == "barred"
    assert states["sorry"] == ("not calibrated", "6 labels are too few to tell; 2 more would do")


def test_a_confidence_that_tells_and_one_that_does_not() -> None:
    sure = judged("ask", (10, *2 * ["upheld"]), (10, *2 * ["violated"]), confidence=0.9)
    unsure = [
        Judged(Item(f"w{n}", "r", "ask", each.item.labels), each.verdict)
        for n, each in enumerate(judged("ask", (5, "upheld", "violated"), confidence=0.4))
    ]
    (telling,) = measured(sure, unsure)
    assert telling.auc_right.value == 1.0
    # sure of upheld: 0.9 (10 times) and 1 - 0.4 = 0.6 (5 times), against 0.1
    assert telling.auc_upheld.value == 1.0
    (flat,) = measured(judged("ask", *CHANCE, confidence=0.7))
    assert flat.auc_right.value == 0.5 and flat.auc_upheld.value == 0.5


def test_a_bar_holds_for_the_clause_as_it_was_labelled_and_stays_when_others_are_calibrated(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert load_calibration(path) is None
    first = Calibration().updated(measured(judged("sorry", *GOOD), judged("ask", *CHANCE)))
    both = first.updated(measured(judged("sorry", *CHANCE), judge="k"))
    write_record(path, both)
    found = load_calibration(path)
    assert found == both
    assert found.barred(POLICY) == {("j", "ask"), ("k", "sorry")}
    edited = parse_policy(TEXT.replace("Ask how long.", "Ask since when."))
    assert found.barred(edited) == {("k", "sorry")}
    again = found.updated(measured(judged("ask", *GOOD), judge="j"))
    assert again.barred(POLICY) == {("k", "sorry")}


def test_gates_are_told_who_is_barred_and_who_was_not_calibrated() -> None:
    found = Calibration().updated(measured(judged("sorry", *GOOD), judged("ask", *CHANCE)))
    (sentence,) = found.words(POLICY, ["j"])
    assert sentence == (
        "The judge j may not decide clause ask: "
        "not shown to be better than chance on 24 labels (kappa 0.00 [-0.40, 0.40])."
    )
    assert found.words(POLICY, ["k"]) == ["The judge k was not calibrated on clauses sorry, ask."]
    assert found.words(parse_policy(TEXT.replace("how long", "when")), ["j"]) == [
        "The judge j was not calibrated on clause ask."
    ]


def test_a_broken_calibration_is_one_line_of_error_and_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for text in ("{", '{"clauses": [{"judge": "j"}]}', "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"calibration\.json: this is no calibration") as caught:
            load_calibration(path)
        assert "\n" not in str(caught.value) and "(: " not in str(caught.value)


def test_people_are_held_against_each_other_and_their_majority_counts() -> None:
    def label(number: int, by: str, outcome: str) -> Label:
        return Label.model_validate(
            {"scenario_id": f"s{number}", "response": "r", "clause_id": "ask", "outcome": outcome, "by": by}
        )

    given_labels = [label(n, by, "upheld" if n % 2 else "violated") for n in range(10) for by in ("Ada", "Ben")]
    given_labels += [label(9, "Cyd", "violated"), label(10, "Ada", "upheld"), label(10, "Ben", "violated")]
    items = items_of(given_labels)
    by_scenario = {item.scenario_id: item.outcome for item in items}
    assert by_scenario["s9"] == "upheld" and by_scenario["s10"] is None
    pairs = {(two.first, two.second): two for two in people(items)}
    assert pairs["Ada", "Ben"].items == 11 and pairs["Ada", "Cyd"].items == 1
    assert pairs["Ada", "Ben"].agreement.value == pytest.approx(10 / 11, abs=1e-4)
    # 11 items; Ada: 6 upheld, Ben: 5; by chance (6·5 + 5·6)/121
    assert pairs["Ada", "Ben"].kappa.value == pytest.approx((10 / 11 - 60 / 121) / (1 - 60 / 121), abs=1e-4)


# labels as people write them


def labels_from(tmp_path: Path, text: str, problems: list[InputError] | None = None) -> list[Label]:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return load_labels(path, CLAUSES, ("s0", "s1"), problems)


def test_a_table_may_have_quotes_line_breaks_a_mark_of_byte_order_and_more_columns(tmp_path: Path) -> None:
    header = "\ufeffScenario;Response;clause_id;Verdict;by;date"
    row = 's0;"He said ""sorry"";\r\nand left";sorry;N/A; Ada ;May'
    (found,) = labels_from(tmp_path, f"{header}\r\n{row}\r\n\r\n")
    assert found.response == 'He said "sorry";\nand left'
    assert (found.scenario_id, found.clause_id, found.outcome, found.by) == ("s0", "sorry", "not applicable", "Ada")


def test_json_lines_are_labels_by_either_name(tmp_path: Path) -> None:
    label = {"scenario_id": "s0", "response": "", "clause_id": "ask", "outcome": "UPHELD", "by": None}
    other = {"scenario": "s1", "response": "r", "clause": "ask", "verdict": "not_applicable", "reason": " why "}
    found = labels_from(tmp_path, f"{json.dumps(label)}\n\n{json.dumps(other)}\n")
    assert [(each.outcome, each.by, each.reason) for each in found] == [
        ("upheld", "", ""),
        ("not applicable", "", "why"),
    ]


def test_everything_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    problems: list[InputError] = []
    rows = [
        "scenario,response,clause,verdict",
        's0,"two\nlines",ask,upheld',
        "gone,r,ask,upheld",
        "s0,r,gone,upheld",
        "s0,r,ask,maybe",
        "s0,r",
        "s0,r,ask,upheld,more,still more",
        "s1,r,ask,violated",
    ]
    found = labels_from(tmp_path, "\n".join(rows), problems)
    assert [label.scenario_id for label in found] == ["s0", "s1"]
    path = tmp_path / "labels.csv"
    assert [str(problem) for problem in problems] == [
        f"{path}:4: the suite has no scenario 'gone'",
        f"{path}:5: the policy has no clause 'gone'; there are: sorry, ask",
        f"{path}:6: 'maybe' is no verdict; write upheld, violated or not applicable",
        f"{path}:7: this label has no clause or clause_id",
        f"{path}:8: it has 6 cells, and the table 4 columns",
    ]
    with pytest.raises(InputError, match=r"labels\.csv:4: "):
        labels_from(tmp_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("scenario,answer,clause,verdict\ns0,r,ask,upheld\n", r"labels\.csv:1: no column is the response; there are"),
        ("scenario,response,clause,verdict\n", "there is no label"),
        ("scenario,response,clause,verdict\ns0,r,gone,upheld\n", r"labels\.csv:2: the policy has no clause 'gone'"),
        ("", "there is no label"),
        ('scenario,response,clause,verdict\ns0,"r,ask,upheld\n', "this is not a table"),
        (
            '{"scenario": "s0", "response": "\\ud800", "clause": "ask", "verdict": "upheld"}\n',
            "labels.csv:1: the response",
        ),
        ('{"scenario": "s0", "response": 5, "clause": "ask", "verdict": "upheld"}\n', "labels.csv:1: the response"),
        ('{"scenario": "s0"\n', r"labels\.csv:1: it is not JSON"),
    ],
)
def test_what_is_no_table_of_labels_is_one_line_of_error(tmp_path: Path, text: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        labels_from(tmp_path, text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_labels_or_one_line_of_error(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            load_labels(path, CLAUSES, ("s0",))
        except InputError as error:
            assert "\n" not in str(error)


def test_who_labels_again_changed_their_mind_and_who_is_not_named_is_somebody_else() -> None:
    def label(outcome: str, by: str, response: str = "a  b") -> Label:
        return Label.model_validate(
            {"scenario_id": "s", "response": response, "clause_id": "ask", "outcome": outcome, "by": by}
        )

    (item,) = items_of([label("upheld", "Ada"), label("upheld", "Ben", "a b\n"), label("violated", "Ada")])
    assert [(each.by, each.outcome) for each in item.labels] == [("Ada", "violated"), ("Ben", "upheld")]
    assert item.outcome is None
    (unnamed,) = items_of([label("upheld", ""), label("upheld", ""), label("violated", "")])
    assert unnamed.outcome == "upheld" and len(unnamed.labels) == 3


# simulation


@pytest.mark.model
def test_a_judge_without_sense_is_barred_and_intervals_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its verdicts are drawn for each response or, worse, for each query."""
    monkeypatch.setattr(agreement_module, "DRAWS", 500)
    random = np.random.default_rng(7)
    word = np.array(["violated", "upheld"])
    passed, covered = {"response": 0, "query": 0}, []
    rounds = 300
    for by in passed:
        for _ in range(rounds):
            table = []
            for scenario in range(14):
                usual, drawn = random.random(2) < 0.5
                for _ in range(int(random.integers(1, 4))):
                    label = usual if random.random() < 0.8 else random.random() < 0.5
                    said = drawn if by == "query" else random.random() < 0.5
                    table.append((str(scenario), str(word[int(label)]), str(word[int(said)])))
            p = p_better(table)
            passed[by] += p is not None and p <= 0.05
            interval = kappa(table)
            if by == "response" and interval.low is not None and interval.high is not None:
                covered.append(interval.low <= 0 <= interval.high)
    assert passed["response"] / rounds <= 0.07 and passed["query"] / rounds <= 0.07  # 5 %, and two standard errors
    assert np.mean(covered) >= 0.93


@pytest.mark.model
@pytest.mark.parametrize(("scenarios", "right"), [(12, 0.75), (24, 0.9), (24, 0.97)])
def test_the_interval_of_kappa_covers(scenarios: int, right: float) -> None:
    random = np.random.default_rng(3)
    true = 2 * right - 1  # upheld half of the time: by chance both agree in half of the cases
    covered = []
    for _ in range(400):
        labels, sound = random.random((2, scenarios)) < np.array([[0.5], [right]])
        word = np.array(["violated", "upheld"])
        table = [
            (str(n), str(word[int(a)]), str(word[int(a == b)]))
            for n, (a, b) in enumerate(zip(labels, sound, strict=True))
        ]
        found = kappa(table)
        if found.low is not None and found.high is not None:
            covered.append(found.low - 1e-4 <= true <= found.high + 1e-4)
    assert np.mean(covered) >= 0.93


# the command, with judges over HTTP

QUERIES = 24


def says(verdict: str, confidence: float) -> str:
    return (
        f"[[ ## verdict ## ]]\n{verdict}\n\n[[ ## confidence ## ]]\n{confidence}\n\n"
        "[[ ## reason ## ]]\nIt \x1b[31msays so\n\n[[ ## completed ## ]]"
    )


def scripted(messages: Messages, model: str) -> str:
    text = messages[-1]["content"]
    if model == "kind":
        return says("upheld", 1.0)
    if model == "random":
        return says("upheld" if hashlib.sha256(text.encode()).digest()[0] % 2 else "violated", 0.5)
    return says("upheld" if "zephyr" in text else "violated", 0.9)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A project whose labels are known: `zephyr` in a response upholds both clauses; the check sees another word."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    (folder / "policy.md").write_text(TEXT)
    scenarios = [f"  - {{id: q{n}, query: 'Query {n}', split: develop}}\n" for n in range(QUERIES)]
    suite = "clauses:\n  ask: {check: {any_of: [quartz]}}\nscenarios:\n"
    (folder / "scenarios.yaml").write_text(suite + "".join(scenarios))
    rows = [
        {
            "scenario_id": f"q{n}",
            "response": f"{'zephyr' if n % 2 else 'quartz'} {n} \x1b[1m| <b>",
            "clause_id": clause,
            "outcome": "upheld" if n % 2 else "violated",
            "by": "Ada",
        }
        for n in range(QUERIES)
        for clause in CLAUSES
    ]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(params=["sharp", "random", "kind"])
def judge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ModelServer]]:
    with model_server(lambda messages: scripted(messages, request.param)) as found:
        monkeypatch.setenv("OPENAI_API_BASE", found.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield request.param, found


@pytest.mark.model
def test_judges_of_known_worth_are_found_out_and_asked_once(
    labelled: Path, judge: tuple[str, ModelServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, server = judge
    page = tmp_path / "calibration.md"
    command = ["calibrate", str(labelled), "--judge", f"openai/{name}", "--markdown", str(page)]
    assert main(command) == 0
    assert len(server.requests) == 2 * QUERIES
    shown, said = capsys.readouterr()
    assert said.startswith("at most 48 calls: 1 judge × (48 labelled responses + 2 × 0 pairs)\n")
    lines = [line for line in shown.splitlines() if not line.startswith("Kept in")]  # a path is as long as it is
    assert max(map(len, lines)) <= 100 and "\x1b" not in shown
    found = load_calibration(labelled / "calibration.json")
    assert found is not None
    states = {(c.judge, c.clause_id): c for c in found.clauses}
    mine = [states[f"openai/{name}", clause] for clause in CLAUSES]
    assert [c.state for c in mine] == ["better" if name == "sharp" else "barred"] * 2
    assert states[CHECK, "ask"].state == "barred" and states[CHECK, "ask"].kappa.value == -1.0
    if name == "kind":
        assert [c.accuracy.value for c in mine] == [0.5, 0.5] and [c.kappa.value for c in mine] == [0.0, 0.0]
        assert "may not decide clause sorry" in shown and "quartz 0" in shown and "It \ufffd[31msays so" in shown
        assert "<b>" not in page.read_text() and "\x1b" not in page.read_text()
    if name == "sharp":
        assert [c.kappa.value for c in mine] == [1.0, 1.0]
        assert ("openai/sharp", "sorry") not in found.barred(POLICY)
    assert main(command) == 0
    assert len(server.requests) == 2 * QUERIES, "a second run asks nothing"


@pytest.mark.model
def test_wrong_labels_are_all_named_before_anybody_is_asked(
    labelled: Path, judge: tuple[str, ModelServer], capsys: pytest.CaptureFixture[str]
) -> None:
    name, server = judge
    table = labelled / "mine.csv"
    table.write_text("scenario,response,clause,verdict\nq0,r,gone,upheld\ngone,r,ask,upheld\nq0,r,ask,upheld\n")
    assert main(["calibrate", str(labelled), str(table), "--judge", f"openai/{name}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert server.requests == [] and not (labelled / "calibration.json").exists()


@pytest.mark.model
def test_a_judge_that_does_not_answer_leaves_no_calibration(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("prefect_ratify.call_store.backoff", lambda attempt: 0.0)
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    assert main(["calibrate", str(labelled), "--judge", "openai/gone"]) == 1
    assert "answered none of 48 calls" in capsys.readouterr().err
    assert not (labelled / "calibration.json").exists()


def test_a_broken_calibration_is_made_anew(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labelled / "calibration.json"
    path.write_text("{")
    assert main(["calibrate", str(labelled)]) == 0, "by its checks alone"
    assert "make it anew: ratify calibrate (as is done now" in capsys.readouterr().err
    found = load_calibration(path)
    assert found is not None and [c.judge for c in found.clauses] == [CHECK]
    path.unlink()
    path.mkdir()
    assert main(["calibrate", str(labelled)]) == 2
    assert "cannot be read (Is a directory)" in capsys.readouterr().err


def test_a_missing_file_of_labels_is_not_made_by_init(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(labelled), str(labelled / "gone.csv")]) == 2
    assert "gone.csv: there is no such file; name a CSV or JSONL file of labels" in capsys.readouterr().err


def test_without_labels_or_without_a_judge_the_command_says_what_to_do(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (labelled / "labels.jsonl").unlink()
    assert main(["calibrate", str(labelled)]) == 2
    assert "there are no labels yet; collect some (ratify label" in capsys.readouterr().err
    table = labelled / "mine.csv"
    table.write_text("scenario,response,clause,verdict\nq0,r,sorry,upheld\n")
    assert main(["calibrate", str(labelled), str(table)]) == 2
    assert "give --judge MODEL" in capsys.readouterr().err
