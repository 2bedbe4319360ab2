"""Log-probabilities of an endpoint: given, refused, ignored or garbled; and labels from them over HTTP."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.policy_modules.endpoint import _alternatives
from prefect_ratify.policy_modules.feedback import probability_of_a, soft_label, turned_votes
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.records import Call, Completion, Message, Sampling
from tests.test_feedback import BAD, GOOD, voted
from tests.test_judging import endpoint

NAME = "hosted_vllm/scripted"


def call(number: int, top_logprobs: int = 5, response_schema: str = "") -> Call:
    return Call(
        messages=(Message(role="user", content="A or B?"),),
        sampling=Sampling(temperature=0.0),
        seed=number,
        top_logprobs=top_logprobs,
        response_schema=response_schema,
    )


def place(token: str, **shares: float) -> dict[str, Any]:
    """One token of an answer, in OpenAI's shape."""
    listed = [{"token": each, "logprob": math.log(share)} for each, share in shares.items()]
    return {"token": token, "logprob": listed[0]["logprob"] if listed else 0.0, "top_logprobs": listed}


def logprobs(body: dict[str, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": [place("("), place("A", A=0.6, B=0.2, The=0.1), place(")")]}}


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


# what is kept


def test_a_call_without_log_probabilities_is_the_call_it_was_before_there_were_any() -> None:
    assert "top_logprobs" not in call(0, 0).model_dump_json()
    assert '"top_logprobs":5' in call(0).model_dump_json()
    assert "alternatives" not in Completion(text="a").model_dump_json()
    kept = Completion(text="a", alternatives={"A": -0.5}).model_dump_json()
    assert Completion.model_validate_json(kept).alternatives == {"A": -0.5}


def test_the_alternatives_are_those_to_the_first_token_with_a_letter_or_digit() -> None:
    given = [place(" "), place("**("), place("A", A=0.5, B=0.25), place("B", B=1.0)]
    assert _alternatives({"content": given}, 5) == {"A": -0.693147, "B": -1.386294}
    assert list(_alternatives({"content": given}, 1)) == ["A"]


@pytest.mark.parametrize(
    "garbled",
    [
        None,
        {},
        [],
        "logprobs",
        {"content": None},
        {"content": []},
        {"content": [None]},
        {"content": [{"token": 7}]},
        {"content": [place("()"), place("…")]},
        {"content": [{"token": "A"}]},
        {"content": [{"token": "A", "top_logprobs": None}]},
        {"content": [{"token": "A", "top_logprobs": {"A": -0.1}}]},
        {"content": [{"token": "A", "top_logprobs": [{"token": "A"}]}]},
        {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": "high"}]}]},
        {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": 10**400}]}]},
        {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": float("nan")}]}]},
        {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": float("-inf")}]}]},
    ],
)
def test_a_garbled_list_gives_no_alternatives(garbled: Any) -> None:
    assert _alternatives(garbled, 5) == {}


def test_what_cannot_be_a_logarithm_or_a_text_is_mended() -> None:
    found = _alternatives(
        {
            "content": [
                {
                    "token": "A",
                    "top_logprobs": [
                        {"token": "A", "logprob": 1e-4},
                        {"token": "\ud83d", "logprob": -3},
                        {"token": "A", "logprob": -9},
                    ],
                }
            ]
        },
        5,
    )
    assert found == {"A": 0.0, "?": -3.0}
    assert json.loads(Completion(alternatives=found).model_dump_json())["alternatives"] == found


# endpoints


@pytest.mark.model
def test_an_endpoint_that_gives_them_is_asked_once(store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(lambda body: (200, "(A)"), logprobs) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        first, again = (store.complete(RemoteModel(NAME), [call(0)])[0] for _ in range(2))
        (plain,) = store.complete(RemoteModel(NAME), [call(0, 0)])
    assert first == again and probability_of_a(first) == pytest.approx(0.75)
    assert plain.text == "(A)" and plain.alternatives == {}
    assert [(body.get("logprobs"), body.get("top_logprobs")) for body in bodies] == [(True, 5), (None, None)]


@pytest.mark.model
@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "no"), (422, "extra fields"), (403, "You are not allowed to request logprobs from this model")],
)
def test_an_endpoint_that_refuses_them_is_asked_again_without_one_call_in_all(
    store: CallStore, monkeypatch: pytest.MonkeyPatch, status: int, text: str
) -> None:
    with endpoint(lambda body: (status, text) if "logprobs" in body else (200, "A")) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = store.complete(RemoteModel(NAME), [call(n) for n in range(40)])
    assert {(answer.text, answer.error) for answer in found} == {("A", "")}
    assert all(answer.alternatives == {} for answer in found)
    assert ["logprobs" in body for body in bodies].count(True) == 1
    assert len(bodies) == 41


@pytest.mark.model
def test_a_refusal_counts_in_the_budget(store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    spending = Spending(Budget(calls=4))
    with endpoint(lambda body: (400, "no") if "logprobs" in body else (200, "A")) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = store.complete(RemoteModel(NAME), [call(n) for n in range(6)], "", spending)
    assert len(bodies) == spending.calls == 4
    assert sum(not answer.error for answer in found) == 3


@pytest.mark.model
def test_an_endpoint_that_ignores_them_answers_all_the_same(store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(lambda body: (200, "A")) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = store.complete(RemoteModel(NAME), [call(n) for n in range(3)])
    assert [(answer.text, answer.alternatives) for answer in found] == [("A", {})] * 3
    assert len(bodies) == 3


@pytest.mark.model
@pytest.mark.parametrize(
    ("refused", "kept"),
    [("response_format", "logprobs"), ("logprobs", "response_format")],
)
def test_of_two_extra_fields_only_the_one_that_a_refusal_names_is_left_out(
    store: CallStore, monkeypatch: pytest.MonkeyPatch, refused: str, kept: str
) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, str]:
        return (400, f"unknown field: {refused}") if refused in body else (200, "A")

    with endpoint(answer, logprobs) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = store.complete(RemoteModel(NAME), [call(n, response_schema="{}") for n in range(4)])
    assert [answer.error for answer in found] == [""] * 4
    assert [refused in body for body in bodies].count(True) == 1
    assert all(kept in body for body in bodies) and len(bodies) == 5


@pytest.mark.model
def test_two_extra_fields_that_a_refusal_does_not_name_are_both_left_out(
    store: CallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extra(body: dict[str, Any]) -> bool:
        return "logprobs" in body or "response_format" in body

    with endpoint(lambda body: (400, "no") if extra(body) else (200, "A")) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = store.complete(RemoteModel(NAME), [call(n, response_schema="{}") for n in range(4)])
    assert [answer.error for answer in found] == [""] * 4
    assert [extra(body) for body in bodies].count(True) == 1 and len(bodies) == 5


# a feedback model over HTTP


@pytest.mark.model
def test_soft_labels_over_http_are_those_of_a_model_whose_lean_to_a_cancels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the better response 0.8 as (A) and 0.6 as (B), so 0.7 over both orders; without them it says A."""

    def biased(body: dict[str, Any]) -> dict[str, Any]:
        better_first = body["messages"][-1]["content"].index(GOOD) < body["messages"][-1]["content"].index(BAD)
        share = 0.8 if better_first else 0.4
        return {"logprobs": {"content": [place("A", A=share, B=1 - share)]}}

    with endpoint(lambda body: (200, "A"), biased) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        found = voted(RemoteModel(NAME), tmp_path, BAD, GOOD, ("sorry", "ask"))
        assert soft_label(found) == pytest.approx(0.3) and len(bodies) == 4
        assert voted(RemoteModel(NAME), tmp_path, GOOD, BAD, ("sorry", "ask")) == turned_votes(found)
        assert len(bodies) == 4
    with endpoint(lambda body: (200, "A")) as (url, bodies):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        assert [vote.choice for vote in voted(RemoteModel(NAME), tmp_path)] == ["tie"]
