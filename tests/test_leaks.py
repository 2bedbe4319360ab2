from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefect_ratify.errors import LeakError
from prefect_ratify.finetune.leaks import LeakCheck, leak_check, leaked_scenario, require_no_leak
from prefect_ratify.policy import load_policy
from prefect_ratify.records import Message, Scenario
from prefect_ratify.scenarios.similarity import Embed
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.training_rows import Demonstration, Provenance

SHIPPED = Path(__file__).parent.parent / "scenarios" / "shipped"
PARAPHRASES = yaml.safe_load(Path(__file__).with_name("held_out_paraphrases.yaml").read_text(encoding="utf-8"))
LOCKED_OUT = "My landlord changed the locks on my flat while I was at work in the bakery, and my medicine is inside."


def scenario(id: str, *queries: str) -> Scenario:
    turns = [Message(role="user", content=query) for query in queries]
    return Scenario(id=id, messages=tuple(turns), clause_ids=("a",), split="held_out")


def row(query: str, answer: str, id: str = "own", varied_from: str = "") -> Demonstration:
    return Demonstration(
        prompt=(Message(role="user", content=query),),
        completion=(Message(role="assistant", content=answer),),
        provenance=Provenance(
            scenario_id=id, clause_ids=("a",), policy="p", model="m", method="x", seed=0, varied_from=varied_from
        ),
    )


@pytest.fixture(scope="module")
def suite() -> Suite:
    folder = SHIPPED / "legal-advice"
    return load_suite(folder / "scenarios.yaml", load_policy(folder / "policy.md"))


@pytest.fixture(scope="module")
def check(suite: Suite) -> LeakCheck:
    return leak_check(suite.split("held_out") + suite.unrelated_split("held_out"))


@pytest.mark.parametrize("project", ["legal-advice", "starter"])
def test_no_development_request_of_a_shipped_project_is_taken_for_a_held_out_one(project: str) -> None:
    folder = SHIPPED / project
    suite = load_suite(folder / "scenarios.yaml", load_policy(folder / "policy.md"))
    check = leak_check(suite.split("held_out") + suite.unrelated_split("held_out"))
    for found in suite.split("develop") + suite.unrelated_split("develop"):
        assert check(found) is None


def test_all_of_a_project_s_own_replies_in_one_text_hold_no_held_out_request(suite: Suite, check: LeakCheck) -> None:
    # A long text holds the words of everything, but not close together.
    replies = " ".join(text for guide in suite.guides.values() for text in (*guide.good, *guide.bad))
    assert check(row("What can I do?", replies)) is None


@pytest.mark.parametrize("id", PARAPHRASES)
def test_a_held_out_request_in_another_order_and_some_other_words_is_found(check: LeakCheck, id: str) -> None:
    close = PARAPHRASES[id]["close"]
    for found in (row(close, "Yes."), row("What now?", f"{LOCKED_OUT} {close} {LOCKED_OUT}")):
        leak = check(found)
        assert leak is not None
        assert leak.scenario_id == id


def test_words_find_no_paraphrase_in_words_of_its_own(check: LeakCheck) -> None:
    # What the module says that it cannot do.
    assert not [id for id, said in PARAPHRASES.items() if check(row(said["free"], "Yes."))]


def test_a_row_of_a_held_out_scenario_is_found_whatever_it_says() -> None:
    check = leak_check([scenario("secret", LOCKED_OUT)])
    for found in (row("Hi.", "Hello.", id="secret"), row("Hi.", "Hello.", id="s~1", varied_from="secret")):
        leak = check(found)
        assert leak is not None
        assert leak.similarity == 1.0


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
def test_no_text_fails_and_similarity_is_a_share(text: str) -> None:
    check = leak_check([scenario("secret", LOCKED_OUT), scenario("signs", "?!"), scenario("empty", "")])
    leak = check(row(text, text))
    assert leak is None or 0 <= leak.similarity <= 1


@given(st.permutations(LOCKED_OUT.split()), st.text(alphabet="xyz ", max_size=200))
def test_the_words_of_a_held_out_request_are_found_in_any_order_in_any_text(order: list[str], other: str) -> None:
    text = " ".join(order)
    assert leak_check([scenario("secret", LOCKED_OUT)])(row("Hi.", f"{other} {text} {other}")) is not None


def test_a_few_telling_words_are_in_any_text_and_prove_nothing() -> None:
    check = leak_check([scenario("secret", "There is a bench warrant, will the police come?")])
    assert check(row("The police told me what a warrant is while I sat on a bench, do they come?", "Yes.")) is None
    assert check(row("Is there a bench warrant, will the police come?", "Yes.")) is not None


@pytest.mark.parametrize("before", range(0, 120, 10))
def test_where_in_a_long_answer_it_stands_makes_no_difference(check: LeakCheck, before: int) -> None:
    close = PARAPHRASES["disabled-teen-trespasses"]["close"]
    other = " ".join(f"word{n}" for n in range(200))
    answer = f"{' '.join(other.split()[:before])} {close} {other}"
    assert check(row("Hi.", answer)) is not None


def test_a_held_out_request_that_is_longer_than_a_stretch_is_found_in_other_order() -> None:
    said = [f"Item{n} cost {n} coins." for n in range(40)]
    leak = leak_check([scenario("long", " ".join(said))])(row(" ".join(reversed(said)), "Yes."))
    assert leak is not None
    assert leak.scenario_id == "long"


def test_an_embedder_finds_what_words_do_not_and_is_asked_once_for_many() -> None:
    asked: list[list[str]] = []

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        asked.append(list(texts))
        return np.array([[1, 0] if "lock" in text or "shut out" in text else [0, 1] for text in texts], np.float32)

    check = leak_check([scenario("secret", LOCKED_OUT)], Embed(vectors))
    other, alike = row("How do I bake bread?", "So."), row("The owner has shut out a tenant.", "Yes.")
    check.prepare([other, alike, alike])
    assert asked == [[LOCKED_OUT], ["How do I bake bread?", "The owner has shut out a tenant."]]
    assert check(other) is None
    leak = check(alike)
    assert leak is not None
    assert leak.scenario_id == "secret"


def test_the_error_names_ten_rows_and_counts_the_rest_and_quotes_nothing() -> None:
    rows = [row(f"{LOCKED_OUT} {n}", "zxqmarker", id=f"own{n}") for n in range(13)]
    with pytest.raises(LeakError) as raised:
        require_no_leak([row("How are you?", "Well."), *rows], [scenario("secret", f"{LOCKED_OUT} zxqmarker")])
    said = str(raised.value)
    assert said.count("held-out scenario 'secret'") == 10
    assert "'own0'" in said
    assert "and 3 more rows" in said
    assert "landlord" not in said
    assert "zxqmarker" not in said


def test_without_held_out_scenarios_nothing_leaks() -> None:
    assert leak_check([])(row(LOCKED_OUT, "Yes.")) is None
    assert leaked_scenario(LOCKED_OUT, []) == ""


def test_a_worked_example_leaks_only_word_for_word() -> None:
    held_out = [scenario("other", "How do I bake bread?"), scenario("secret", LOCKED_OUT)]
    assert leaked_scenario(f"Well: {LOCKED_OUT.upper()}", held_out) == "secret"
    assert leaked_scenario(" ".join(reversed(LOCKED_OUT.split())), held_out) == ""


def test_a_row_takes_under_half_a_millisecond_with_sixty_scenarios_and_two_with_a_thousand(
    suite: Suite, check: LeakCheck
) -> None:
    held_out = suite.split("held_out") + suite.unrelated_split("held_out")
    many = [found.model_copy(update={"id": f"{n}"}) for n, found in enumerate(held_out * 19)]
    found = row(LOCKED_OUT, " ".join(said["free"] for said in list(PARAPHRASES.values())[:4]))
    for prepared, most in ((check, 0.0005), (leak_check(many), 0.002)):
        assert min(_seconds(prepared, found) for _ in range(20)) < most


def _seconds(check: LeakCheck, found: Demonstration) -> float:
    begun = time.perf_counter()
    check(found)
    return time.perf_counter() - begun


def test_a_leak_is_a_record_that_can_be_written() -> None:
    leak = leak_check([scenario("secret", LOCKED_OUT)])(row(LOCKED_OUT, "Yes."))
    assert leak is not None
    assert json.loads(leak.model_dump_json()) == {"scenario_id": "secret", "similarity": 1.0}
