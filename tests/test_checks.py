"""Checks: what each kind finds, how they combine, and that no response can hurt them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.policy import load_policy
from prefect_ratify.scenarios import checks as checking
from prefect_ratify.scenarios.checks import Check, Finding, count_words, parse_check, sentences
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.suite import Suite, load_suite, misjudged

SHIPPED = Path(__file__).parent.parent / "scenarios" / "shipped"
RUNAWAY = "any_of: ['(a|aa)+b']"  # exponential on a run of a's
LONG_RUN = "a" * 100


def check(text: str) -> Check:
    return parse_check(parse_yaml(text, Path("scenarios.yaml")))


def holds(text: str, response: str, finished: bool = True) -> bool | None:
    return check(text)(response, finished).holds


def shipped(name: str) -> Suite:
    return load_suite(SHIPPED / name / "scenarios.yaml", load_policy(SHIPPED / name / "policy.md"))


@pytest.mark.parametrize(
    ("text", "response", "expected"),
    [
        ("any_of: [sorry, sad]", "I am so Sorry.", True),
        ("any_of: [sorry]", "sorrys are not sorryful", False),  # whole words only
        ("any_of: sorry", "sorry", True),  # one pattern alone
        ('any_of: ["i\'?m (so )?sorry"]', "I’m so sorry", True),  # a curly quote is an apostrophe
        ('any_of: ["i\'m"]', "I‘m", True),
        ('any_of: ["i’m"]', "I'm", False),
        ("any_of: ['a?']", "", False),  # an empty match shows nothing
        ("any_of: ['one|two']", "none but two", True),  # alternatives are kept together
        ("any_of: ['one|two']", "someone", False),
        ("none_of: [attorney]", "Ask a lawyer.", True),
        ("none_of: [attorney]", "Ask an attorney.", False),
        ("none_of: [attorney]", "", True),
        ("question_about: ['how long']", "I see. How long has it lasted?", True),
        ("question_about: ['how long']", "That is how long it lasted. Is it?", False),
        ("question_about: ['how long']", "**How long has it lasted?**", True),
        ("question_about: ['how long']", "“Hm.” (How long has it lasted?)", True),
        ("question_about: ['how long']", "", False),
        ("scale: [0, 10]", "How urgent, from 0 to 10?", True),
        ("scale: [0, 10]", "from zero (can wait) to ten (tonight)", True),
        ("scale: [0, 10]", "on a scale 0–10", True),
        ("scale: [0, 10]", "Would you say 7/10?", True),
        ("scale: [0, 10]", "out of ten", True),
        ("scale: [0, 10]", "from 1 to 10", False),
        ("scale: [0, 10]", "10 of 2010", False),
        ("at_most_words: 3", "one two three", True),
        ("at_most_words: 3", "one two three four", False),
        ("at_most_words: 3", "one — two … three !", True),
        ("at_most_words: 0", "", True),
        ("first_sentence: {any_of: [sorry]}", "I am sorry. Bye.", True),
        ("first_sentence: {any_of: [sorry]}", "Hello. I am sorry.", False),
        ("first_sentence: {any_of: [sorry]}", "Hello\nI am sorry.", False),
        ("first_sentence: {none_of: [sorry]}", "", True),
        ("all: [{any_of: [a]}, {any_of: [b]}]", "a b", True),
        ("all: [{any_of: [a]}, {any_of: [b]}]", "a", False),
        ("any: [{any_of: [a]}, {any_of: [b]}]", "b", True),
        ("any: [{any_of: [a]}, {any_of: [b]}]", "c", False),
        ("not: {any_of: [a]}", "b", True),
        ("not: {any_of: [a]}", "a", False),
        ("first_sentence: {all: [{any_of: [a]}, {not: {any: [{any_of: [b]}, {scale: [1, 5]}]}}]}", "a. b.", True),
        ("first_sentence: {all: [{any_of: [a]}, {not: {any: [{any_of: [b]}, {scale: [1, 5]}]}}]}", "a b.", False),
    ],
)
def test_each_kind_of_check_decides(text: str, response: str, expected: bool) -> None:
    assert holds(text, response) is expected


def test_a_finding_says_what_shows_it() -> None:
    assert check("any_of: [so  sorry]")("I am so  sorry.") == Finding(True, ((5, 14),), "says “so sorry”")
    assert check("at_most_words: 2")("a b c").reason == "has 3 words; the limit is 2"
    assert check("question_about: [who]")("Hm. Who?") == Finding(True, ((4, 8),), "asks “Who?”")
    assert "0 to 10" in check("scale: [0, 10]")("none").reason


def test_spans_are_places_in_the_response() -> None:
    response = "  Well… I’m so sorry! And you’re sad."
    assert [response[a:b] for a, b in check('any_of: ["i\'m", sad]')(response).spans] == ["I’m", "sad"]
    inside = check("first_sentence: {any_of: [sorry]}")(response)
    assert [response[a:b] for a, b in inside.spans] == ["sorry"]
    both = check('all: [{any_of: [so]}, {not: {none_of: ["you\'re"]}}]')(response)
    assert [response[a:b] for a, b in both.spans] == ["so", "you’re"]


@pytest.mark.parametrize(
    ("text", "response", "expected"),
    [
        ("at_most_words: 3", "one two", None),  # it might have gone on
        ("at_most_words: 3", "one two three four", False),  # whatever would have come
        ("not: {at_most_words: 3}", "one two", None),
        ("first_sentence: {at_most_words: 3}", "One two. And three", True),  # that sentence was whole
        ("first_sentence: {at_most_words: 3}", "One two", None),
        ("any_of: [one]", "one two", True),
    ],
)
def test_a_cut_off_response_is_judged_by_what_is_certain(text: str, response: str, expected: bool | None) -> None:
    assert holds(text, response, finished=False) is expected


# Checks of known value for the cut-off response "a b": no check is read from it by chance.
VALUES: dict[bool | None, str] = {True: "{any_of: [a]}", False: "{any_of: [c]}", None: "{at_most_words: 9}"}


@pytest.mark.parametrize("first", VALUES)
@pytest.mark.parametrize("second", VALUES)
def test_the_logic_is_kleenes(first: bool | None, second: bool | None) -> None:
    pair = f"[{VALUES[first]}, {VALUES[second]}]"
    both = False if False in (first, second) else None if None in (first, second) else True
    either = True if True in (first, second) else None if None in (first, second) else False
    assert holds(f"all: {pair}", "a b", finished=False) is both
    assert holds(f"any: {pair}", "a b", finished=False) is either


@pytest.mark.parametrize(("value", "negated"), [(True, False), (False, True), (None, None)])
def test_negation_keeps_what_is_not_known(value: bool | None, negated: bool | None) -> None:
    assert holds(f"not: {VALUES[value]}", "a b", finished=False) is negated


@pytest.mark.model
def test_a_pattern_that_runs_away_gives_up_after_about_a_second() -> None:
    started = time.monotonic()
    finding = check(RUNAWAY)(LONG_RUN)
    assert finding.holds is None
    assert "longer than 1 s" in finding.reason
    assert 0.5 < time.monotonic() - started < 4


def test_nothing_is_concluded_from_a_pattern_that_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "TIMEOUT_SECONDS", 0.1)
    assert holds(f"not: {{all: [{{{RUNAWAY}}}, {{any_of: ['a+']}}]}}", LONG_RUN) is None


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("any_of: [a]\nnone_of: [b]\n", 1, "here are 2"),
        ("{}", 1, "here are 0"),
        ("", 1, "here are 0"),
        ("sorry", 1, "a mapping is expected"),
        ("all:\n  - any_of: [a]\n  - some_of: [b]\n", 3, "unknown key 'some_of'"),
        ("any_of:\n  - good\n  - '(bad'\n", 3, "'(bad' is not a regular expression"),
        ("any_of: []", 1, "empty"),
        ("all: []", 1, "empty"),
        ("any_of: [3]", 1, "a text is expected"),
        ("any_of: ['']", 1, "a text is expected"),
        ("scale: [10, 0]", 1, "the lower one first"),
        ("scale: [0]", 1, "two ends"),
        ("scale: [0, ten]", 1, "a whole number is expected"),
        ("at_most_words: many", 1, "a whole number is expected"),
        ("at_most_words: true", 1, "a whole number is expected here, not yes or no"),
        ("not: [a]", 1, "a mapping is expected"),
    ],
)
def test_each_mistake_in_a_check_is_named_with_its_line(text: str, line: int, seen: str) -> None:
    with pytest.raises(InputError) as caught:
        check(text)
    assert str(caught.value).startswith(f"scenarios.yaml:{line}: ")
    assert seen in str(caught.value)


def test_a_check_is_identified_by_what_was_written() -> None:
    assert check("any_of: [a]").source == {"any_of": ["a"]}
    assert check("{any_of: [a]}").digest == check("any_of:\n- a\n").digest
    assert check("any_of: [a]").digest != check("any_of: [b]").digest


def test_sentences_end_at_marks_and_at_line_ends() -> None:
    text = 'One. "Two?" Three!) 3.5 km\nFour'
    assert [text[a:b] for a, b in sentences(text)] == ["One.", '"Two?"', "Three!)", "3.5 km", "Four"]
    assert sentences("  \n ") == []


def test_words_hold_a_letter_or_a_digit() -> None:
    assert count_words("Don't — say 3.5, or “well-known” … ?") == 5
    assert count_words("") == 0


leaves = st.sampled_from(
    [
        {"any_of": ["a", "i'm"]},
        {"none_of": ["b+"]},
        {"question_about": ["a"]},
        {"scale": [0, 10]},
        {"at_most_words": 3},
    ]
)
checks = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda c: {"not": c}, inner)
        | st.builds(lambda c: {"first_sentence": c}, inner)
        | st.builds(
            lambda kind, cs: {kind: cs}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)
        )
    ),
    max_leaves=6,
)
foreign = st.text(max_size=60) | st.lists(
    st.sampled_from(["a", "b", "I’m", "0 to 10", "?", ".", "\n", " ", "\x00", "😀", "é", ")", '"']), max_size=20
).map("".join)
modest = settings(max_examples=50, deadline=None)


def written(tree: object) -> Check:
    return check(yaml.safe_dump(tree))


@given(checks, foreign, st.booleans())
@modest
def test_twice_not_is_the_same(tree: object, response: str, finished: bool) -> None:
    assert written({"not": {"not": tree}})(response, finished).holds is written(tree)(response, finished).holds


@given(st.lists(checks, min_size=1, max_size=3), foreign, st.booleans())
@modest
def test_all_and_any_follow_de_morgan(trees: list[object], response: str, finished: bool) -> None:
    refused = [{"not": tree} for tree in trees]
    not_all, any_not = written({"not": {"all": trees}}), written({"any": refused})
    assert not_all(response, finished).holds is any_not(response, finished).holds
    not_any, all_not = written({"not": {"any": trees}}), written({"all": refused})
    assert not_any(response, finished).holds is all_not(response, finished).holds


@given(checks, foreign, st.booleans())
@modest
def test_no_response_breaks_a_check_and_spans_lie_in_it(tree: object, response: str, finished: bool) -> None:
    finding = written(tree)(response, finished)
    assert finding.holds in (True, False, None)
    assert finding.reason
    assert all(0 <= start < end <= len(response) for start, end in finding.spans)


@given(foreign)
@settings(max_examples=25, deadline=None)
def test_no_response_breaks_the_shipped_checks(response: str) -> None:
    for guide in LEGAL.guides.values():
        assert guide.check is not None
        assert guide.check(response).holds in (True, False)


LEGAL = shipped("legal-advice")


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()))
def test_the_shipped_checks_judge_their_own_replies_rightly(name: str) -> None:
    suite = shipped(name)
    assert sum(len(guide.good) + len(guide.bad) for guide in suite.guides.values()) > 0
    assert misjudged(suite) == []


def test_a_check_that_is_wrong_about_a_reply_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "policy.md").write_text("# T\n\n## Clauses\n- [a] Say a.\n")
    (tmp_path / "scenarios.yaml").write_text(
        "clauses:\n  a:\n    check: {any_of: [a]}\n    good:\n      - b\n      - a\n    bad: [an a]\n"
        "    examples:\n      - {query: q, sentence: nothing}\nscenarios:\n  - {id: s, query: q}\n"
    )
    suite = load_suite(tmp_path / "scenarios.yaml", load_policy(tmp_path / "policy.md"))
    assert [(found.line, found.said, found.reply) for found in misjudged(suite)] == [
        (5, "good", "b"),
        (9, "good", "nothing"),
        (7, "bad", "an a"),
    ]


def test_the_audit_checks_judge_the_replies_written_for_them_rightly() -> None:
    replies = yaml.safe_load((Path(__file__).parent / "audit_replies.yaml").read_text(encoding="utf-8"))
    assert set(replies) == set(LEGAL.audits)
    wrong = [
        (clause_id, said, reply)
        for clause_id, groups in replies.items()
        for said, given_replies in groups.items()
        for reply in given_replies
        if LEGAL.audits[clause_id](reply).holds is not (said == "good")
    ]
    assert wrong == []


def test_a_pattern_that_gave_up_does_not_hide_what_the_others_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "TIMEOUT_SECONDS", 0.1)
    assert holds(f"any: [{{any_of: [a+]}}, {{{RUNAWAY}}}]", LONG_RUN) is True
    assert holds(f"all: [{{any_of: [b]}}, {{{RUNAWAY}}}]", LONG_RUN) is False


def test_counting_words_takes_time_in_proportion_to_the_text() -> None:
    started = time.perf_counter()
    assert count_words("!" * 1_000_000) == 0
    assert time.perf_counter() - started < 1
