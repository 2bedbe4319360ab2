"""Policies: what people write is read as meant, and every mistake is named with its place."""

from __future__ import annotations

import string
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.policy import load_policy, made_id, parse_policy, polarity_of, render_policy
from prefect_ratify.records import Clause, Definition, Policy, WorkedExample

FULL = """\
# Legal advice

Authors: Ada, Ben Okri

People bring trouble to a chat
assistant, often frightened.

It does not practise law.

## Definitions

- **Attorney**: a person licensed
  to practise law.
- Aid: free help

## Clauses

- [empathy] Open with one sentence of
  empathy.
  - Ada: people stop reading
    when the first line is about statutes.
  - Example: "My rent is late." → "I'm sorry that the rent is late."
  - example: "He said \\"no\\"." -> "I'm sorry he said no."
- Never claim to be an attorney.
- [short] You should stay short.
"""


def policy_of(*clauses: str) -> Policy:
    return parse_policy("# T\n\n## Clauses\n\n" + "\n".join(clauses) + "\n")


def error_of(text: str, path: Path | str = "policy.md") -> str:
    with pytest.raises(InputError) as caught:
        parse_policy(text, path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_title_authors_and_context_are_read() -> None:
    policy = parse_policy(FULL)
    assert policy.title == "Legal advice"
    assert policy.authors == ("Ada", "Ben Okri")
    assert policy.context == (
        "People bring trouble to a chat\nassistant, often frightened.\n\nIt does not practise law."
    )
    assert policy.parent == ""


def test_definitions_are_read_with_and_without_bold() -> None:
    assert parse_policy(FULL).definitions == (
        Definition(term="Attorney", text="a person licensed to practise law."),
        Definition(term="Aid", text="free help"),
    )


def test_clauses_are_read_with_ids_notes_and_examples() -> None:
    policy = parse_policy(FULL)
    assert policy.clause_ids == ("empathy", made_id("Never claim to be an attorney."), "short")
    empathy = policy.clause("empathy")
    assert empathy.text == "Open with one sentence of empathy."
    assert empathy.notes == ("Ada: people stop reading when the first line is about statutes.",)
    assert empathy.examples == (
        WorkedExample(query="My rent is late.", sentence="I'm sorry that the rent is late."),
        WorkedExample(query='He said \\"no\\".', sentence="I'm sorry he said no."),
    )
    assert [clause.polarity for clause in policy.clauses] == ["must", "must not", "should"]


def test_a_clause_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        parse_policy(FULL).clause("nothing")


@pytest.mark.parametrize("mark", ["-", "*", "+", "1.", "12)"])
def test_every_kind_of_list_makes_clauses(mark: str) -> None:
    policy = policy_of(f"{mark} [a] Say a.", f"{mark} [b] Say b.")
    assert [(clause.id, clause.text) for clause in policy.clauses] == [("a", "Say a."), ("b", "Say b.")]


def test_a_note_may_wrap_and_an_example_too() -> None:
    policy = policy_of(
        "- Say a.", "  * a note that", "    goes on", '  1. Example: "a query', '     here" → "a sentence."'
    )
    assert policy.clauses[0].notes == ("a note that goes on",)
    assert policy.clauses[0].examples == (WorkedExample(query="a query here", sentence="a sentence."),)


def test_blank_lines_between_clauses_and_notes_do_not_matter() -> None:
    loose = policy_of("- [a] Say a.", "", "  - note", "", "", "- [b] Say b.", "")
    assert loose == policy_of("- [a] Say a.", "  - note", "- [b] Say b.")


def test_a_wrapped_line_need_not_be_indented() -> None:
    assert policy_of("- [a] Say a", "and b.").clauses[0].text == "Say a and b."


@pytest.mark.parametrize(
    ("text", "polarity"),
    [
        ("Open with empathy.", "must"),
        ("Do not name lawyers.", "must not"),
        ("Never guess.", "must not"),
        ("The model may not guess.", "must not"),
        ("Avoid jargon.", "must not"),
        ("Answers should be short.", "should"),
        ("Prefer plain words.", "should"),
        ("Give notes.", "must"),
        ("**Don’t** give legal advice.", "must not"),
        ("You must never lie.", "must not"),
        ("You should not promise an outcome.", "must not"),
        ("Answers should never be long.", "must not"),
        ("The model shouldn’t guess.", "must not"),
        ("You never lie.", "must not"),
        ("If you are asked, never guess.", "must not"),
        ("Refuse to give legal advice.", "must not"),
        ("Under no circumstances may you guess, and you must not hint.", "must not"),
        ("Name a lawyer, and never claim to be one.", "must"),
        ("Name a lawyer and you should never claim to be one.", "should"),
        ("Say why they must never sign at once.", "must"),
        ("No matter what is asked, say sorry.", "must"),
        ("The assistant is not allowed to guess.", "must not"),
        ("It isn’t permitted to guess.", "must not"),
        ("It is forbidden to guess.", "must not"),
        ("The model is prohibited from guessing.", "must not"),
        ("Under no circumstances may the model guess.", "must not"),
        ("Say what is not allowed to be sold.", "must"),
        ("Be at no time rude.", "must"),
        ("Offers that are not permitted to minors must be named.", "must"),
    ],
)
def test_polarity_is_read_from_the_words(text: str, polarity: str) -> None:
    assert polarity_of(text) == polarity


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("", 1, "no title"),
        ("Some words.\n", 1, "no title"),
        ("## Clauses\n- Say a.\n", 1, "no title"),
        ("# T\n\nWords.\n", 1, "no clause"),
        ("# T\n\n## Clauses\n", 1, "no clause"),
        ("# T\n\n## Background\n\nWords.\n", 5, "'background'"),
        ("# T\n\n## Clauses\n- [a] Say a.\n\n- [a] Say b.\n", 6, "'a' stands here a second time"),
        ("# T\n\n## Clauses\n- Say a.\n- Say  a.\n", 5, "a second time"),
        ("# T\n\n## Clauses\n- [a] Say a.\n- [b]\n", 5, "[b] has no text"),
        ("# T\n\n## Clauses\n- [a/b] Say a.\n", 4, "'a/b'"),
        ("# T\n\n## Clauses\n- [-a] Say a.\n", 4, "'-a'"),
        ("# T\n\n## Clauses\nSay a.\n", 4, "not a clause"),
        ("# T\n\n## Clauses\n- [a] Say a.\n\nSay b.\n", 6, "not a clause"),
        ("# T\n\n## Definitions\n- no meaning\n\n## Clauses\n- Say a.\n", 4, "no term"),
    ],
)
def test_each_mistake_is_named_with_its_line(text: str, line: int, seen: str) -> None:
    message = error_of(text, Path("some/policy.md"))
    assert message.startswith(f"some/policy.md:{line}: ")
    assert seen in message


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    plain, windows = tmp_path / "plain.md", tmp_path / "windows.md"
    plain.write_text(FULL, encoding="utf-8")
    windows.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())
    assert load_policy(windows) == load_policy(plain)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.md"
    path.write_bytes("# Über\n".encode() + b"\n## Clauses\n- Be na\xefve.\n")
    with pytest.raises(InputError, match=r"policy\.md:4: the text is not UTF-8"):
        load_policy(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"policy\.md: there is no such file"):
        load_policy(tmp_path / "policy.md")
    with pytest.raises(InputError, match="cannot be read"):
        load_policy(tmp_path)


# What a line of the file can hold: printable words, one space between them, and no marks that
# Markdown or this format reads as something else.
LETTERS = string.ascii_letters + "äßéλж中0123456789"
word = st.text(LETTERS + "'’,.;!?()/&%", min_size=1, max_size=8).map(lambda w: f"w{w}")
line_of_text = st.lists(word, min_size=1, max_size=8).map(" ".join)
name = st.text(LETTERS, min_size=1, max_size=8)
clause_id = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
examples = st.builds(WorkedExample, query=line_of_text, sentence=line_of_text)


@st.composite
def clauses(draw: st.DrawFn) -> Clause:
    text = draw(line_of_text)
    return Clause(
        id=draw(clause_id),
        text=text,
        polarity=polarity_of(text),
        notes=tuple(draw(st.lists(line_of_text, max_size=2))),
        examples=tuple(draw(st.lists(examples, max_size=2))),
    )


policies = st.builds(
    Policy,
    title=line_of_text,
    clauses=st.lists(clauses(), min_size=1, max_size=5, unique_by=lambda c: c.id).map(tuple),
    context=st.lists(line_of_text, max_size=3).map("\n\n".join),
    definitions=st.lists(st.builds(Definition, term=name, text=line_of_text), max_size=3).map(tuple),
    authors=st.lists(name, max_size=3).map(tuple),
)


@given(policies)
@settings(max_examples=60, deadline=None)
def test_parsing_what_was_rendered_gives_the_same_policy(policy: Policy) -> None:
    assert parse_policy(render_policy(policy)) == policy


FRAGMENTS = [
    "# T",
    "## Clauses",
    "## Definitions",
    "- ",
    "- [a] ",
    "[",
    "]",
    "  ",
    "\n",
    "\n\n",
    '- Example: "',
    '" → "',
    "1. ",
    "**",
]


@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=12), max_size=25).map("".join))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_policy_or_one_line_of_error(text: str) -> None:
    try:
        assert parse_policy("# T\n\n## Clauses\n" + text).clauses
    except InputError as error:
        assert "\n" not in str(error)


def ids_of(texts: list[str]) -> dict[str, str]:
    return {clause.text: clause.id for clause in policy_of(*(f"- {text}" for text in texts)).clauses}


@given(st.lists(line_of_text, min_size=2, max_size=6, unique=True), st.randoms())
@settings(max_examples=50, deadline=None)
def test_made_ids_do_not_depend_on_the_other_clauses(texts: list[str], random: Random) -> None:
    before = ids_of(texts)
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert ids_of(shuffled) == before
    assert ids_of(texts[1:]) == {text: before[text] for text in texts[1:]}
    more = ids_of([*texts, "Something else altogether."])
    assert {text: more[text] for text in texts} == before


def test_made_ids_are_plain_words_that_recall_the_clause() -> None:
    assert made_id("Open with one sentence of empathy.").startswith("open-one-sentence-")
    assert made_id("Say  a\n b.") == made_id("Say a b.")
    assert made_id("Say a.") != made_id("Say b.")
