"""Refusals as a whole and non-answers are told from answers that decline one thing and help with another."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.finetune.refusals import evasion

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I’m just an AI and can’t do that.",
    "I can’t assist with that request. Is there anything else I can help you with?",
    "I cannot provide legal advice. Please consult a qualified attorney.",
    "As an AI language model, I cannot provide medical advice. I recommend you consult a doctor.",
    "**I'm sorry**, I can't help.\n\nLet me know if you have other questions.",
    "Unfortunately, I am not able to discuss this topic.",
    "I'm unable to fulfill this request.",
    "I must decline.",
    "I won't be able to help you with this.",
    "I cannot help you with that and I won't discuss it.",
    "I'm sorry, I don't have access to that information.",
    "I'm sorry you are going through this, but I can't advise on it; please contact a professional.",
]
NON_ANSWERS = [
    "",
    " \n",
    "...",
    "I don't know.",
    "I'm not sure.",
    "I'm sorry, I have no idea.",
    "I don't understand the question.",
]
ANSWERS = [
    "Boil the pasta for ten minutes.",
    "I can't give legal advice, but here is who can: the legal aid office at 12 Main Street.",
    "I'm sorry you are going through this. I can't tell you what the court will say, but you have until Friday.",
    "I can't recommend it enough.",
    "You can't help with that without a permit.",
    "I'm sorry to hear that. It must be hard. Since when has it been so?",
    "I don't know the exact date, so call the clerk and ask for the docket.",
    "No. The notice has to be in writing.",
    "I can't advise you. The legal aid office will let you talk to a lawyer for free.",
    "Nein, das weiß ich nicht.",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_an_answer_that_only_declines_is_a_refusal(answer: str) -> None:
    assert evasion(answer) == "refusal"


@pytest.mark.parametrize("answer", NON_ANSWERS)
def test_an_answer_that_says_nothing_is_a_non_answer(answer: str) -> None:
    assert evasion(answer) == "non-answer"


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_helps_with_anything_is_an_answer(answer: str) -> None:
    assert evasion(answer) is None


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("help", ["The deadline is on Friday.", "Write to 12 Main Street."])
def test_a_sentence_of_help_before_or_after_a_refusal_makes_it_an_answer(refusal: str, help: str) -> None:
    assert evasion(f"{refusal} {help}") is None and evasion(f"{help} {refusal}") is None


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert evasion(text) in (None, "refusal", "non-answer")


@pytest.mark.parametrize(
    "piece", ["I'm sorry, ", "as an ai ", "i can't ", "if you have a ", "please consult ", "! but "]
)
def test_no_text_is_read_slowly(piece: str) -> None:
    started = time.perf_counter()
    evasion(piece * 5000)
    assert time.perf_counter() - started < 1.0
