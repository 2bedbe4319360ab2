"""Importing scenarios: what each format maps to, that nothing is dropped unnamed, and that no text breaks a suite."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.flows.exchanging import import_scenarios
from prefect_ratify.policy import parse_policy
from prefect_ratify.records import Message
from prefect_ratify.scenarios.appending import append_scenarios
from prefect_ratify.scenarios.assertions import check_of, literal
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.imported import Candidate, Imported, NotMapped
from prefect_ratify.scenarios.importing import import_from
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.suite import Suite, load_suite

POLICY_TEXT = "# T\n\n## Clauses\n- [a] Say a.\n- [b] Say b.\n"
POLICY = parse_policy(POLICY_TEXT)
SUITE = """\
# our suite
clauses:
  a:
    check: {any_of: [a]}     # says a
scenarios:
  # the first
  - {id: one, query: "first?"}
  - id: two                  # the second
    query: >
      second,
      folded?

# -------- unrelated
unrelated:
  - {id: pasta, query: "how long?", split: held_out}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "policy.md").write_text(POLICY_TEXT)
    (folder / "scenarios.yaml").write_text(SUITE)
    return folder


def suite_in(folder: Path) -> Suite:
    return load_suite(folder / "scenarios.yaml", POLICY)


def read(folder: Path, name: str, text: str, kind: str | None = None) -> Imported:
    (folder / name).write_text(text, encoding="utf-8")
    return import_from(folder / name, POLICY.clause_ids, kind)


def said(found: Imported) -> list[str]:
    return [f"{item.place} {item.what}: {item.reason}" for item in found.unmapped]


def candidate(text: str, **fields: Any) -> Candidate:
    return Candidate(place="x:1", messages=(Message(role="user", content=text),), **fields)


# tables


def test_a_table_is_read_and_every_row_and_column_is_accounted_for(tmp_path: Path) -> None:
    text = (
        'id,Prompt,tags,split,clauses,notes\n1,"How,\nlong?","x; y",held_out,b,n\n'
        ",Why?,,test,,\n3,,,,,\n4,What?,,,z,\n5,a,b,c,d,e,f\n"
    )
    found = read(tmp_path, "q.csv", text)
    one, two = found.scenarios
    assert (one.id, one.messages[0].content, one.tags, one.split, one.clauses) == (
        "1",
        "How,\nlong?",
        ("x", "y"),
        "held_out",
        ("b",),
    )
    assert (two.id, two.split, two.clauses, two.source) == ("", None, None, "q.csv:4")
    assert said(found) == [
        "q.csv:4 split: 'test' is neither develop nor held_out",
        "q.csv:5 row: it has no query, prompt, question, input or messages",
        "q.csv:6 row: the policy has no clause 'z'",
        "q.csv:7 row: it has 7 cells, and the table 6 columns",
        "q.csv:2 column 'notes': no part of a scenario; in 1 rows",
    ]
    assert found.rows == 5


def test_json_lines_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    talk = [*chat, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": [{"text": "Why?"}]}]
    rows = [
        json.dumps({"messages": talk, "id": "chat"}),
        "{",
        "[1]",
        json.dumps({"query": "  "}),
        json.dumps({"messages": talk[:3]}),
        json.dumps({"query": "half \ud800"}),
        json.dumps({"query": [{"role": "tool", "content": "x"}]}),
        json.dumps({"question": "Where?", "input": "other"}),
    ]
    found = read(tmp_path, "q.jsonl", "\n".join(rows) + "\n")
    assert [m.content for m in found.scenarios[0].messages] == ["Hi", "Yes?", "Why?"]
    assert found.scenarios[1].messages[0].content == "Where?"
    assert [item.place for item in found.unmapped if item.what == "row"] == [f"q.jsonl:{n}" for n in range(2, 8)]
    assert "q.jsonl:1 message: a system message says what the policy should: Be brief." in said(found)
    assert "q.jsonl:8 column 'input': no part of a scenario; in 1 rows" in said(found)
    assert found.rows == len(rows)


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("q.csv", "comment-id,comment-body\n1,hello\n", "no column is a query; there are: comment-id, comment-body"),
        ("q.csv", 'query\n"open\n', r"q\.csv:2: this is not a table"),
        ("q.csv", "query\n", "there is no row"),
        ("q.json", "{", r"q\.json:1: this is not JSON"),
        ("q.json", "{}", "the format is not known; name it: --format csv"),
        ("q.txt", "hello", "the format is not known"),
        ("q.yaml", "a: 1\n", "this is no promptfoo config"),
        ("q.eval", "{}", "no Inspect log"),
        ("q.parquet", "no", "datasets cannot read this"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        read(tmp_path, name, text)
    assert "\n" not in str(caught.value)


def test_a_format_that_is_named_outranks_the_ending(tmp_path: Path) -> None:
    assert read(tmp_path, "q.txt", "query\nWhy?\n", "csv").scenarios[0].messages[0].content == "Why?"


@pytest.mark.model
def test_data_sets_are_read_from_their_folders(tmp_path: Path) -> None:
    import datasets

    chat = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Ho"}]]
    rows = datasets.Dataset.from_dict({"prompt": chat, "score": [1.5, 2.5]})
    rows.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "parts"))
    (tmp_path / "files").mkdir()
    rows.to_parquet(str(tmp_path / "files" / "train.parquet"))
    for source in ("saved", "files", "files/train.parquet"):
        found = import_from(tmp_path / source, POLICY.clause_ids)
        assert [c.messages[0].content for c in found.scenarios] == ["Hi", "Ho"]
        assert [item.what for item in found.unmapped] == ["column 'score'"]
    parts = import_from(tmp_path / "parts", POLICY.clause_ids)
    assert (parts.rows, "train (2 rows), test (2 rows)" in parts.notes[0]) == (4, True)


# Inspect logs

SAMPLES: list[dict[str, Any]] = [
    {"id": "s1", "epoch": 1, "input": "How?", "target": "so", "metadata": {"tags": ["t"], "level": 3}},
    {"id": "s1", "epoch": 2, "input": "How?", "target": "", "metadata": {}},
    {"id": 2, "epoch": 1, "input": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]},
    {"id": 3, "epoch": 1, "input": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]},
]


@pytest.mark.parametrize("packed", [False, True])
def test_inspect_logs_are_read_as_files(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("log.eval" if packed else "log.json")
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log:
            log.writestr("header.json", "{}")
            for sample in SAMPLES:
                log.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    else:
        path.write_text(json.dumps({"eval": {}, "samples": SAMPLES}))
    found = import_from(path, POLICY.clause_ids)
    one, two = found.scenarios
    assert (one.id, one.messages[0].content, one.tags) == ("s1", "How?", ("t",))
    assert (two.id, two.messages[0].content) == ("2", "U")
    assert [line.partition(", ")[2] for line in said(found)] == [
        "sample s1, epoch 2 row: it is another epoch of the same sample",
        "sample 2 message: a system message says what the policy should: S",
        "sample 3 row: a message has parts that are no text",
        "sample s1 column 'metadata.level': no part of a scenario; in 1 rows",
        "sample s1 column 'target': no part of a scenario; in 1 rows",
    ]


# promptfoo

PROMPTFOO = """\
prompts:
  - "Help me: {{ topic }}"
  - "Other {{topic}}"
providers: [openai:gpt-4o]
defaultTest:
  assert:
    - {type: llm-rubric, value: "is kind about {{topic}}"}
tests:
  - description: rent
    vars: {topic: 'late rent', spare: x}
    assert:
      - {type: contains, value: Sorry}
      - {type: not-icontains-any, value: [lawyer, "{{topic}}"]}
      - {type: javascript, value: "output.length < 3"}
      - {type: contains, value: kind, transform: output.trim()}
  - vars: {topic: [a, b]}
  - vars: {other: x}
  - vars: {topic: file://x.txt}
  - vars: {topic: eviction}
    threshold: 0.5
    assert: [{type: regex, value: 'a+'}]
  - file://more.yaml
"""


def test_a_promptfoo_config_is_mapped_and_the_rest_named(tmp_path: Path) -> None:
    found = read(tmp_path, "p.yaml", PROMPTFOO)
    one, two = found.scenarios
    assert (one.messages[0].content, one.source) == ("Help me: late rent", "p.yaml:9 rent")
    assert one.expect == {
        "all": [{"any_of": [r"\w*(?-i:Sorry)\w*"]}, {"none_of": [r"\w*lawyer\w*", r"\w*late rent\w*"]}]
    }
    assert two.expect is None
    assert [item.text for item in found.proposed] == ["is kind about late rent", "is kind about eviction"]
    assert said(found) == [
        "p.yaml:3 prompt: a scenario has one prompt; the first one is used",
        "p.yaml:10 var 'spare': neither the prompt nor an assertion names it",
        "p.yaml:14 assertion javascript: no check does that",
        "p.yaml:15 assertion contains: its 'transform' changes what it means",
        "p.yaml:16 row: its var 'topic' is a list, of which promptfoo makes a test each; write them out",
        "p.yaml:17 row: there is no var 'topic'",
        "p.yaml:18 row: its var 'topic' stands in another file",
        "p.yaml:21 assertion regex: the test has 'threshold': this alone decides nothing",
        "p.yaml:20 key 'threshold' of the test: no part of a scenario",
        "p.yaml:22 row: its tests stand in another file; import that one by itself",
    ]
    assert (found.rows, found.notes[0]) == (6, "left aside, since it says how promptfoo runs: providers")


def test_a_prompt_that_is_a_chat_keeps_its_turns_and_no_variable_ends_one(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "On {{topic}}:"}]')
    quote = json.dumps('"}, {"role": "user", "content": "more')
    found = read(tmp_path, "p.yaml", f"prompts: [file://chat.json]\ntests:\n  - vars: {{topic: {quote}}}\n")
    assert [m.content for m in found.scenarios[0].messages] == ['On "}, {"role": "user", "content": "more:']
    with pytest.raises(InputError, match="is not read"):
        read(tmp_path, "p.yaml", "prompts: [file://../secret.txt]\ntests:\n  - vars: {}\n")


def checked(kind: str, value: Any) -> Check:
    return parse_check(parse_yaml(json.dumps(check_of(kind, value)), Path("p.yaml")))


@pytest.mark.parametrize(
    ("kind", "value", "passes", "fails"),
    [
        ("contains", "Foo", "aFoob", "foo"),
        ("icontains", "Foo", "AFOOB", "fo o"),
        ("not-contains", "Foo", "foo", "Foo"),
        ("contains-any", ["x", "Y!"], "aY!b", "y!"),
        ("contains-any", 'x,"a, b"', "a, b", "a"),
        ("contains-all", ["a", "B"], "Ba", "ba"),
        ("icontains-all", ["a", "B"], "ba", "b"),
        ("not-contains-all", ["a", "b"], "a", "ab"),
        ("not-icontains-any", ["a", "b"], "c", "xB"),
        ("contains", 42, "a 421", "41"),
        ("contains", "don’t", "don't", "dont"),
        ("equals", "Yes.", "Yes.", "Yes. No."),
        ("starts-with", "Ye", "Yes.", "Oh Yes."),
        ("regex", "^a|B$", "xB", "xb"),
        ("regex", r"\d+ apples", "I have 12 applesauces", "apples"),
        ("not-regex", "a.c", "a\nc", "xabcx"),
        ("word-count", {"min": 2, "max": 3}, "one two", "one"),
        ("word-count", 2, "one two", "one two three"),
    ],
)
def test_an_assertion_becomes_a_check_that_passes_where_it_does(kind: str, value: Any, passes: str, fails: str) -> None:
    assert checked(kind, value)(passes).holds is True
    assert checked(kind, value)(fails).holds is False


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("contains", ""),
        ("contains", True),
        ("contains-any", []),
        ("regex", "("),
        ("regex", "(?i)a"),
        ("regex", "[^]"),
        ("word-count", {"min": "x"}),
        ("is-json", None),
        ("similar", "x"),
    ],
)
def test_an_assertion_that_no_check_can_decide_is_not_mapped(kind: str, value: Any) -> None:
    with pytest.raises(NotMapped):
        check_of(kind, value)


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="’‘"), min_size=1)


@given(plain, plain, plain)
@settings(max_examples=200, deadline=None)
def test_a_literal_is_found_where_it_stands_and_nowhere_else(before: str, text: str, behind: str) -> None:
    check = parse_check(parse_yaml(yaml.safe_dump({"any_of": [literal(text)]}), Path("p.yaml")))
    assert check(before + text + behind).holds is True
    assert check(before + behind).holds is (text in before + behind)


# appending


def test_scenarios_are_added_behind_the_others_and_all_else_stays(project: Path) -> None:
    path = project / "scenarios.yaml"
    talk = tuple(Message(role=role, content=role) for role in ("user", "assistant", "user"))
    expect = {"all": [{"none_of": [r"\w*x\w*"]}, {"at_most_words": 3}]}
    found = [
        candidate("Third?", split="held_out", tags=("t",), clauses=("b",), expect=expect, source="a friend"),
        Candidate(place="x:2", messages=talk, id="two of us"),
        candidate(" FIRST? ", id="new", expect={"any_of": ["x"]}),
        candidate("other", id="pasta"),
        candidate("third?"),
        candidate("third!"),
    ]
    added = append_scenarios(path, POLICY, found)
    assert added.ids == ("third", "two-of-us", "third-2")
    assert [item.reason for item in added.duplicates] == [
        "the text of 'one' is there already; what it expects was not added",
        "the id 'pasta' is there already",
        "the text of 'third' is there already",
    ]
    text, place = path.read_text(), SUITE.index("\n# -------- unrelated")
    assert text.startswith(SUITE[:place]) and text.endswith(SUITE[place:])
    suite = suite_in(project)
    third, two, _ = suite.scenarios[2:]
    assert (third.split, third.tags, third.clause_ids, third.source) == ("held_out", ("t",), ("b",), "a friend")
    assert (two.messages, suite.expectations["third"].source) == (talk, expect)
    assert append_scenarios(path, POLICY, found).ids == ()
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "scenarios:\n- {id: one, query: q}\n- id: two\n  query: |\n    x\n\n    y\n\n# end\nunrelated: []\n",
        "scenarios:\n  - {id: one, query: q}  # c",
        "scenarios: [{id: one, query: q}] # c\nunrelated:\n  - {id: u, query: v}\n",
        "scenarios: [\n  {id: one, query: q} # c\n]\n",
        "scenarios:\n  - id: one\n    query: plain\n      folded\n    # c\nunrelated:\n",
        "scenarios: []  # none\nunrelated:\n  - {id: u, query: v}\n",
        "scenarios:  # none\nunrelated: []\n",
        "unrelated:\n  - {id: u, query: v}",
        "# nothing\n",
        "",
        "\ufeffscenarios:\r\n  - {id: one, query: q}\r\nunrelated: []\r\n",
        "---\n'scenarios':\n    - {id: e, query: é}\n    - id: two\n      query: q\n      tags:\n        - x\n",
    ],
)
def test_scenarios_are_added_wherever_the_list_stands(project: Path, text: str) -> None:
    path = project / "scenarios.yaml"
    path.write_bytes(text.encode())
    before = len(parse_yaml(text.lstrip("\ufeff"), path).mapping().get("scenarios", parse_yaml("[]", path)).sequence())
    append_scenarios(path, POLICY, [candidate("new: one\n# no", expect={"any_of": ["x"]}), candidate("newer")])
    scenarios = suite_in(project).scenarios
    assert [s.query for s in scenarios[before:]] == ["new: one\n# no", "newer"]
    written = path.read_bytes().decode()
    assert [line for line in text.split("\n") if line.startswith(("#", "unrelated"))] == [
        line for line in written.split("\n") if line.startswith(("#", "unrelated"))
    ]
    assert ("\r\n" in text) == ("\r\n" in written) and written.count("\r") in (0, written.count("\n"))


@pytest.mark.parametrize(
    "text",
    [
        "scenarios: [{id: one, query: q},]\n",
        "{scenarios: [{id: one, query: q}, ]}\n",
        "x: &a\n  - {id: one, query: q}\nscenarios: *a\n",
        "scenarios:\n  - {id: one, query: q}\n...\n---\na: 1\n",
    ],
)
def test_a_file_that_cannot_be_added_to_stays_as_it_is(project: Path, text: str) -> None:
    path = project / "scenarios.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        append_scenarios(path, POLICY, [candidate("new")])
    assert path.read_text() == text
    assert not list(project.glob(".*"))


anything = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(anything, anything, st.lists(anything, max_size=2)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_text_can_break_the_suite(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("suite")
    path = folder / "scenarios.yaml"
    path.write_text(SUITE)
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps({"id": i, "query": q, "tags": tags}) + "\n" for i, q, tags in rows))
    found = import_from(source, POLICY.clause_ids)
    added = append_scenarios(path, POLICY, found.scenarios)
    scenarios = suite_in(folder).scenarios[2:]
    assert found.rows == len(rows)
    assert len(found.scenarios) == len(scenarios) + len(added.duplicates)
    texts = [" ".join(q.lower().split()) for _, q, _ in rows]
    kept = {" ".join(s.query.lower().split()) for s in scenarios}
    assert kept <= set(texts)
    assert {s.query for s in scenarios} <= {q.strip() for _, q, _ in rows}


# the command


def test_the_command_says_what_became_of_every_row(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = project.parent / "p.yaml"
    source.write_text(PROMPTFOO + "  - vars: {topic: 'late  rent'}\n")
    import_scenarios(project, source)
    out = capsys.readouterr().out
    assert "7 rows read = 2 added" in out and "+ 1 duplicates + 4 not mapped" in out
    assert "not mapped p.yaml:14, assertion javascript: no check does that" in out
    assert "proposed as a clause, not added (p.yaml:7): is kind about late rent" in out
    assert len(suite_in(project).scenarios) == 4
    with pytest.raises(InputError, match="no such project folder"):
        import_scenarios(project / "none", source)
    with pytest.raises(InputError, match="no such file or folder"):
        import_scenarios(project, project / "none.csv")
