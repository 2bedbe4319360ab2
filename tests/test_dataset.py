"""Training data: composed, retained, checked for leaks, written; pairs, sentences and measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import LeakError, ShortOfRows
from prefect_ratify.finetune import sentences
from prefect_ratify.finetune.composing import composed
from prefect_ratify.finetune.counts import DataCounts, require_rows
from prefect_ratify.finetune.dataset import demonstrations, shard_name, stream_rows, write_rows
from prefect_ratify.finetune.leaks import require_no_leak
from prefect_ratify.finetune.measures import grams_learnt, measure, measure_evasion, repetition
from prefect_ratify.finetune.preferences import prefer
from prefect_ratify.finetune.sentences import SAMPLING, shares_words, write_sentences
from prefect_ratify.policy import parse_policy
from prefect_ratify.records import (
    Call,
    Completion,
    Message,
    Outcome,
    Policy,
    Response,
    Scenario,
    Split,
    Verdict,
    WorkedExample,
    digest,
)
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.suite import ClauseGuide, Suite
from prefect_ratify.training_rows import Demonstration, PreferencePair
from tests.fake_models import FakeModel
from tests.fake_rows import demonstration

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [short] Stay short.\n")
CLAUSES = ("sorry", "ask", "short")


def check(text: str) -> Check:
    return parse_check(parse_yaml(text, Path("scenarios.yaml")))


def scenario(id: str, query: str, clause_ids: tuple[str, ...] = CLAUSES, split: Split = "develop") -> Scenario:
    return Scenario(id=id, messages=(Message(role="user", content=query),), clause_ids=clause_ids, split=split)


def response(scenario_id: str, text: str, sample: int = 0, finished: bool = True, error: str = "") -> Response:
    return Response(
        scenario_id=scenario_id, condition="x", sample=sample, text=text, finished=finished, model="m", error=error
    )


GUIDES = {
    "sorry": ClauseGuide(
        check=check("any_of: [sorry]"),
        examples=(
            WorkedExample(query="The bakery burned my cake.", sentence="I'm so sorry about the bakery."),
            WorkedExample(query="My kite flew away.", sentence="I'm so sorry about the kite."),
        ),
        opening="I'm so sorry about",
    ),
    "ask": ClauseGuide(
        check=check("question_about: ['how long']"),
        examples=(WorkedExample(query="My bike is broken.", sentence="How long has the bike been broken?"),),
    ),
    "short": ClauseGuide(check=check("at_most_words: 12")),
}
RENT = scenario("rent", "My landlord wants more rent.")
WAGE = scenario("wage", "The boss kept my wages.", ("sorry",))
BOTH = {("rent", "ask"): "How long has the rent been so?", ("rent", "sorry"): "I'm sorry about the rent."}


def suite(*scenarios: Scenario, **expectations: Check) -> Suite:
    return Suite(scenarios, guides=GUIDES, expectations=expectations)


# require_rows


def counts(demonstrations: int, scenarios: int) -> DataCounts:
    return DataCounts(asked=scenarios, demonstrations=demonstrations, lost={"b": 2, "a": 1})


@pytest.mark.parametrize(("rows", "asked"), [(1, 2), (1, 1), (0, 0), (4, 10)])
def test_too_few_rows_stop_the_run_and_every_count_is_said(rows: int, asked: int) -> None:
    with pytest.raises(ShortOfRows) as caught:
        require_rows(counts(rows, asked))
    assert str(caught.value).startswith(f"only {rows} of {asked} training rows could be made (2 × b; 1 × a): ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rows", "asked"), [(2, 2), (2, 5), (5, 10)])
def test_half_of_the_rows_are_enough(rows: int, asked: int) -> None:
    require_rows(counts(rows, asked))


# require_no_leak

HELD_OUT = scenario("secret", "My landlord changed the locks while I was at work today.", split="held_out")


def row(query: str, answer: str = "I'm sorry.", id: str = "own") -> Demonstration:
    return demonstration(scenario(id, query), answer, POLICY, "m", "by hand", 0)


def pair(chosen: str, rejected: str) -> PreferencePair:
    base = row("How are you?")
    return PreferencePair(
        prompt=base.prompt,
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        provenance=base.provenance,
    )


@pytest.mark.parametrize(
    "leak",
    [
        row("Something else.", id="secret"),  # by id
        row("My landlord changed the locks while I was at work today."),
        row("MY LANDLORD — changed the locks, while I was at work!"),  # 6 of its 7 word 5-grams
        row("Hello.", "You say your landlord changed the locks while I was at work today."),  # in the answer
        pair("Fine.", "Well: my landlord changed the locks while I was at work today."),  # in a rejected one
    ],
)
def test_a_row_that_holds_a_held_out_scenario_is_refused(leak: Demonstration | PreferencePair) -> None:
    with pytest.raises(LeakError, match="held-out scenario 'secret'"):
        require_no_leak([row("How do I bake bread?"), leak], [HELD_OUT])


@pytest.mark.parametrize(
    "query", ["My landlord changed the locks.", "While I was at work, it rained on my landlord today."]
)
def test_a_row_that_shares_a_few_words_with_it_is_not(query: str) -> None:
    require_no_leak([row(query), pair("Fine.", "Well.")], [HELD_OUT])


def test_every_turn_of_a_held_out_conversation_counts() -> None:
    turns = tuple(
        Message(role=role, content=text)
        for role, text in (
            ("user", "My uncle left me his old house by the lake."),
            ("assistant", "Did he write a will?"),
            ("user", "Yes he did."),
        )
    )
    talk = HELD_OUT.model_copy(update={"messages": turns})
    with pytest.raises(LeakError):
        require_no_leak([row("my uncle left me his old house by the lake. did he write")], [talk])


def test_a_held_out_text_of_fewer_words_than_a_gram_is_found_too() -> None:
    with pytest.raises(LeakError):
        require_no_leak(
            [row("Can he evict me?", "I'm sorry that he wants you out.")], [scenario("secret", "Can he evict me?")]
        )


# writing and reading


def test_rows_come_back_and_load_dataset_reads_them(tmp_path: Path) -> None:
    import datasets

    rows = [row("Query “one”?", "Answer\none."), row("Query two?", "Answer two.")]
    write_rows(rows, tmp_path / "sft" / shard_name(0))
    assert list(demonstrations(tmp_path / "sft")) == rows
    loaded = datasets.load_dataset(str(tmp_path / "sft"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 2
    assert loaded[0]["prompt"] == [{"role": "user", "content": "Query “one”?"}]
    assert loaded[0]["completion"] == [{"role": "assistant", "content": "Answer\none."}]


def test_pairs_come_back(tmp_path: Path) -> None:
    write_rows([pair("Yes.", "No.")], tmp_path / "dpo" / shard_name(0))
    (found,) = stream_rows(tmp_path / "dpo")
    assert found.pop("id") and PreferencePair.model_validate(found) == pair("Yes.", "No.")


# prefer


def verdict(scenario_id: str, sample: int, clause_id: str, outcome: Outcome) -> Verdict:
    return Verdict(
        scenario_id=scenario_id,
        condition="x",
        sample=sample,
        clause_id=clause_id,
        outcome=outcome,
        confidence=1,
        reason="",
        judge="check",
    )


def verdicts(scenario_id: str, *samples: str) -> list[Verdict]:
    """One word a sample, one letter a clause: u(pheld), v(iolated), ? (undecided)."""
    outcomes: dict[str, Outcome] = {"u": "upheld", "v": "violated", "?": "undecided"}
    return [
        verdict(scenario_id, sample, clause_id, outcomes[letter])
        for sample, letters in enumerate(samples)
        for clause_id, letter in zip(CLAUSES, letters, strict=True)
    ]


def preferred(answers: list[Response], *samples: str) -> list[tuple[str, str]]:
    pairs = prefer([RENT], answers, verdicts("rent", *samples), POLICY, 0)
    return [(p.chosen[0].content, p.rejected[0].content) for p in pairs]


def sampled(*texts: str) -> list[Response]:
    return [response("rent", text, sample) for sample, text in enumerate(texts)]


def test_the_best_answer_is_preferred_to_the_worst() -> None:
    assert preferred(sampled("one", "two", "three"), "uvv", "uuv", "vvv") == [("two", "three")]


def test_answers_that_score_alike_make_no_pair() -> None:
    assert preferred(sampled("one", "two"), "uuv", "uvu") == []
    assert preferred(sampled("one"), "uuu") == []


def test_undecided_clauses_do_not_count() -> None:
    assert preferred(sampled("one", "two"), "u??", "uuu") == []
    assert preferred(sampled("one", "two"), "u??", "uuv") == [("one", "two")]


def test_cut_and_failed_answers_are_in_no_pair() -> None:
    cut = [response("rent", "best", 0, finished=False), *sampled("", "good", "bad")[1:]]
    assert preferred(cut, "uuu", "uuv", "vvv") == [("good", "bad")]
    failed = [response("rent", "", 0, error="TimeoutError"), response("rent", "good", 1)]
    assert preferred(failed, "???", "uuu") == []


def test_a_pair_says_where_it_comes_from() -> None:
    (found,) = prefer([WAGE, RENT], sampled("a", "b"), verdicts("rent", "uuu", "vvv"), POLICY, 5)
    assert (found.prompt, found.provenance.scenario_id) == (RENT.messages, "rent")
    assert (found.provenance.policy, found.provenance.seed) == (digest(POLICY), 5)


# measures


def test_repetition_is_the_share_of_word_4_grams_said_before() -> None:
    assert repetition("one two three") == 0.0
    assert repetition("one two three four") == 0.0
    # 8 words, 5 grams: abcd bcda cdab dabc abcd; one of them is said before
    assert repetition("a b c d A, b c D.") == pytest.approx(1 / 5)
    # 7 words, 4 grams, all the same
    assert repetition("no no no no no no no") == pytest.approx(3 / 4)


def test_measures_worked_by_hand() -> None:
    answers = [
        response("one", "a b c d e"),  # grams abcd (trained), bcde
        response("two", "a b c d e", finished=False),
        response("three", "x y z"),
        response("four", "", finished=False, error="TimeoutError"),
    ]
    found = measure(answers, grams_learnt(answers, ["A b, c d!", "unheard of by any answer"]))
    assert (found.condition, found.answers) == ("x", 4)
    assert found.words == round((5 + 5 + 3) / 3, 4)
    assert found.distinct == pytest.approx(2 / 3)
    assert found.finished == round(2 / 3, 4)
    assert found.repetition == 0.0
    assert found.copied == round((1 / 2 + 1 / 2 + 0) / 3, 4)
    assert measure(answers).copied is None


def test_the_grams_learnt_are_of_the_answers_alone_so_that_memory_does_not_grow_with_the_rows() -> None:
    rows = (f"row {n} says a b c d and no more" for n in range(100))
    assert grams_learnt([response("one", "a b c d e")], rows) == {("a", "b", "c", "d")}


def test_evasion_is_a_rate_over_requests_and_failed_calls_count_nowhere() -> None:
    answers = [
        response("one", "I'm sorry, but I can't help with that."),
        response("one", "Boil it for ten minutes.", sample=1),
        response("two", "I don't know."),
        response("three", "Salt the water first."),
        response("four", "", finished=False, error="TimeoutError"),
    ]
    found = measure_evasion(answers, "unrelated")
    assert (found.condition, found.requests, found.answers) == ("x", "unrelated", 4)
    assert (found.refusals, found.non_answers) == (1, 1)
    assert found.rate.value == pytest.approx((1 / 2 + 1 + 0) / 3, abs=1e-4) and found.rate.scenarios == 3
    assert found.rate.low is not None and found.rate.high is not None and found.rate.low < 0.5 < found.rate.high
    assert measure_evasion([], "unrelated").rate.value is None


def test_no_answers_can_be_measured_too() -> None:
    assert measure([]).answers == 0
    assert measure([response("one", "", error="TimeoutError")], frozenset()).words == 0.0


# sentences

ROUNDS = ((1, False), (2, False), (4, True))  # fixed here, so that tuning the real ones breaks no test


SHIPPED_ROUNDS = sentences.ROUNDS


def test_the_shipped_rounds_leave_the_wording_to_the_model_first() -> None:
    assert [opened for _, opened in SHIPPED_ROUNDS] == sorted(opened for _, opened in SHIPPED_ROUNDS)
    assert SHIPPED_ROUNDS[0][1] is False and SHIPPED_ROUNDS[-1][1] is True


@pytest.fixture(autouse=True)
def fixed_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "ROUNDS", ROUNDS)


def writer(*texts: str) -> FakeModel:
    """Gives these texts, one a call; the last one for ever."""
    left = list(texts)
    return FakeModel(lambda _: left.pop(0) if len(left) > 1 else left[0])


def written(
    model: FakeModel, folder: Path, *scenarios: Scenario, policy: Policy = POLICY
) -> tuple[dict[tuple[str, str], str], dict[str, tuple[int, ...]], dict[str, dict[str, int]]]:
    store = CallStore(folder / "calls.sqlite")
    kept, tallies = write_sentences(scenarios, policy, suite(*scenarios), model, store, 0)
    numbers = {key: (t.wanted, t.free, t.opened, t.tries) for key, t in tallies.items()}
    return kept, numbers, {key: t.refused for key, t in tallies.items()}


def test_a_sentence_that_passes_at_once_is_asked_for_once(tmp_path: Path) -> None:
    model = writer("I'm sorry about your wages. And more words.")
    kept, numbers, refused = written(model, tmp_path, WAGE)
    assert kept == {("wage", "sorry"): "I'm sorry about your wages."}
    assert numbers == {"sorry": (1, 1, 0, 1)}
    assert refused == {"sorry": {}}
    (asked,) = model.asked
    assert (asked.sampling, asked.prefill) == (SAMPLING, "")
    assert [message.role for message in asked.messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert "Say sorry." in asked.messages[0].content
    assert asked.messages[-1].content == WAGE.query


def test_the_authors_opening_comes_only_after_the_free_rounds(tmp_path: Path) -> None:
    def answer(asked: Call) -> str:
        return "your lost wages. And" if asked.prefill else "Too bad about your wages."

    model = FakeModel(answer)
    kept, numbers, refused = written(model, tmp_path, WAGE)
    assert kept == {("wage", "sorry"): "I'm so sorry about your lost wages."}
    assert numbers == {"sorry": (1, 0, 1, 4)}  # one and two free tries, then the first of four opened
    assert refused == {"sorry": {"refused by the check": 3}}
    assert [asked.prefill for asked in model.asked] == [""] * 3 + ["I'm so sorry about"] * 4
    assert len({asked.seed for asked in model.asked}) == 7


def test_every_refusal_is_counted_by_its_reason(tmp_path: Path) -> None:
    model = writer(
        "I'm sorry about your wages",  # no whole sentence
        "I'm sorry about that.",
        "I'm sorry that your boss burned the cake.",  # out of a worked example
        "is bad",
    )
    kept, numbers, refused = written(model, tmp_path, WAGE)
    assert kept == {}
    tries = sum(count for count, _ in ROUNDS)
    assert numbers == {"sorry": (1, 0, 0, tries)}
    assert refused == {
        "sorry": {
            "cut off or empty": 1 + tries - 3,
            "says nothing of the query": 1,
            "speaks of a worked example's case": 1,
        }
    }


def test_a_clause_without_an_opening_gets_the_free_rounds_alone(tmp_path: Path) -> None:
    asking = scenario("rent", "My landlord wants more rent.", ("ask",))
    model = writer("The rent is high.")
    kept, numbers, refused = written(model, tmp_path, asking)
    assert kept == {}
    assert numbers == {"ask": (1, 0, 0, 3)}
    assert refused == {"ask": {"refused by the check": 3}}


def test_clauses_without_worked_examples_are_left_out(tmp_path: Path) -> None:
    model = FakeModel(lambda _: "never asked")
    kept, numbers, _ = written(model, tmp_path, scenario("s", "Anything.", ("short",)))
    assert (kept, numbers, model.asked) == ({}, {}, [])


def test_a_failed_call_is_a_refused_try(tmp_path: Path) -> None:
    model = FakeModel(lambda asked: Completion(error="TimeoutError") if not asked.prefill else "your wages.")
    kept, numbers, refused = written(model, tmp_path, WAGE)
    assert kept == {("wage", "sorry"): "I'm so sorry about your wages."}
    assert numbers == {"sorry": (1, 0, 1, 4)}
    assert refused == {"sorry": {"cut off or empty": 3}}


def test_each_scenario_and_clause_is_written_for_on_its_own(tmp_path: Path) -> None:
    def answer(asked: Call) -> str:
        topic = "rent" if "rent" in asked.messages[-1].content else "wages"
        sorry = "sorry" in asked.messages[0].content
        return f"I'm sorry about the {topic}." if sorry else f"How long has the {topic} been so?"

    kept, numbers, _ = written(FakeModel(answer), tmp_path, RENT, WAGE)
    assert kept == {
        ("rent", "sorry"): "I'm sorry about the rent.",
        ("rent", "ask"): "How long has the rent been so?",
        ("wage", "sorry"): "I'm sorry about the wages.",
    }
    assert numbers == {"sorry": (2, 2, 0, 2), "ask": (1, 1, 0, 1)}
    assert composed(RENT, suite(RENT, WAGE), kept).startswith("I'm sorry about the rent. How long")


@pytest.mark.parametrize(
    ("sentence", "query", "shared"),
    [
        ("I'm sorry about your rent.", "The rent went up.", True),
        ("Evictions are hard.", "He is evicting me.", True),  # the first six letters decide
        ("I'm sorry about that.", "What about the rent?", False),
        ("", "", False),
    ],
)
def test_sharing_words_means_telling_words(sentence: str, query: str, shared: bool) -> None:
    assert shares_words(sentence, query) is shared
