"""Suites: what is read, what every mistake is called and where, and how scenarios are split."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.policy import load_policy, parse_policy
from prefect_ratify.records import Message, Policy, WorkedExample
from prefect_ratify.scenarios.suite import ClauseGuide, Suite, load_suite

SHIPPED = Path(__file__).parent.parent / "scenarios" / "shipped"
POLICY = parse_policy("# T\n\n## Clauses\n- [a] Say a.\n- [b] Say b.\n- [c] Say c.\n")


def suite_of(folder: Path, text: str, policy: Policy = POLICY, audit: str = "") -> Suite:
    (folder / "scenarios.yaml").write_text(text, encoding="utf-8")
    if audit:
        (folder / "audit.yaml").write_text(audit, encoding="utf-8")
    return load_suite(folder / "scenarios.yaml", policy)


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        suite_of(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    return message


FULL = """\
clauses:
  a:
    check: {any_of: [a]}
    examples:
      - {query: "q", sentence: "s"}
    opening: "Well"
    good: ["a"]
    bad:
      - "b"
scenarios:
  - id: one
    query: " first? "
    clauses: [c, a]
    tags: [x, y]
    split: held_out
    source: a friend
    expect: {none_of: [z]}
  - {id: two, query: "second?", clauses: b, tags: x, split: develop}
  - id: three
    messages:
      - {role: user, content: "hello"}
      - {role: assistant, content: "yes?"}
      - {role: user, content: "third?"}
    split: develop
unrelated:
  - {id: pasta, query: "how long?", split: held_out}
"""


def test_a_suite_is_read(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, FULL, audit="a: {any_of: [aa]}\n")
    one, two, three = suite.scenarios
    assert (one.id, one.query, one.clause_ids, one.tags, one.split) == (
        "one",
        "first?",
        ("a", "c"),
        ("x", "y"),
        "held_out",
    )
    assert one.source == "a friend"
    assert suite.expectations["one"]("z").holds is False
    assert (two.clause_ids, two.tags) == (("b",), ("x",))
    assert three.clause_ids == ("a", "b", "c")  # all, where none are named
    assert three.messages[1] == Message(role="assistant", content="yes?")
    assert three.query == "third?"
    assert [(s.id, s.clause_ids) for s in suite.unrelated] == [("pasta", ())]
    assert suite.split("develop") == (two, three)
    assert suite.split("held_out") == (one,)
    assert suite.unrelated_split("develop") == ()
    assert suite.unrelated_split("held_out") == suite.unrelated
    guide = suite.guide("a")
    assert guide.check is not None and guide.check("a").holds
    assert guide.examples == (WorkedExample(query="q", sentence="s"),)
    assert (guide.opening, guide.good, guide.bad) == ("Well", ("a",), ("b",))
    assert guide.lines == {"a": 7, "b": 9, "s": 5}
    assert suite.guide("b") == ClauseGuide()
    assert suite.audits["a"]("aa").holds


def test_numbers_may_not_stand_for_texts_but_quoted_ones_may(tmp_path: Path) -> None:
    assert suite_of(tmp_path, 'scenarios:\n  - {id: "1", query: "2"}\n').scenarios[0].id == "1"


ONE = "scenarios:\n  - {id: one, query: first}\n"


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        # YAML itself
        ("scenarios:\n  - {id: one, query: first\n", 3, "not valid YAML"),
        ("scenarios:\n\t- {id: one}\n", 2, "not valid YAML"),
        ("scenarios:\n  - {id: one, query: *nowhere}\n", 2, "not valid YAML"),
        ("scenarios:\n  - id: !!python/name:os.system\n", 2, "cannot be read"),
        ("", 1, "there is no scenario"),
        ("# nothing but this\n", 1, "there is no scenario"),
        ("- {id: one, query: first}\n", 1, "a mapping is expected here, not a list"),
        ("words\n", 1, "a mapping is expected here, not a text"),
        ("scenarios:\n", 1, "there is no scenario"),
        ("scenarios: []\n", 1, "there is no scenario"),
        ("scenarios:\n  id: one\n", 1, "a list is expected here, not a mapping"),
        # keys
        ("scenarois: []\n", 1, "unknown key 'scenarois'"),
        (ONE + "extra: 1\n", 3, "unknown key 'extra'"),
        ("scenarios:\n  - id: one\n    qeury: first\n", 3, "unknown key 'qeury'"),
        (
            "scenarios:\n  - id: one\n    query: first\n    id: two\n",
            4,
            "'id' stands here a second time (first in line 2)",
        ),
        (ONE + "scenarios: []\n", 3, "'scenarios' stands here a second time (first in line 1)"),
        ("clauses:\n  a:\n    chekc: {any_of: [a]}\n" + ONE, 3, "unknown key 'chekc'"),
        # clause ids
        ("clauses:\n  z: {opening: Well}\n" + ONE, 2, "the policy has no clause 'z'; its clauses are: a, b, c"),
        ("scenarios:\n  - id: one\n    query: first\n    clauses: [a, z]\n", 4, "the policy has no clause 'z'"),
        (ONE + "unrelated:\n  - id: two\n    query: q\n    clauses: [a]\n", 6, "touches no clause"),
        # ids and texts
        (ONE + "  - {id: one, query: second}\n", 3, "'one' stands here a second time (first in line 2)"),
        (ONE + "unrelated:\n  - {id: one, query: second}\n", 4, "'one' stands here a second time (first in line 2)"),
        (
            "scenarios:\n  - {id: one, query: Same Text, split: develop}\n"
            "  - {id: two, query: 'same  text', split: held_out}\n",
            3,
            "the scenario 'two' is in both splits (the same text is develop in line 2)",
        ),
        (
            "scenarios:\n  - {id: one, query: same, split: develop}\n  - {id: two, query: same, split: develop}\n",
            3,
            "the scenario 'two' has the text of the one in line 2",
        ),
        ("scenarios:\n  - {query: first}\n", 2, "a scenario has no id"),
        ("scenarios:\n  - {id: 'a b', query: first}\n", 2, "'a b' is not a plain word"),
        ("scenarios:\n  - {id: 7, query: first}\n", 2, "a text is expected here, not 7"),
        ("scenarios:\n  - {id: yes, query: first}\n", 2, "a text is expected here, not yes or no"),
        ("scenarios:\n  - first\n", 2, "a mapping is expected here, not a text"),
        # messages
        ("scenarios:\n  - {id: one}\n", 2, "either a query or messages"),
        ("scenarios:\n  - {id: one, query: q, messages: []}\n", 2, "either a query or messages"),
        ("scenarios:\n  - {id: one, query: ' '}\n", 2, "a text is expected"),
        ("scenarios:\n  - {id: one, query: }\n", 2, "a text is expected here, not nothing"),
        ("scenarios:\n  - {id: one, messages: []}\n", 2, "the last message must be the user's"),
        (
            "scenarios:\n  - id: one\n    messages:\n      - {role: assistant, content: hello}\n",
            2,
            "the last message must be the user's",
        ),
        ("scenarios:\n  - id: one\n    messages:\n      - {role: system, content: q}\n", 4, "'system' is not one"),
        ("scenarios:\n  - id: one\n    messages:\n      - {role: user}\n", 4, "a role and a content"),
        # the rest
        ("scenarios:\n  - id: one\n    query: q\n    split: test\n", 4, "the split 'test' does not exist"),
        ("scenarios:\n  - id: one\n    query: q\n    tags: [1]\n", 4, "a text is expected"),
        ("scenarios:\n  - id: one\n    query: q\n    expect: {any_of: ['(']}\n", 4, "is not a regular expression"),
        ("clauses:\n  a:\n    check:\n      any_of:\n        - '[a'\n" + ONE, 5, "'[a' is not a regular expression"),
        ("clauses:\n  a:\n    check: {any_of: [a], none_of: [b]}\n" + ONE, 3, "exactly one key, here are 2"),
        ("clauses:\n  a:\n    examples:\n      - {query: q}\n" + ONE, 4, "a worked example needs a sentence"),
        ("clauses:\n  a:\n    good:\n      - 3\n" + ONE, 4, "a text is expected"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, seen: str) -> None:
    message = error_of(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'scenarios.yaml'}:{line}: ")
    assert seen in message


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("clauses:\n  z:\n    check:\n      any_of: [a]\n" + ONE, 2, "no clause 'z'"),
        (ONE + "extra:\n  - 1\n", 3, "unknown key 'extra'"),
    ],
)
def test_a_wrong_key_over_a_block_is_named_with_the_keys_own_line(
    tmp_path: Path, text: str, line: int, seen: str
) -> None:
    message = error_of(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'scenarios.yaml'}:{line}: ")
    assert seen in message


def test_text_that_is_not_utf8_and_bytes_that_yaml_refuses_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_bytes(ONE.encode() + b"# \xff\n")
    with pytest.raises(InputError, match=r"scenarios\.yaml:3: the text is not UTF-8"):
        load_suite(path, POLICY)
    path.write_bytes(ONE.encode() + b"# \x00\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_suite(path, POLICY)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "nested more than 50 deep" in error_of(tmp_path, "scenarios: " + "[" * 60 + "]" * 60 + "\n")


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "nested more than 50 deep" in error_of(tmp_path, "scenarios: &a [*a]\n")


def test_with_a_list_of_problems_all_are_found_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "scenarios.yaml").write_text(
        "clauses:\n  a: {check: {any_of: ['(']}}\n  b: {opening: Well}\n"
        "scenarios:\n  - {id: one, query: first}\n  - {id: one, query: second}\n  - {id: two}\n"
        "unrelated:\n  - {id: three, query: third, clauses: [a]}\n  - {id: four, query: fourth}\n"
    )
    problems: list[InputError] = []
    suite = load_suite(tmp_path / "scenarios.yaml", POLICY, problems)
    assert [int(str(problem).split(":")[1]) for problem in problems] == [2, 6, 7, 9]
    assert ([s.id for s in suite.scenarios], [s.id for s in suite.unrelated]) == (["one"], ["four"])
    assert list(suite.guides) == ["b"]
    with pytest.raises(InputError, match=r"scenarios\.yaml:2: "):
        load_suite(tmp_path / "scenarios.yaml", POLICY)


def test_mistakes_in_the_audit_are_named_with_their_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audit\.yaml:2: the policy has no clause 'z'"):
        suite_of(tmp_path, ONE, audit="a: {any_of: [a]}\nz: {any_of: [a]}\n")
    with pytest.raises(InputError, match=r"audit\.yaml:1: a mapping is expected"):
        suite_of(tmp_path, ONE, audit="a: sorry\n")


def test_a_missing_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scenarios\.yaml: there is no such file"):
        load_suite(tmp_path / "scenarios.yaml", POLICY)


def splits(folder: Path, ids: list[str]) -> dict[str, str]:
    text = "scenarios:\n" + "".join(f'  - {{id: "{i}", query: "q {i}"}}\n' for i in ids)
    return {scenario.id: scenario.split for scenario in suite_of(folder, text).scenarios}


def test_the_split_of_an_id_stays_as_it_was_when_this_was_written(tmp_path: Path) -> None:
    held_out = ["custody", "deposit", "dog-bite", "will", "towing"]
    develop = ["eviction", "wages", "visa", "asylum"]
    assert splits(tmp_path, held_out + develop) == dict.fromkeys(held_out, "held_out") | dict.fromkeys(
        develop, "develop"
    )


def test_about_a_third_is_held_out(tmp_path: Path) -> None:
    drawn = list(splits(tmp_path, [f"scenario-{number}" for number in range(3000)]).values())
    assert 0.30 < drawn.count("held_out") / len(drawn) < 0.37  # four standard errors are 0.034


ids = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), min_size=2, max_size=8, unique=True)


@given(ids)
@settings(max_examples=30, deadline=None)
def test_adding_a_scenario_changes_no_others_split(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    folder = tmp_path_factory.mktemp("suite")
    few, many = splits(folder, ids[1:]), splits(folder, ids)
    assert {key: many[key] for key in few} == few


def test_the_shipped_legal_advice_suite_has_the_counts_that_it_promises() -> None:
    folder = SHIPPED / "legal-advice"
    policy = load_policy(folder / "policy.md")
    suite = load_suite(folder / "scenarios.yaml", policy)
    assert (len(suite.scenarios), len(suite.split("develop")), len(suite.split("held_out"))) == (84, 56, 28)
    assert (len(suite.unrelated_split("develop")), len(suite.unrelated_split("held_out"))) == (40, 26)
    assert set(suite.guides) == set(suite.audits) == set(policy.clause_ids)
    assert all(guide.check for guide in suite.guides.values())


def test_the_shipped_starter_is_a_suite_with_both_splits() -> None:
    folder = SHIPPED / "starter"
    suite = load_suite(folder / "scenarios.yaml", load_policy(folder / "policy.md"))
    assert suite.split("develop") and suite.split("held_out")
    assert suite.unrelated_split("develop") and suite.unrelated_split("held_out")


def test_the_digest_covers_what_a_run_depends_on_and_nothing_else(tmp_path: Path) -> None:
    before = suite_of(tmp_path, FULL).digest
    assert suite_of(tmp_path, FULL.replace('good: ["a"]', 'good: ["a", "an a"]')).digest == before
    assert suite_of(tmp_path, "# a remark\n" + FULL).digest == before
    for old, new in [
        ("first?", "First?"),
        ("any_of: [a]", "any_of: [b]"),
        ('opening: "Well"', 'opening: "Oh"'),
        ('sentence: "s"', 'sentence: "t"'),
        ("none_of: [z]", "none_of: [y]"),
        ("how long?", "how?"),
    ]:
        assert suite_of(tmp_path, FULL.replace(old, new)).digest != before


@pytest.mark.model
def test_ten_thousand_scenarios_load_within_ten_seconds(tmp_path: Path) -> None:
    lines = [f'  - {{id: s{n}, query: "Query {n}: my landlord wants more rent.", tags: [t]}}' for n in range(10_000)]
    started = time.monotonic()
    suite = suite_of(tmp_path, "scenarios:\n" + "\n".join(lines) + "\n")
    assert len(suite.scenarios) == 10_000
    assert time.monotonic() - started < 10


def test_aliases_cannot_blow_a_file_up(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "unknown key" in error_of(tmp_path, bomb)
