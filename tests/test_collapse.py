"""When a model in training has fallen apart, by what it writes. Whether a real one does: test_training.py."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.finetune.collapse import FEWEST_STEPS, MOST_STEPS, Watch, is_time, look, what_broke

ANSWERS = [
    "I'm sorry that this has happened to you, and I hope that you and the children are safe tonight.",
    "A landlord has to give notice in writing, and how long it runs depends on the lease that you signed.",
    "Rice is washed until the water runs clear, then left to simmer under a lid for about twelve minutes.",
    "How long has this been going on, and is there anybody near you who knows what has been said?",
]
WHOLE = look(ANSWERS)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["You're going to jail. " * 5] * 4, "has said before"),
        (["the the the the the the the the the"] * 4, "has said before"),
        (["Yes."] * 4, "words"),
        (["", "", "", ""], "it says 0"),
        (["!!!!!!!!!!!!!!!!!!!!!!"] * 4, "it says 1"),
        ([ANSWERS[0]] * 4, "25% of its answers differ"),
    ],
)
def test_a_model_that_fell_apart_is_told_from_a_whole_one(answers: list[str], said: str) -> None:
    assert said in what_broke(look(answers), [WHOLE])


def test_a_whole_model_may_change_what_it_says() -> None:
    others = ["Please see a licensed attorney about that.", *(answer[40:] for answer in ANSWERS[1:])]
    assert what_broke(look(others), [WHOLE]) == ""


def test_who_is_taught_short_or_like_answers_may_give_them() -> None:
    short = look(["Ask a lawyer."] * 4)
    assert what_broke(short, [WHOLE]) and what_broke(short, [WHOLE, short]) == ""


def test_a_training_is_stopped_at_a_look_and_the_looks_are_kept(tmp_path: Path) -> None:
    def watch() -> Watch:
        return Watch("sft", [[]], ANSWERS, tmp_path / "looks.json")

    first = watch()
    first.begin(lambda: ANSWERS)
    assert first.step(49, 100, lambda: pytest.fail("looked too early")) == ""
    assert first.step(50, 100, lambda: ANSWERS) == ""
    again = watch()
    again.begin(lambda: pytest.fail("the model before training is gone"))
    assert "differ" in again.step(100, 100, lambda: ["Yes, yes."] * 4)
    assert [found.step for found in watch().looks.seen] == [50, 100]
    message = str(again.collapse("sft", 100, 100, 0.5))
    assert "by step 100 of 100" in message and "sft.learning_rate in training.yaml (it was 0.5)" in message


def test_answers_that_are_there_already_are_not_asked_for_again(tmp_path: Path) -> None:
    watch = Watch("sft", [[]], [], tmp_path / "looks.json", ANSWERS)
    watch.begin(lambda: pytest.fail("asked for what is there"))
    assert watch.looks.before is not None and watch.looks.before.distinct == 1.0


def test_the_last_step_is_always_looked_at(tmp_path: Path) -> None:
    watch = Watch("dpo", [[]], ANSWERS, tmp_path / "looks.json")
    watch.begin(lambda: ANSWERS)
    assert watch.step(3, 3, lambda: [""] * 4)


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"loss": 1.0, "grad_norm": float("inf")}])
def test_a_loss_that_is_no_number_stops_it(tmp_path: Path, logs: dict[str, float]) -> None:
    watch = Watch("sft", [[]], [], tmp_path / "looks.json")
    assert watch.numbers({"loss": 0.3, "grad_norm": 1.0}) == "" and watch.numbers(logs)


def test_a_loss_worse_than_a_blind_guess_stops_it_unless_it_began_there(tmp_path: Path) -> None:
    watch = Watch("sft", [[]], [], tmp_path / "looks.json")
    assert not watch.numbers({"loss": 2.0}, blind=10.8) and not watch.numbers({"loss": 10.7}, blind=10.8)
    assert watch.numbers({"loss": 14.0}, blind=10.8) == "a loss of 14.0 is worse than a blind guess (10.8)"
    untrained = Watch("sft", [[]], [], tmp_path / "others.json")
    assert not untrained.numbers({"loss": 10.9}, blind=10.8) and not untrained.numbers({"loss": 10.85}, blind=10.8)
    assert not untrained.numbers({"loss": 14.0})


@given(st.lists(st.text(max_size=200), max_size=20))
def test_any_text_can_be_looked_at_and_is_as_whole_as_itself(answers: list[str]) -> None:
    seen = look(answers)
    assert 0 <= seen.repetition <= 1 and 0 <= seen.distinct <= 1 and what_broke(seen, [seen]) == ""


@given(st.integers(min_value=1, max_value=5000))
def test_looks_are_neither_rare_nor_many_and_the_last_step_has_one(total: int) -> None:
    looks = [step for step in range(1, total + 1) if is_time(step, total)]
    gaps = [later - sooner for sooner, later in pairwise([0, *looks])]
    assert looks[-1] == total and max(gaps) <= 1.5 * MOST_STEPS
    assert len(looks) == 1 or min(gaps) >= FEWEST_STEPS // 2
