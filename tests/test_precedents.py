"""Precedents: people's rulings, which outrank checks and judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_ratify.errors import InputError
from prefect_ratify.records import Clause, Message, Policy, Precedent, Response, Scenario
from prefect_ratify.scenarios.checks import parse_check
from prefect_ratify.scenarios.judging import Yardstick, judge, judge_expectations
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.precedents import dangling, load_precedents

POLICY = Policy(title="T", clauses=(Clause(id="sorry", text="Say sorry.", polarity="must"),))
SCENARIO = Scenario(id="s", messages=(Message(role="user", content="q"),), clause_ids=("sorry",), split="develop")
CHECK = parse_check(parse_yaml("any_of: [sorry]", Path("scenarios.yaml")))


def response(text: str, error: str = "") -> Response:
    return Response(scenario_id="s", condition="c", sample=0, text=text, finished=True, model="m", error=error)


def ruling(outcome: str, text: str = "I am\u2028sorry") -> Precedent:
    return Precedent.model_validate(
        {"scenario_id": "s", "response": text, "clause_id": "sorry", "outcome": outcome, "by": "Ada"}
    )


def test_a_ruling_outranks_the_check_and_the_last_one_counts() -> None:
    rulings = (ruling("upheld"), ruling("violated"))
    (verdict,) = judge([response("I am sorry")], [SCENARIO], Yardstick(POLICY, {"sorry": CHECK}, rulings))
    assert (verdict.outcome, verdict.judge) == ("violated", "precedent by Ada")


def test_a_ruling_on_another_response_decides_nothing() -> None:
    given = [response("so sorry")]
    (verdict,) = judge(given, [SCENARIO], Yardstick(POLICY, {"sorry": CHECK}, (ruling("violated"),)))
    assert (verdict.outcome, verdict.judge) == ("upheld", "check")


def test_without_ruling_check_or_judge_a_verdict_is_undecided() -> None:
    (verdict,) = judge([response("I am sorry")], [SCENARIO], Yardstick(POLICY, {}))
    assert (verdict.outcome, verdict.judge) == ("undecided", "nobody")


def test_rulings_are_read_whatever_line_breaks_their_texts_hold(tmp_path: Path) -> None:
    path = tmp_path / "precedents.jsonl"
    path.write_text(ruling("upheld").model_dump_json() + "\n\n", encoding="utf-8")
    assert load_precedents(path) == (ruling("upheld"),)


def test_a_bad_ruling_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "precedents.jsonl"
    path.write_text(ruling("upheld").model_dump_json() + '\n{"outcome": "maybe"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"precedents\.jsonl:2: "):
        load_precedents(path)


def test_what_one_scenario_expects_is_judged_for_its_responses_alone() -> None:
    other = response("sorry").model_copy(update={"scenario_id": "other"})
    found = judge_expectations([response("sorry"), response("no"), other, response("", "Timeout")], {"s": CHECK})
    assert [verdict.outcome for verdict in found] == ["upheld", "violated", "undecided"]


def test_a_ruling_that_can_never_apply_is_named() -> None:
    here = ruling("upheld")
    lost = [here.model_copy(update={"clause_id": "gone"}), here.model_copy(update={"scenario_id": "nowhere"})]
    assert dangling([here, *lost], {"sorry"}, {here.scenario_id}) == [
        "ruling 2 is on clause 'gone', which the policy does not have",
        "ruling 3 is on scenario 'nowhere', which the suite does not have",
    ]
