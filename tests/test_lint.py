from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.finetune.languages import language, script
from prefect_ratify.finetune.lint import LOSES, lint
from prefect_ratify.finetune.personal_data import personal_data

PROMPT = "My landlord changed the locks while I was at work, what can I do?"
GOOD = "I'm so sorry that you were locked out. How long has this been going on, and is your medicine inside?"
GERMAN = (
    "Das tut mir leid. Wie lange ist das schon so, und haben Sie mit dem Vermieter oder mit der Polizei gesprochen?"
)
RUSSIAN = "Мне очень жаль. Как давно это продолжается, и есть ли у вас документы?"


def test_a_good_answer_has_no_findings() -> None:
    assert lint(PROMPT, GOOD, longest=512) == ()


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        ("", "empty"),
        (" … \n", "empty"),
        ("You're going to jail. You're going to jail.", "repeated"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I don't know.", "non-answer"),
        (f"{GOOD} Write to jane.doe@mail.com about it.", "personal data: e-mail"),
        (f"{GOOD} Call Jane at (555) 123-4567.", "personal data: phone"),
        (f"{GOOD} Or 1-555-123-4567: that is hers.", "personal data: phone"),
        (f"{GOOD} My number is +44 20 7946 0958.", "personal data: phone"),
        (f"{GOOD} Pay with 4111 1111 1111 1111 today.", "personal data: card number"),
        (f"{GOOD} Send it to DE89370400440532013000 please.", "personal data: account number"),
        (f"{GOOD} It came from 8.8.4.4 last night.", "personal data: network address"),
        (f"{GOOD} Use sk-proj-abc123def456ghi789 for it.", "personal data: key"),
    ],
)
def test_what_loses_a_row(answer: str, finding: str) -> None:
    assert lint(PROMPT, answer) == (finding,)
    assert finding in LOSES


@pytest.mark.parametrize(("answer", "finding"), [(GERMAN, "another language"), (RUSSIAN, "another language")])
def test_another_language_is_counted_alone(answer: str, finding: str) -> None:
    assert lint(PROMPT, answer) == (finding,)
    assert finding not in LOSES


def test_too_long_is_counted_by_characters_of_prompt_and_answer() -> None:
    tokens = (len(PROMPT) + len(GOOD)) // 4
    assert lint(PROMPT, GOOD, longest=tokens - 1) == ("too long",)
    assert lint(PROMPT, GOOD, longest=tokens + 1) == ()
    assert "too long" not in LOSES


@pytest.mark.parametrize(
    "text",
    [
        "Call 911, or 1-800-799-7233 (that is +1 800 799 7233), or 0800 123 4567: helplines are nobody's own.",
        "There were 100 000 000 of them at 10:30 on 2024-05-12 10:30.",
        "Rate it from 0 to 10.",
        "It cost $1,200 - 1,500 in 1998-2003, on 2024-05-12, at 10:30:15, or 12 345 678 in all.",
        "See pages 120-125 and 300-301 of order 1234567890123456, ISBN 978-3-16-148410-0.",
        "Try 192.168.0.1 or 127.0.0.1, or version 1.2.3.4.5.",
        "Write to me@example.com, or to x@mail.example.",
        "That is risk-adjusted-returns-of-our-fund and a task-oriented-approach-to-it.",
        "DE89370400440532013001 and 4111 1111 1111 1112 have the wrong check digits.",
    ],
)
def test_what_only_looks_like_personal_data(text: str) -> None:
    assert personal_data(text) == ()


def test_personal_data_of_the_prompt_may_be_taken_up() -> None:
    prompt = "My number is (555) 123-4567 and my address jane@mail.com."
    assert personal_data("So they call you at 555 123 4567, or write to Jane@mail.com?", known=prompt) == ()
    assert personal_data("So they call you at 555 123 4568?", known=prompt) == ("phone",)
    assert lint(prompt, "So they call you at 555 123 4567?") == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PROMPT, "English"),
        (GERMAN, "German"),
        ("Le propriétaire a changé les serrures et nous ne pouvons pas entrer dans notre maison.", "French"),
        ("El dueño cambió la cerradura y no puedo entrar en mi casa con los niños, es una emergencia.", "Spanish"),
        ("Used Corolla, engine dead.", ""),
    ],
)
def test_languages_are_told_by_their_common_words(text: str, name: str) -> None:
    assert language(text) == name


def test_scripts_are_told_by_most_letters() -> None:
    assert script(PROMPT) == "LATIN"
    assert script(RUSSIAN) == "CYRILLIC"
    assert script("房东换了锁，我该怎么办？" * 3) == "CJK"
    assert script("Да.") == ""


@given(st.text(max_size=400), st.text(max_size=400))
def test_no_text_fails_and_findings_are_the_same_again(prompt: str, answer: str) -> None:
    findings = lint(prompt, answer, longest=50)
    assert findings == lint(prompt, answer, longest=50)
    assert len(set(findings)) == len(findings)
    assert not any(finding.startswith("personal") for finding in lint(answer, answer))


@pytest.mark.parametrize(
    "piece", ["1 ", "1-", "(1) ", "+1", "a.", "a@", "a@b.", "A1", "AB12 ", "1.", "1:", "::", "sk-", "-"]
)
def test_no_text_takes_long(piece: str) -> None:
    # Patterns that try every way to fit would take seconds for these.
    for text in (piece * 5000, f"{piece * 5000}@", f"x{piece * 5000}x"):
        begun = time.perf_counter()
        lint("", text)
        assert time.perf_counter() - begun < 1


def test_a_thousand_characters_take_a_fraction_of_a_millisecond() -> None:
    answer = " ".join(f"{word}{n}" for n in range(30) for word in ("so", "landlord", "the", "asked", "them"))[:1000]
    answer = answer.translate(str.maketrans("0123456789", "abcdefghij"))

    def seconds() -> float:
        begun = time.perf_counter()
        lint(PROMPT, answer, longest=512)
        return time.perf_counter() - begun

    assert min(seconds() for _ in range(30)) < 0.0004  # 0.2 ms on a machine that does nothing else
