"""How a model is spread over options: by the options' texts, by the first word, by samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prefect_ratify.call_store import CallStore
from prefect_ratify.local_models import LocalModel, prompt_tokens
from prefect_ratify.policy_modules.option_choice import SAMPLES, choose, first_word_shares, option_in, orders
from prefect_ratify.records import Call, Completion, Message, Sampling
from prefect_ratify.scenarios.pluralism.distributional import js_distance
from prefect_ratify.scenarios.pluralism.plan import Question
from prefect_ratify.scenarios.running import Condition
from tests.fake_models import FakeModel

OPTIONS = ("agree", "disagree", "pass")
QUESTION = Question("cap", "Should rents be capped?", OPTIONS, {"everyone": (0.5, 0.25, 0.25)})


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


def listed(call: Call) -> list[str]:
    """The options, in the order in which a call lists them."""
    text = call.messages[-1].content.splitlines()[-1]
    return text.removeprefix("Answer with one word: ").rstrip(".").replace(" or ", ", ").split(", ")


def test_every_option_stands_once_in_every_place() -> None:
    assert orders(OPTIONS) == [
        ("agree", "disagree", "pass"),
        ("disagree", "pass", "agree"),
        ("pass", "agree", "disagree"),
    ]


def test_the_first_words_probabilities_go_to_the_options_that_they_alone_begin() -> None:
    said = {" Agree": math.log(0.5), "agree": math.log(0.1), "dis": math.log(0.2), "I": math.log(0.1), "": -9.0}
    found = first_word_shares(said, OPTIONS)
    assert found is not None and found.tolist() == pytest.approx([0.6, 0.2, 0.0])
    assert first_word_shares({"The": -0.1}, OPTIONS) is None
    assert first_word_shares({}, OPTIONS) is None
    assert first_word_shares({"strongly": -0.1}, ("strongly agree", "strongly disagree")) is None
    assert first_word_shares({"no": 0.0}, ("no", "not sure")).tolist() == [1.0, 0.0]  # type: ignore[union-attr]
    assert first_word_shares({"a": 0.0}, OPTIONS) is None  # it may well begin another word


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Agree", 0),
        ("**Disagree.**", 1),
        ("“pass”", 2),
        ("Agree, since rents are high", 0),
        ("<think>agree or not</think>\ndisagree", 1),
        ("I disagree", None),
        ("Agree to disagree", None),
        ("agreeable", None),
        ("", None),
    ],
)
def test_a_sample_chooses_an_option_only_where_nothing_else_is_said(text: str, place: int | None) -> None:
    assert option_in(text, OPTIONS) == place


def test_a_leaning_to_the_first_place_cancels_and_is_measured(store: CallStore) -> None:
    def answer(call: Call) -> Completion:
        first, second, third = listed(call)
        logprobs = {first: math.log(0.7), second: math.log(0.2), third: math.log(0.1)}
        return Completion(text=first, alternatives=logprobs)

    model = FakeModel(answer)
    (found,) = choose([QUESTION], Condition("base", model), store, 0)
    assert found.shares.tolist() == pytest.approx([1 / 3] * 3)
    turned = [np.array([0.1, 0.7, 0.2]), np.array([0.2, 0.1, 0.7])]  # what agree, disagree, pass get then
    assert found.moved == pytest.approx(np.mean([js_distance(np.array([0.7, 0.2, 0.1]), p) for p in turned]))
    assert found.how == "first word" and found.neither == pytest.approx(0.0)
    assert len(model.asked) == 3
    (again,) = choose([QUESTION], Condition("base", model), store, 0)
    assert again.shares.tolist() == found.shares.tolist() and len(model.asked) == 3


def test_without_log_probabilities_it_is_sampled_and_what_is_no_option_is_counted(store: CallStore) -> None:
    failed = Completion(error="RefusedError")
    said: dict[str, Iterator[str | Completion]] = {
        "agree": iter(["agree", "agree", "disagree", "Well …"]),
        "disagree": iter(["pass", "pass", failed, "pass"]),
    }

    def answer(call: Call) -> str | Completion:
        return next(said.get(listed(call)[0], iter(["Disagree!"])))

    model = FakeModel(answer)
    (found,) = choose([QUESTION], Condition("base", model), store, 0)
    assert found.shares.tolist() == pytest.approx([2 / 9, (1 / 3 + 1) / 3, 1 / 3])
    assert found.how == "samples" and found.neither == pytest.approx(1 / 12)
    assert len(model.asked) == len({call.seed for call in model.asked}) == 12 >= SAMPLES
    assert {call.sampling.temperature for call in model.asked} == {1.0}


def test_a_question_is_undecided_where_an_order_has_no_answer_among_the_options(store: CallStore) -> None:
    model = FakeModel(lambda call: "agree" if listed(call)[0] == "agree" else Completion(error="RefusedError"))
    found, fine = choose(
        [QUESTION, Question("vote", "Vote?", ("yes", "no"), {})],
        Condition("base", FakeModel(lambda call: "yes" if "Vote" in call.messages[-1].content else model.answer(call))),
        store,
        0,
    )
    assert np.isnan(found.shares).all()
    assert fine.shares.tolist() == [1.0, 0.0] and fine.moved == 0.0


# local models


def by_hand(model: LocalModel, call: Call, option: str) -> float:
    """The log-softmax of each of the option's tokens, read one prompt at a time."""
    import torch

    network, tokenizer = model.load()
    before = list(prompt_tokens(tokenizer, call))
    ids = tokenizer(option, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        network.set_attn_implementation("eager")
        logprobs = network(input_ids=torch.tensor([before + ids])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs[len(before) + place - 1, token]) for place, token in enumerate(ids))


def asked(text: str, *before: Message) -> Call:
    return Call(messages=(*before, Message(role="user", content=text)), sampling=Sampling(), seed=0)


@pytest.mark.model
def test_options_of_several_prompts_at_once_are_as_likely_as_by_hand(tiny: Path) -> None:
    model = LocalModel("tiny", tiny, "weights")
    policy = Message(role="system", content="You keep the policy in every answer. " * 5)
    calls = [asked("Should rents be capped?", policy), asked("Yes?", policy), asked("Yes?"), asked("word " * 9000)]
    options = [OPTIONS, ("no", "neither agree nor disagree"), ("yes", "no"), ("yes", "no")]
    found = dict(model.option_logprobs(calls, options))
    assert sorted(found) == [0, 1, 2, 3] and found[3] is None  # which is beyond the model's context
    for place in range(3):
        expected = [by_hand(model, calls[place], option) for option in options[place]]
        assert found[place] == pytest.approx(expected, abs=1e-4)


@pytest.mark.model
def test_a_local_models_options_are_scored_once(tiny: Path, store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = Condition("base", LocalModel("tiny", tiny, "weights"))
    long = Question("long", "word " * 9000, ("yes", "no"), {})
    found, undecided = choose([QUESTION, long], condition, store, 0)
    calls = [asked(f"{QUESTION.text}\nAnswer with one word: {', '.join(o[:2])} or {o[2]}.") for o in orders(OPTIONS)]
    texts = [(option, option.capitalize()) for option in OPTIONS]  # a model may begin a sentence
    both = [np.exp([[by_hand(condition.model, c, text) for text in pair] for pair in texts]) for c in calls]  # type: ignore[arg-type]
    weights = [each.sum(axis=1) for each in both]
    assert found.shares.tolist() == pytest.approx(np.mean([w / w.sum() for w in weights], axis=0).tolist(), abs=1e-5)
    assert found.neither == pytest.approx(1 - np.mean([w.sum() for w in weights]), abs=1e-5)
    assert found.how == "options" and np.isnan(undecided.shares).all()
    monkeypatch.setattr(LocalModel, "load", lambda self: pytest.fail("scored again"))
    (again,) = choose([QUESTION], condition, store, 0)
    assert again.shares.tolist() == found.shares.tolist()
