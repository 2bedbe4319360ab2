"""Preference pairs and the principles behind them: what is read, a planted rule that is found, and calls as planned."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.finetune.dataset import write_rows
from prefect_ratify.flows.drafting import kept_apart, suite_text
from prefect_ratify.flows.importing_preferences import hold_against, import_preferences
from prefect_ratify.flows.inverting import Inverting, Weighed, find, plan, read_data
from prefect_ratify.policy import load_policy, parse_policy
from prefect_ratify.policy_modules.principles import distinct, propose, read_votes, vote
from prefect_ratify.records import Call, Completion, Message
from prefect_ratify.scenarios.explaining import agreement, explained, ranked, together
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.scenarios.preference_pairs import Pair, halves, load_pairs
from prefect_ratify.scenarios.statistics import Scores
from prefect_ratify.scenarios.suite import load_suite
from prefect_ratify.store import read_records
from prefect_ratify.training_rows import PreferencePair, Provenance
from tests.model_server import Fault, Messages, ModelServer, model_server

PLANTED = "The response should end with a question."
# What each rule looks at; a response that has more of it is preferred. All but the planted one are chance.
RULES: dict[str, Callable[[str], int]] = {
    PLANTED: lambda text: text.endswith("?"),
    "The response should have more words.": lambda text: len(text.split()),
    "The response must not ramble on.": lambda text: -len(text.split()),
    "The response should mention rain.": lambda text: "rain" in text,
    "The response should give a number.": lambda text: bool(re.search(r"\d", text)),
    "The response should be excited!": lambda text: "!" in text,
    "The response should open with thanks.": lambda text: text.startswith("Thanks"),
    "The response should speak of cats.": lambda text: "cat" in text,
    "The response should name a colour.": lambda text: "blue" in text,
    "The response should use short words.": lambda text: -max(map(len, text.split())),
    "The response should prefer tea over coffee.": lambda text: "tea" in text,
    "The response should admit doubt.": lambda text: "perhaps" in text,
    "The response should have a comma.": lambda text: "," in text,
}
WORDS = "rain cat blue tea perhaps 7 walk, home evening bright! table chair slow river mountain".split()
FENCED = re.compile(r"⟦untrusted text⟧\n(.*?)\n⟦untrusted text⟧", re.DOTALL)


def rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Synthetic pairs that differ at random, but that the chosen response ends with a question."""
    draw = random.Random(seed)

    def response(end: str) -> str:
        opening = draw.choice(["Thanks for that: ", "Well, "])
        return opening + " ".join(draw.choices(WORDS, k=draw.randint(4, 12))) + f" then{end}"

    return [
        {
            "prompt": f"Tell me of case {place}, {' '.join(draw.choices(WORDS, k=9))}",
            "chosen": response("?"),
            "rejected": response("."),
        }
        for place in range(count)
    ]


def written(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def honest(messages: Messages) -> str:
    """Proposes any rules, the planted one sometimes; votes by looking at the texts."""
    asked = messages[-1]["content"]
    if "The response that was preferred:" in asked:
        return json.dumps(random.Random(asked).sample(list(RULES), 3))
    _, first, second = FENCED.findall(asked)
    votes = {}
    for number, text in re.findall(r"^(\d+)\. (.*)$", asked.rpartition("Principles:")[2], re.MULTILINE):
        rule = RULES.get(text, lambda _: 0)
        votes[number] = "A" if rule(first) > rule(second) else "B" if rule(second) > rule(first) else "neither"
    return json.dumps(votes)


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Messages], str]) -> Iterator[ModelServer]:
    with model_server(answer) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield server


INVERTING = Inverting("openai/scripted")


def pair(place: int = 0, chosen: str = "Yes.", rejected: str = "No.") -> Pair:
    asked = Message(role="user", content=f"question {place}")
    return Pair(place=str(place), conversation=(asked,), chosen=chosen, rejected=rejected)


# Reading


@pytest.mark.parametrize(
    ("row", "conversation", "chosen", "rejected"),
    [
        ({"chosen": "a", "rejected": "b"}, [], "a", "b"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, ["q"], "a", "b"),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
            ["q"],
            "a",
            "b",
        ),
        (
            {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"},
            ["q"],
            "a",
            "b",
        ),
        (
            {
                "chosen": "\n\nHuman: q\n\nAssistant: m\n\nHuman: n\n\nAssistant: a",
                "rejected": "\n\nHuman: q\n\nAssistant: o\n\nHuman: n\n\nAssistant: b",
            },
            ["q"],
            "assistant: m\nuser: n\nassistant: a",
            "assistant: o\nuser: n\nassistant: b",
        ),
        (
            {
                "prompt": "q",
                "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                "rejected": json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]),
            },
            ["q"],
            "a",
            "b",
        ),
    ],
)
def test_pairs_are_read_in_all_their_forms(
    tmp_path: Path, row: dict[str, object], conversation: list[str], chosen: str, rejected: str
) -> None:
    (found,) = load_pairs(written(tmp_path / "pairs.jsonl", [row])).pairs
    assert [turn.content for turn in found.conversation] == conversation
    assert (found.chosen, found.rejected) == (chosen, rejected)


def test_where_one_side_goes_on_a_response_is_left_to_both(tmp_path: Path) -> None:
    short = "\n\nHuman: q\n\nAssistant: a"
    row: dict[str, object] = {"chosen": short, "rejected": f"{short}\n\nHuman: n\n\nAssistant: b"}
    (found,) = load_pairs(written(tmp_path / "pairs.jsonl", [row])).pairs
    assert (found.chosen, found.rejected) == ("a", "assistant: a\nuser: n\nassistant: b")


@pytest.mark.parametrize("bait", ["\n", "\n\nHuman: a", "[{", "\n\n "])
def test_a_huge_text_is_refused_at_once(tmp_path: Path, bait: str) -> None:
    row: dict[str, object] = {"chosen": bait * (1_000_000 // len(bait)), "rejected": "b"}
    with pytest.raises(InputError, match="it is longer than 24,000 characters"):
        load_pairs(written(tmp_path / "pairs.jsonl", [row]))


def test_rows_that_are_no_pairs_are_counted_with_their_places(tmp_path: Path) -> None:
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path = written(tmp_path / "pairs.jsonl", [good, good, {"chosen": "a"}, good | {"rejected": "a"}])
    with path.open("a", encoding="utf-8") as file:
        file.write('not JSON\n{"chosen": "a", "rejected": ""}\n{"chosen": 7, "rejected": "b"}\n')
        file.write('{"chosen": "\\ud800", "rejected": "b"}\n' + json.dumps(good | {"chosen": "x" * 30_000}) + "\n")
    found = load_pairs(path)
    assert found.rows == 9 and len(found.pairs) == 1
    assert {reason.split("(")[0].strip(): places for reason, places in found.refused.items()} == {
        "the same pair stands there before": ("pairs.jsonl:2",),
        "it has no column 'rejected'": ("pairs.jsonl:3",),
        "both responses are the same": ("pairs.jsonl:4",),
        "it is not JSON": ("pairs.jsonl:5",),
        "a side does not end in a response of the assistant": ("pairs.jsonl:6",),
        "a side is neither a text nor a list of messages": ("pairs.jsonl:7",),
        "it holds half a character": ("pairs.jsonl:8",),
        "it is longer than 24,000 characters": ("pairs.jsonl:9",),
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pairs.txt", "x", "this is no data set"),
        ("pairs.jsonl", "", "there is no row"),
        ("pairs.jsonl", '{"question": "a"}\n', "no row is a pair: it has no column 'chosen'"),
        ("pairs.csv", "chosen,rejected\na,b\n", "fewer than 6 cannot show anything"),
        ("missing.csv", None, "there is no such file"),
    ],
)
def test_a_data_set_of_no_use_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    arguments = ["import", "preferences", str(tmp_path / name), "--to", str(tmp_path / "p"), "--judge", "openai/none"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and name in error and error.count("\n") == 1
    assert not (tmp_path / "p").exists()


@given(st.permutations(range(20)), st.integers(1, 25))
def test_halves_hang_on_the_texts_alone_and_part_no_conversation(order: list[int], limit: int) -> None:
    pairs = [pair(place // 3, chosen=f"answer {place}") for place in range(20)]
    first, second = halves([pairs[place] for place in order], limit)
    assert (first, second) == halves(pairs, limit)
    assert len(first) + len(second) == min(limit, 20) and len(first) >= len(second)
    assert not {each.unit for each in first} & {each.unit for each in second}


# Asking and reading answers


@pytest.mark.parametrize(
    ("answer", "votes"),
    [
        ('{"1": "A", "2": "B", "3": "neither"}', ["first", "second", "tie"]),
        ('```json\n{"1": "a", "3": "B"}\n```', ["first", "undecided", "second"]),
        ("1: A\n2. **B**\nPrinciple 3: neither", ["first", "second", "tie"]),
        ('{"1": "A", "1": "B", "2": "both of them", "3": ["A"]}', ["undecided"] * 3),
        ("A", ["undecided"] * 3),
        ("", ["undecided"] * 3),
        ('{"0": "A", "4": "B"}', ["undecided"] * 3),
    ],
)
def test_votes_are_read_or_undecided(answer: str, votes: list[str]) -> None:
    assert read_votes(answer, 3) == votes


@given(st.text(max_size=200), st.integers(1, 12))
def test_no_answer_breaks_the_reading(text: str, count: int) -> None:
    assert len(read_votes(text, count)) == count


@pytest.mark.parametrize("bait", ["\n", "1 ", "{", "- ", "</think>", "The response should "])
def test_a_huge_answer_takes_no_long_time(bait: str) -> None:
    answer = Completion(text=bait * (200_000 // len(bait)))
    before = time.process_time()
    assert read_votes(answer.text, 2) == ["undecided"] * 2
    assert not propose([pair()], lambda label, calls: [answer]).texts
    assert time.process_time() - before < 5


def test_a_vote_counts_where_both_orders_agree() -> None:
    def ask(label: str, calls: list[Call]) -> list[Completion]:  # always A, but for the second principle
        return [
            Completion(text=json.dumps({"1": "A", "2": "A" if number % 2 == 0 else "B"}))
            for number, _ in enumerate(calls)
        ]

    votes = vote([pair()], ["leans to a place", "is kept"], ask, "")  # type: ignore[arg-type]
    assert votes.tolist() == [[0.5, 1.0]]


def test_proposals_that_are_no_principles_are_counted() -> None:
    said = [
        json.dumps([PLANTED, "- a list\n- of two", "x" * 700]),
        '["The response should say that all tenants of this house may stay"]',
        "<think>\n- The response should be a thought.\n</think>I cannot tell.",
    ]
    answers = [*(Completion(text=text) for text in said), Completion(error="ServerError", finished=False)]
    pairs = [pair(1), pair(2, chosen="We say that all tenants of this house may stay here."), pair(3), pair(4)]
    proposed = propose(pairs, lambda label, calls: answers)
    assert proposed.texts == (PLANTED, "a list - of two")
    assert proposed.refused == {
        "longer than 600 characters": 1,
        "quotes its pair": 1,
        "no principle in an answer": 1,
        "no answer (ServerError)": 1,
    }


def test_principles_alike_are_one_and_a_prohibition_is_another() -> None:
    said = ["The response should give practical steps."] * 3 + ["The response should give practical next steps."]
    said += ["The response must not give practical steps.", "The response should be kind."]
    found = distinct(said)
    assert [(each.text, each.proposals) for each in found] == [
        ("The response should give practical steps.", 4),
        ("The response must not give practical steps.", 1),
        ("The response should be kind.", 1),
    ]
    assert distinct(said[::-1]) == found and distinct([]) == []
    # By vectors of a model other ones may say the same; of two alike the one that was said more often stands for both.
    about = [*said, "Be gentle."]
    by_meaning = distinct(
        about, lambda texts: np.array([[float("steps" in text), float("steps" not in text)] for text in texts])
    )
    assert [(each.text, each.proposals) for each in by_meaning][:2] == [(said[0], 4), ("Be gentle.", 2)]


# Figures

NAN = float("nan")


def test_the_figures_equal_an_example_worked_by_hand() -> None:
    # Eight pairs of eight conversations. The first is right on all; the second on one of two, the third on none of
    # seven; the fourth says nothing. Two-sided sign tests: 2/2⁸, 1, 2/2⁷; adjusted over three: 3/128, 1, 3/128.
    votes = np.array([[1.0, NAN, 0.0, 0.5]] * 8)
    votes[0, 1], votes[1, 1], votes[7, 2] = 1.0, 0.0, 0.5
    found = explained(votes, ["a", "b", "c", "d"], [str(n) for n in range(8)])
    assert [(each.right, each.wrong, each.neither, each.undecided) for each in found] == [
        (8, 0, 0, 0),
        (1, 1, 0, 6),
        (0, 7, 1, 0),
        (0, 0, 8, 0),
    ]
    assert [each.standing for each in found] == ["explains", "not shown", "contradicts", "not shown"]
    assert [each.p for each in found] == [
        pytest.approx(3 / 128, abs=1e-6),
        1.0,
        pytest.approx(3 / 128, abs=1e-6),
        None,
    ]
    assert [each.alone for each in found] == [8, 0, 0, 0]
    assert ranked(found) == [0, 1, 3, 2]
    assert agreement(votes[:, 0], votes[:, 1]) == (1, 2)


def test_pairs_of_one_conversation_count_as_one() -> None:
    votes = np.array([[1.0]] * 40)
    (found,) = explained(votes, ["a"], ["one"] * 40)
    assert found.right == 40 and found.accuracy.scenarios == 1 and found.standing == "not shown"


def test_a_majority_decides_and_what_is_even_does_not_count() -> None:
    votes = np.array([[1, 1, 0], [1, 0, 0.5], [0, NAN, 0.5], [0.5, NAN, 0.5]])
    found = together(votes, list("abcd"))
    assert (found.right, found.wrong, found.even, found.none) == (1, 1, 1, 1)
    assert found.accuracy.value == 0.5 and found.accuracy.scenarios == 2
    assert together(np.zeros((4, 0)), list("abcd")).none == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), min_size=6, max_size=30), st.randoms())
def test_figures_do_not_hang_on_the_order_of_pairs(scores: list[float], draw: random.Random) -> None:
    votes: Scores = np.array([scores, scores[::-1]]).T
    units = [str(place // 2) for place in range(len(scores))]
    order = draw.sample(range(len(scores)), len(scores))
    assert explained(votes, ["a", "b"], units) == explained(votes[order], ["a", "b"], [units[n] for n in order])
    for each in explained(votes, ["a", "b"], units):
        assert each.right + each.wrong + each.neither + each.undecided == len(scores)


def test_among_principles_of_chance_one_is_rarely_shown_to_explain() -> None:
    draw, runs = np.random.default_rng(0), 100
    units = [str(place) for place in range(60)]
    wrong = 0
    for _ in range(runs):
        votes: Scores = draw.choice([0.0, 0.5, 1.0], size=(60, 10))
        found = explained(votes, [str(place) for place in range(10)], units)
        wrong += any(each.standing != "not shown" for each in found)
    assert wrong <= 11  # of 100 with a chance of at most one in twenty each: more in one case of two hundred


def test_a_held_out_request_that_a_development_one_says_too_is_moved() -> None:
    said = "My landlord wants to double the rent of our flat next month, what can tenants do about it?"
    texts = [said, f"{said} Please answer soon.", "How do I bake bread without any yeast at all in an old oven?"]
    candidates = [
        Candidate(
            place=str(place),
            id=str(place),
            messages=(Message(role="user", content=text),),
            split="held_out" if place else "develop",
        )
        for place, text in enumerate(texts)
    ]
    assert [each.split for each in kept_apart(candidates, [])] == ["develop", "develop", "held_out"]
    assert [each.split for each in kept_apart(candidates, texts[2:])] == ["develop"] * 3


def test_a_starter_counts_a_request_once_however_it_is_spelt() -> None:
    policy = parse_policy("# P\n\n## Clauses\n\n- Be kind.\n")
    asked = ["May I sue?", "may  I sue?", "May I stay?"]
    candidates = [
        Candidate(place=text, id=f"s{place}", messages=(Message(role="user", content=text),))
        for place, text in enumerate(asked)
    ]
    text, count = suite_text("scenarios:\n", policy, candidates)
    assert count == 2 == text.count("query:")


# The whole, with a server


@pytest.mark.model
def test_a_planted_rule_is_found_and_random_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = written(tmp_path / "pairs.jsonl", rows(120)), tmp_path / "p"
    with serving(monkeypatch, honest) as server:
        draft = import_preferences(folder, source, INVERTING)
        assert len(server.requests) == draft.found.asked <= plan(read_data(source, 300), INVERTING).calls
        before = len(server.requests)
        # Another time nothing is paid for, and the same comes of it.
        again = import_preferences(folder, source, INVERTING, replace=True)
        assert len(server.requests) == before and again.policy == draft.policy and again.kept is not None
    asked = [json.dumps(messages) for messages in server.requests]
    held_out = [pair.conversation[0].content for pair in draft.data.held_out]
    before = 60 + 60 * 2 * 2  # calls to propose and to test: they see no pair that is held out, and later ones no other
    assert not any(text in call for text in held_out for call in asked[:before])
    assert all(any(text in call for text in held_out) for call in asked[before:]) and len(asked) == before + 60 * 2
    first = draft.found.tested[0]
    assert first.figures.text == PLANTED and first.figures.right == 60 and first.figures.wrong == 0
    assert [each.figures.text for each in draft.found.tested if each.figures.standing == "explains"] == [PLANTED]
    assert draft.found.whole.right == 60 and draft.found.whole.accuracy.low is not None
    assert draft.found.whole.accuracy.low > 0.9
    policy = load_policy(folder / "policy.md")
    assert [clause.text for clause in policy.clauses] == [PLANTED]
    assert "right on 60 of 60 pairs" in policy.clauses[0].notes[0]
    suite = load_suite(folder / "scenarios.yaml", policy)
    assert len(suite.scenarios) == 24 and all("unreviewed" in scenario.tags for scenario in suite.scenarios)
    assert read_records(folder / "principles.jsonl", Weighed) == list(draft.found.tested)
    assert main(["check", str(folder)]) == 0


@pytest.mark.model
def test_calls_are_planned_bounded_and_go_on_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = written(tmp_path / "pairs.jsonl", rows(40)), tmp_path / "p"
    arguments = ["import", "preferences", str(source), "--to", str(folder), "--judge", "openai/scripted"]
    with serving(monkeypatch, honest) as server:
        assert main([*arguments, "--dry-run"]) == 0
        # 20 pairs to propose from, 40 principles in 4 calls and both orders; 20 held out, 20 principles in 2 calls.
        assert "at most 260 calls (20 to propose principles, 160 to test them, 80" in capsys.readouterr().out
        assert not folder.exists() and not server.requests
        assert main([*arguments, "--budget-calls", "30"]) == 1
        assert "the budget does not reach" in capsys.readouterr().err
        assert len(server.requests) == 30 and not (folder / "policy.md").exists()
        assert main(arguments) == 0
        # 13 rules in two calls and both orders; one is kept. What was paid for before is not paid for again.
        assert len(server.requests) == 20 + 20 * 2 * 2 + 20 * 2
        assert "110 calls were made now" in capsys.readouterr().out
        assert main([*arguments, "--dry-run"]) == 2 and "there is a policy already" in capsys.readouterr().err


@pytest.mark.model
def test_nonsense_is_counted_and_never_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "pairs.jsonl", rows(30))
    nonsense = ["", "{", "\x1b[2J \ud83d", '{"1": {"2": "A"}}', "[[ ## 1 ## ]]", '[["x"], 7, null]', "<b>no</b>"]

    def babble(messages: Messages) -> str:
        asked = messages[-1]["content"]
        draw = random.Random(asked)
        if draw.random() < 0.1:
            raise Fault(400)
        if "preferred:" in asked and draw.random() < 0.3:
            return json.dumps(["The response should <script>alert(1)</script> \x1b[2J be | kind."])
        return draw.choice(nonsense)

    with serving(monkeypatch, babble):
        arguments = ["import", "preferences", str(source), "--to", str(tmp_path / "p"), "--judge", "openai/scripted"]
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert "none of" in error and "nothing was written" in error and "\x1b" not in error
        found = find(read_data(source, 300), INVERTING, tmp_path / "p")
    assert not (tmp_path / "p" / "policy.md").exists()
    assert found.kept == 0 and found.whole.none == 15 and sum(found.refused.values()) > 0
    assert all(each.figures.undecided == 15 for each in found.tested)


@pytest.mark.model
def test_a_model_that_answers_nothing_ends_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(messages: Messages) -> str:
        raise Fault(400)

    source = written(tmp_path / "pairs.jsonl", rows(12))
    with serving(monkeypatch, refuse):
        arguments = ["import", "preferences", str(source), "--to", str(tmp_path / "p"), "--judge", "openai/scripted"]
        assert main(arguments) == 1
    assert "ratify: the model 'openai/scripted' answered none of 6 calls (BadRequestError)" in capsys.readouterr().err


@pytest.mark.model
def test_own_pairs_are_held_against_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, folder = tmp_path / ".ratify" / "runs" / "1" / "preferences", tmp_path / "p"
    own = Provenance(scenario_id="s", clause_ids=(), policy="", model="", method="revise", seed=0)
    asked = [(row, Message(role="user", content=str(row["prompt"]))) for row in rows(60)]
    chats = [
        PreferencePair(
            prompt=(prompt,),
            chosen=(Message(role="assistant", content=str(row["chosen"])),),
            rejected=(Message(role="assistant", content=str(row["rejected"])),),
            provenance=own,
        )
        for row, prompt in asked
    ]
    write_rows(chats, shards / "shard-00000.parquet")
    folder.mkdir()
    text = (
        f"# P\n\n## Clauses\n\n- [rain] The response should mention rain.\n- [ask] {PLANTED}\n- [law] Cite the law.\n"
    )
    (folder / "policy.md").write_text(text, encoding="utf-8")
    with serving(monkeypatch, honest):
        data, found = hold_against(folder, shards, INVERTING)
        arguments = ["import", "preferences", str(shards), "--against", str(folder), "--judge", "openai/scripted"]
        assert main([*arguments, "--markdown", str(tmp_path / "found.md")]) == 0
    assert len(data.develop) + len(data.held_out) == 60
    assert [(each.clause_id, each.figures.standing) for each in found.taught] == [
        ("rain", "not shown"),
        ("ask", "explains"),
        ("law", "not shown"),
    ]
    assert found.taught[1].figures.right == 60
    assert [(each.text, each.clause_id, each.same, each.both) for each in found.matched] == [(PLANTED, "ask", 60, 60)]
    out = capsys.readouterr().out
    assert "not shown to be taught: rain, law (it bears on no pair)" in out
    assert "| ask | 60 | 0 |" in (tmp_path / "found.md").read_text(encoding="utf-8")
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["policy.md"]
