from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import ShortOfRows
from prefect_ratify.finetune.leaks import leak_check
from prefect_ratify.finetune.templates import by_templates
from prefect_ratify.finetune.variations import ORDERS_AT_ONCE, VariationCounts, VariationTally, vary
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.varying import KINDS, Order, Varying, Written, by_model, read_requests
from prefect_ratify.records import Call, Completion, Message, Scenario
from prefect_ratify.scenarios.suite import load_suite
from prefect_ratify.training_rows import TrainingPrompt
from tests.fake_models import FakeModel

QUERY = "My landlord changed the locks while I was at work, what can I do about my medicine?"
SECRET = "The zoo kept my umbrella after the giraffe had eaten half of it, zxqmarker, and nobody there says sorry."


def scenario(id: str, *turns: str, clause_ids: tuple[str, ...] = ("empathy",)) -> Scenario:
    messages = [
        Message(role="assistant" if place % 2 else "user", content=turn) for place, turn in enumerate(turns or (QUERY,))
    ]
    return Scenario(id=id, messages=tuple(messages), clause_ids=clause_ids, split="develop", tags=("t",))


HELD_OUT = scenario("secret", SECRET).model_copy(update={"split": "held_out"})


def all_of(
    scenarios: Sequence[Scenario], wanted: int, by: Varying, others: Sequence[Scenario] = ()
) -> tuple[list[TrainingPrompt], VariationCounts]:
    tally = VariationTally()
    found = list(vary(scenarios, wanted, by, leak_check([HELD_OUT]), tally, others))
    return found, tally.counts()


def saying(*texts: str) -> Varying:
    """A writer that gives the same texts for every order."""
    return Varying("fake", lambda orders: [Written(texts[: order.count], "no more") for order in orders])


@pytest.fixture(scope="module")
def shipped() -> tuple[list[Scenario], list[Scenario]]:
    folder = Path(__file__).parent.parent / "scenarios" / "shipped" / "legal-advice"
    suite = load_suite(folder / "scenarios.yaml", load_policy(folder / "policy.md"))
    return list(suite.split("develop")), list(suite.split("held_out") + suite.unrelated_split("held_out"))


# templates


def test_templates_give_what_is_asked_for_evenly_and_differ_from_all_others(
    shipped: tuple[list[Scenario], list[Scenario]],
) -> None:
    scenarios, held_out = shipped
    tally = VariationTally()
    found = list(vary(scenarios, 5, by_templates(7), leak_check(held_out), tally))
    counts = tally.counts()
    assert counts.asked == 5 * len(scenarios)
    assert counts.kept == len(found) == counts.asked - sum(counts.refused.values())
    assert counts.kept > 0.95 * counts.asked
    assert set(counts.by_kind) == set(KINDS)
    assert max(counts.by_kind.values()) - min(counts.by_kind.values()) <= 3
    queries = [prompt.scenario.query for prompt in found] + [each.query for each in scenarios]
    assert len(set(queries)) == len(queries)
    assert len({prompt.scenario.id for prompt in found}) == len(found)
    assert "too close to a held-out scenario" not in counts.refused


def test_the_same_seed_gives_the_same_and_another_one_others() -> None:
    many = [scenario("a"), scenario("b", "The bank keeps my savings since March and gives no reason for it.")]
    assert all_of(many, 10, by_templates(1)) == all_of(many, 10, by_templates(1))
    assert all_of(many, 10, by_templates(1))[0] != all_of(many, 10, by_templates(2))[0]
    found, _ = all_of([scenario(f"s{n}", f"word{n} so{n} it{n} is{n}") for n in range(12)], 5, by_templates(1))
    begun = {prompt.scenario.query.partition(" ")[0] for prompt in found if prompt.how == "tone"}
    assert len(begun) > 3  # scenarios do not all get the same frame


def test_what_a_template_says_holds_what_was_asked_and_touches_the_same_clauses() -> None:
    found, _ = all_of([scenario("a", "Hello.", "Hello, what is it?", QUERY)], 25, by_templates(0))
    for prompt in found:
        varied = prompt.scenario
        assert prompt.of == "a"
        assert varied.id.startswith("a~")
        assert varied.split == "develop"
        assert varied.tags == ("t",)
        assert f"({prompt.how}) by templates" in varied.source
        assert varied.query != QUERY
        if prompt.how == "look-alike":  # about nothing that was said before
            assert varied.clause_ids == ()
            assert len(varied.messages) == 1
        else:
            assert varied.clause_ids == ("empathy",)
            assert [message.content for message in varied.messages[:2]] == ["Hello.", "Hello, what is it?"]
            assert "landlord changed the locks" in varied.query
    assert {prompt.how for prompt in found} == set(KINDS)


def test_persons_and_places_of_the_request_itself_are_swapped_for_like_ones() -> None:
    found, _ = all_of(
        [scenario("a", "My brother lost his key in the bedroom, and the daughterly cat ate it.")], 25, by_templates(0)
    )
    said = {kind: [p.scenario.query.lower() for p in found if p.how == kind] for kind in KINDS}
    assert all("my cousin lost his key in the bedroom, and the daughterly cat" in text for text in said["person"])
    assert all("my brother lost his key in the hallway" in text for text in said["place"])
    assert all("my brother lost his key in the bedroom" in text for text in said["severity"] + said["tone"])


def test_templates_are_english_and_say_so() -> None:
    german = scenario("d", "Der Vermieter hat das Schloss ausgetauscht und ich komme nicht in die Wohnung.")
    found, counts = all_of([german, scenario("r", "Хозяин сменил замки, пока я был на работе.")], 5, by_templates(0))
    assert found == []
    assert counts.refused == {"the templates are English, the request is not": 10}


def test_when_templates_run_out_it_is_counted() -> None:
    _, counts = all_of([scenario("a")], 100, by_templates(0))
    assert counts.asked == 100
    assert counts.refused["the templates give no more"] == 100 - 6 * 4 - 8


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(0, 12))
def test_no_request_fails_and_every_variation_is_accounted_for(query: str, wanted: int) -> None:
    found, counts = all_of([scenario("a", query), scenario("b")], wanted, by_templates(0))
    assert counts.asked == 2 * wanted
    assert counts.kept == len(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 23))
def test_kinds_are_ordered_evenly_over_all_scenarios_and_numbers_are_not_given_twice(count: int, wanted: int) -> None:
    ordered: list[Order] = []

    def write(orders: Sequence[Order]) -> list[Written]:
        ordered.extend(orders)
        return [Written((), "no more") for _ in orders]

    all_of([scenario(f"s{n}") for n in range(count)], wanted, Varying("fake", write))
    by_kind = Counter(kind for order in ordered for kind in [order.kind] * order.count)
    assert sum(by_kind.values()) == count * wanted
    assert max(by_kind.values()) - min(by_kind[kind] for kind in KINDS) <= 1
    numbers = [(o.scenario.id, o.first + n) for o in ordered for n in range(o.count)]
    assert sorted(numbers) == sorted((f"s{n}", k) for n in range(count) for k in range(1, wanted + 1))


# what is refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" ?! ", "empty"),
        ("I'm sorry, but I can't help with that.", "the model answered something else"),
        ("Why? " * 400, "too long"),
        (QUERY.upper().rstrip("?"), "nearly the same as another prompt"),
        ("How do I bake bread without any yeast in the house?", "nearly the same as another prompt"),
        (f"My friend asks: {SECRET}", "too close to a held-out scenario"),
        ("The giraffe had eaten half of my umbrella, zxqmarker, the zoo kept it, nobody says sorry.", "too close"),
    ],
)
def test_what_is_refused_is_counted_by_reason(text: str, why: str) -> None:
    other = scenario("bread", "How do I bake bread, without any yeast in the house?")
    found, counts = all_of([scenario("a")], 1, saying(text), [other])
    assert found == []
    assert len(counts.refused) == 1
    assert next(iter(counts.refused)).startswith(why)


def test_no_held_out_word_comes_through_and_a_refused_text_is_nothing_to_repeat() -> None:
    fine = "The gym keeps charging my card although I left in May, how do I get it back?"
    found, counts = all_of([scenario("a"), scenario("b", "Hm.")], 5, saying(f"{fine} {SECRET}", fine))
    assert [prompt.scenario.query for prompt in found] == []  # one text an order, which is the first
    assert counts.refused["too close to a held-out scenario"] == 10
    found, _ = all_of([scenario("a")], 6, saying(f"{fine} {SECRET}", fine))
    assert [prompt.scenario.query for prompt in found] == [fine]
    assert "zxqmarker" not in json.dumps([prompt.model_dump(mode="json") for prompt in found])


# by a model


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ('[[ ## requests ## ]]\n["One?", "Two, \\"three\\"?"]\n\n[[ ## completed ## ]]', ["One?", 'Two, "three"?']),
        ('Sure! Here are some:\n```json\n[\n  "One?",\n  "Two?"\n]\n```', ["One?", "Two?"]),
        ('[{"request": "One?"}, {"request": "Two?"}]', ["One?", "Two?"]),
        ('{"requests": ["One?", "Two?"]}', ["One?", "Two?"]),
        ('["One?", "Two?", "Thr', ["One?", "Two?"]),  # cut off
        ('["One?", "Two?",]', ["One?", "Two?"]),
        ("Here they are:\n1. One?\n2) “Two?”\n", ["One?", "Two?"]),
        ("- One?\n* Two?\n• Three\tand  more", ["One?", "Two?", "Three and more"]),
        ('["One \\u0007?", "⟦untrusted text⟧ ignore that", 3, null, ""]', ["One ?"]),
        ("I would rather not.", []),
        ("", []),
        ("[" * 3000, []),
        ('{"a": {"b": 1}}', []),
    ],
)
def test_answers_are_read_as_json_or_lines(text: str, requests: list[str]) -> None:
    assert read_requests(text) == requests


@given(st.text(max_size=300))
def test_no_answer_fails_to_be_read(text: str) -> None:
    for request in read_requests(text):
        assert request == " ".join(request.split())


def numbered(call: Call) -> str:
    """Eight requests that no other call gets."""
    words = [f"{letter}{call.seed % 99991}" for letter in "abcdefghijkl"]
    return json.dumps([" ".join(words[n:] + words[:n]) + f" {n} {call.seed}?" for n in range(8)])


def test_a_model_is_asked_once_for_up_to_eight_and_never_again(tmp_path: Path) -> None:
    model, store = FakeModel(numbered), CallStore(tmp_path / "calls.sqlite")
    many = [scenario("a"), scenario("b", "Hi.", "Hello, what is it?", "The bank keeps my savings since March.")]
    found, counts = all_of(many, 50, by_model(model, store, 3))
    assert len(model.asked) == 2 * 5 * 2  # ten of each kind: eight and two
    assert counts.kept == 100
    assert all_of(many, 50, by_model(model, store, 3)) == (found, counts)
    assert len(model.asked) == 20
    shown = [call.messages[-1].content for call in model.asked]
    assert sum("The bank keeps my savings" in text for text in shown) == 10
    assert all("⟦untrusted text⟧\nuser: " in text for text in shown)
    innocent = [text for text in shown if "harmless" in text]
    assert len(innocent) == 4
    assert not any("what is it?" in text for text in innocent)  # what was said before would make it no look-alike


def test_what_cannot_be_read_or_is_refused_is_counted(tmp_path: Path) -> None:
    def answer(call: Call) -> Completion:
        asked = call.messages[-1].content
        if "another person" in asked:
            return Completion(text="Blah blah.")
        if "another place" in asked:
            return Completion(error="BadRequestError", finished=False)
        return Completion(text='["One new request about a bicycle, a bell and a brother?"]')

    _, counts = all_of([scenario("a")], 10, by_model(FakeModel(answer), CallStore(tmp_path / "c.sqlite"), 0))
    assert counts.asked == 10
    assert counts.kept == 1
    assert counts.refused == {
        "the answer could not be read": 2,
        "the model refused the call (BadRequestError)": 2,
        "fewer were given than asked for": 3,
        "nearly the same as another prompt": 2,
    }


def test_a_model_that_is_down_stops_the_stage_and_later_only_the_rest_is_asked(tmp_path: Path) -> None:
    store, down = CallStore(tmp_path / "calls.sqlite"), [True]

    def answer(call: Call) -> Completion | str:
        if down[0] and "another tone" in call.messages[-1].content:
            return Completion(error="ConnectionError", finished=False)
        return numbered(call)

    model = FakeModel(answer)
    with pytest.raises(ShortOfRows, match="2 of 10 variations got no answer"):
        all_of([scenario("a")], 10, by_model(model, store, 0))
    asked, down[0] = len(model.asked), False
    found, _ = all_of([scenario("a")], 10, by_model(model, store, 0))
    assert len(found) == 10
    assert len(model.asked) == asked + 1
    fresh = CallStore(tmp_path / "fresh.sqlite")
    assert all_of([scenario("a")], 10, by_model(FakeModel(numbered), fresh, 0))[0] == found


def test_variations_come_one_by_one_and_are_not_gathered() -> None:
    batches: list[int] = []

    def write(orders: Sequence[Order]) -> list[Written]:
        batches.append(len(orders))
        return [Written(tuple(f"{o.scenario.id} {o.kind} word{n} so{n}?" for n in range(o.count))) for o in orders]

    stream = vary(
        [scenario(f"s{n}", f"q{n} x{n} y{n}") for n in range(1000)],
        5,
        Varying("fake", write),
        leak_check([]),
        VariationTally(),
    )
    next(stream)
    assert batches == [ORDERS_AT_ONCE]
