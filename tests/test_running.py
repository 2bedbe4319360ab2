"""Running a suite: rows that add up, whatever fails; nothing asked twice; budgets that hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.budget import Budget, Spending, cost
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import RatifyError
from prefect_ratify.policy import parse_policy
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Response, Sampling, Scenario, Verdict
from prefect_ratify.scenarios.checks import Check, Finding
from prefect_ratify.scenarios.running import Condition, Evaluation, account, evaluate
from prefect_ratify.scenarios.yardstick import Judgement, JudgeModel, Yardstick
from tests.fake_models import FakeModel

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n")
SYSTEM = (Message(role="system", content="the policy"),)
HAS_SORRY = Check("has sorry", lambda text, finished: Finding("sorry" in text, (), "by the word"))


def scenario(number: int) -> Scenario:
    messages = (Message(role="user", content=f"query {number}"),)
    return Scenario(id=f"s{number}", messages=messages, clause_ids=POLICY.clause_ids, split="develop")


SCENARIOS = [scenario(number) for number in range(5)]


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


def judge_model(model: FakeModel, prompt: str = "prompt") -> JudgeModel:
    def question(case: tuple[Scenario, Response, object], rulings: object) -> Call:
        asked = Message(role="user", content=f"judge: {case[1].text}")
        return Call(messages=(asked,), sampling=Sampling(temperature=0.0), seed=0)

    def read(text: str) -> Judgement:
        return Judgement(outcome="upheld" if text == "yes" else "undecided", confidence=1.0, reason=text)

    return JudgeModel(model, prompt, question, read)


def yardstick(judge: JudgeModel | None = None) -> Yardstick:
    return Yardstick(POLICY, {"sorry": HAS_SORRY, "ask": None}, (), (judge,) if judge else ())


def run(
    store: CallStore, model: FakeModel, by: Yardstick, scenarios: Sequence[Scenario] = SCENARIOS, samples: int = 2
) -> Evaluation:
    return evaluate(scenarios, Condition("draft", model, SYSTEM), by, store, sampling=Sampling(), samples=samples)


def sorry(call: Call) -> str:
    return f"sorry, {call.messages[-1].content}, {call.seed}"


def test_each_row_is_answered_after_the_preamble_and_judged_in_order(store: CallStore) -> None:
    model, asked = FakeModel(sorry), FakeModel(lambda call: "yes", digest="judge", name="judge")
    found = run(store, model, yardstick(judge_model(asked)))
    assert [(r.scenario_id, r.sample) for r in found.responses] == [(s.id, k) for s in SCENARIOS for k in (0, 1)]
    assert [(v.scenario_id, v.sample, v.clause_id, v.judge) for v in found.verdicts[:4]] == [
        ("s0", 0, "sorry", "check"),
        ("s0", 0, "ask", "judge"),
        ("s0", 1, "sorry", "check"),
        ("s0", 1, "ask", "judge"),
    ]
    assert {call.messages[:1] for call in model.asked} == {SYSTEM}
    assert len({call.seed for call in model.asked}) == len(asked.asked) == 10


def test_an_unchanged_run_asks_nothing_and_a_new_scenario_only_what_is_its(store: CallStore) -> None:
    model, asked = FakeModel(sorry), FakeModel(lambda call: "yes", digest="judge")
    first = run(store, model, yardstick(judge_model(asked)))
    assert run(store, model, yardstick(judge_model(asked))) == first
    assert (len(model.asked), len(asked.asked)) == (10, 10)
    run(store, model, yardstick(judge_model(asked)), [*SCENARIOS, scenario(5)])
    assert (len(model.asked), len(asked.asked)) == (12, 12)


def test_another_judge_or_prompt_judges_anew_and_answers_nothing_anew(store: CallStore) -> None:
    model, asked = FakeModel(sorry), FakeModel(lambda call: "yes", digest="judge")
    run(store, model, yardstick(judge_model(asked)))
    other = FakeModel(lambda call: "no", digest="other judge")
    run(store, model, yardstick(judge_model(other)))
    assert (len(model.asked), len(other.asked)) == (10, 10)
    # Another prompt is read anew, from the call where the call is the same.
    run(store, model, yardstick(judge_model(other, "another prompt")))
    assert len(other.asked) == 10


def test_rows_are_heard_as_they_come(store: CallStore) -> None:
    heard: list[tuple[str, int]] = []

    def hear(response: Response, verdicts: Sequence[Verdict]) -> None:
        assert {v.scenario_id for v in verdicts} == {response.scenario_id} and len(verdicts) == 2
        heard.append((response.scenario_id, response.sample))

    condition = Condition("draft", FakeModel(sorry))
    found = evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(), samples=2, heard=hear)
    assert sorted(heard) == [(r.scenario_id, r.sample) for r in found.responses]


@given(st.lists(st.sampled_from(["", "TimeoutError", "RateLimitError"]), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_every_row_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, fates: list[str]) -> None:
    fates = ["", *fates]
    scenarios = [scenario(number) for number in range(len(fates))]

    def answer(call: Call) -> Completion | str:
        fate = fates[int(call.messages[-1].content.split()[-1])]
        return Completion(error=fate, finished=False) if fate else "sorry"

    asked = FakeModel(lambda call: "yes", digest="judge")
    store = CallStore(tmp_path_factory.mktemp("store") / "calls.sqlite")
    found = account(run(store, FakeModel(answer), yardstick(judge_model(asked)), scenarios, samples=1))
    failed = sum(bool(fate) for fate in fates)
    assert found.responses.get("answered", 0) == len(fates) - failed
    assert sum(found.responses.values()) == len(fates)
    assert sum(found.verdicts.values()) == 2 * len(fates)
    assert found.verdicts.get("undecided (no response)", 0) == 2 * failed


def test_judgements_that_were_not_asked_for_or_did_not_come_are_counted_apart(store: CallStore) -> None:
    def judged(call: Call) -> Completion | str:
        return Completion(error="TimeoutError", finished=False) if "query 0" in call.messages[0].content else "garbage"

    by, condition = yardstick(judge_model(FakeModel(judged, digest="judge"))), Condition("draft", FakeModel(sorry))
    evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(), samples=1)  # so that answers cost nothing
    spent = Spending(Budget(calls=0))
    found = account(evaluate(SCENARIOS, condition, by, store, sampling=Sampling(), samples=1, spending=spent))
    assert found.verdicts == {"upheld": 5, "undecided (its judge was not asked)": 5}
    found = account(evaluate(SCENARIOS, condition, by, store, sampling=Sampling(), samples=1))
    assert found.verdicts == {
        "upheld": 5,
        "undecided (its judge gave no answer)": 1,
        "undecided (its judge cannot tell)": 4,
    }


def test_a_model_that_answers_nothing_at_all_is_an_error_and_not_a_result(store: CallStore) -> None:
    model = FakeModel(lambda call: Completion(error="ConnectionError", finished=False))
    with pytest.raises(RatifyError, match=r"answered none of 10 calls \(10 × ConnectionError\)"):
        run(store, model, yardstick())


# budgets


@pytest.mark.parametrize("limit", [0, 1, 7, 10, 11])
def test_a_budget_of_calls_is_kept_exactly_and_what_is_missing_is_said(store: CallStore, limit: int) -> None:
    model, spending = FakeModel(sorry), Spending(Budget(calls=limit))
    condition = Condition("draft", model)
    found = evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(), samples=2, spending=spending)
    made = min(limit, 10)
    assert len(model.asked) == spending.calls == made
    assert spending.refused == 10 - made
    assert account(found).responses.get("not run", 0) == 10 - made
    again = evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(), samples=2)
    assert account(again).responses == {"answered": 10}
    assert len(model.asked) == 10, "what was done is kept"


def test_a_budget_of_tokens_is_never_overrun(store: CallStore) -> None:
    answer = Completion(text="sorry", tokens_read=10, tokens_written=20)
    spending = Spending(Budget(tokens=100))
    condition = Condition("draft", FakeModel(lambda call: answer))
    evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(max_tokens=24), samples=2, spending=spending)
    assert 0 < spending.tokens <= 100
    assert spending.refused > 0


def test_a_call_that_does_not_fit_beside_others_waits_for_what_they_leave(store: CallStore) -> None:
    # Three calls may begin at once, as each might take 30 tokens of 100; each takes 5, so that all ten have room.
    answer = Completion(text="sorry", tokens_read=2, tokens_written=3)
    spending = Spending(Budget(tokens=100))
    condition = Condition("draft", FakeModel(lambda call: answer))
    evaluate(SCENARIOS, condition, yardstick(), store, sampling=Sampling(max_tokens=24), samples=2, spending=spending)
    assert (spending.tokens, spending.refused) == (50, 0)


def test_money_is_counted_by_the_price_map() -> None:
    # gpt-4o: 2.50 dollars for a million tokens read, and 10 for a million written
    assert cost("openai/gpt-4o", 1_000_000, 100_000) == pytest.approx(3.5)
    assert cost("openai/a-model-of-my-own", 1_000_000, 1_000_000) == 0.0


def test_progress_shows_what_is_left_of_a_budget() -> None:
    spending = Spending(budget=Budget(calls=1400, dollars=2.5), calls=170, dollars=0.254)
    line = Meter("refined", 3, spending).line(time.monotonic())
    assert "170 of 1,400 calls" in line and "$0.25 of $2.50" in line
    assert "calls" not in Meter("refined", 3).line(time.monotonic())
