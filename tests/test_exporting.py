"""The exported Inspect task: its interpreter agrees with our checks, and it runs in the real Inspect AI.

Inspect's OpenAI client needs a newer `openai` than LiteLLM allows, so it is installed into an
environment of its own, which the benchmarks use as well.
"""

from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.flows.exchanging import export_inspect
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Message, Response, Scenario, Verdict
from prefect_ratify.scenarios.checks import parse_check
from prefect_ratify.scenarios.exporting import Part, inspect_task
from prefect_ratify.scenarios.importing import import_from
from prefect_ratify.scenarios.inspect_log import raw_samples, unpacked
from prefect_ratify.scenarios.judging import judge
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.suite import ClauseGuide, Suite, load_suite
from prefect_ratify.scenarios.yardstick import Yardstick, judge_expectations
from tests.calls_bench.measuring import NotInstalled, install_inspect_ai
from tests.model_server import Messages, model_server

ONE_CLAUSE = parse_policy("# T\n## Clauses\n- [a] A.\n")
HOSTILE = """quotes ' \" ''' \"\"\" \\ {{ 1/0 }} {% raw %} \x00 \u2028 # 💥\n)\nimport os"""
POLICY_TEXT = f"""\
# T {HOSTILE.split(chr(10))[0]}

## Clauses
- [sorry] Say sorry first.
- [ask] Ask how long it has lasted.
- [scale] Offer a scale.
- [short] Be brief.
- [slow] A pattern gives up.
- [kind] Be kind.
"""
SUITE_TEXT = """\
clauses:
  sorry: {check: {first_sentence: {all: [{any_of: ["i'm sorry"]}, {not: {any_of: [but]}}]}}}
  ask: {check: {question_about: ['how long']}}
  scale: {check: {any: [{scale: [0, 10]}, {none_of: ['\\w+']}]}}
  short: {check: {at_most_words: 12}}
  slow: {check: {none_of: ['(a|aa)+b']}}
scenarios:
  - {id: good, query: "good", split: held_out, expect: {any_of: [sorry]}}
  - {id: bad, query: "bad", split: held_out, expect: {any_of: [sorry]}}
  - {id: slow, query: "slow", split: held_out, clauses: [slow, short]}
  - {id: empty, query: "empty", split: held_out, clauses: [scale]}
  - id: talk
    messages: [{role: user, content: hi}, {role: assistant, content: yes?}, {role: user, content: HOSTILE}]
    split: held_out
  - {id: other, query: "other", split: develop}
"""
ANSWERS = {
    "good": "I’m sorry to hear that. How long has it lasted, from 0 to 10?",
    "bad": "Sorry, but no. " + "word " * 20,
    "slow": "a" * 60,
    "empty": "- - -",
    HOSTILE.strip(): "I'm sorry: " + HOSTILE,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "policy.md").write_text(POLICY_TEXT, encoding="utf-8")
    hostile = yaml.safe_dump(HOSTILE, default_style='"', width=9999).strip()
    (folder / "scenarios.yaml").write_text(SUITE_TEXT.replace("HOSTILE", hostile), encoding="utf-8")
    return folder


def suite_in(folder: Path) -> Suite:
    return load_suite(folder / "scenarios.yaml", parse_policy(POLICY_TEXT))


def exported(folder: Path, part: Part = "held_out") -> Path:
    export_inspect(folder, folder.parent / "task.py", part)
    return folder.parent / "task.py"


def module_of(text: str) -> types.ModuleType:
    """A task with stand-ins for Inspect's modules, so that its interpreter can be tried without Inspect."""
    module = types.ModuleType("task")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("", ".dataset", ".model", ".scorer", ".solver"):
            patch.setitem(sys.modules, f"inspect_ai{name}", MagicMock())
        exec(compile(text, "task.py", "exec"), module.__dict__)
    return module


def test_the_file_is_ascii_and_holds_the_project_as_data_alone(project: Path) -> None:
    text = exported(project).read_text(encoding="ascii")
    assert "prefect_ratify" not in text
    empty = inspect_task(ONE_CLAUSE, *minimal()).text

    def shape(source: str) -> list[str]:
        """The program but for what its literals say."""
        tree = ast.parse(source)
        return [type(node).__name__ for node in ast.walk(tree)]

    assert shape(text) == shape(empty)


def minimal() -> tuple[Suite, tuple[Message, ...], Part]:
    check = parse_check(parse_yaml("any_of: [a]", Path("x")))
    scenario = Scenario(id="x", messages=(Message(role="user", content="x"),), clause_ids=("a",), split="held_out")
    return Suite((scenario,), guides={"a": ClauseGuide(check=check)}), (), "held_out"


def test_the_command_names_what_is_not_exported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(project)
    out = capsys.readouterr().out
    assert "5 samples; clauses scored: sorry, ask, scale, short, slow\n" in out
    assert "not exported, for want of a check: kind" in out
    assert "this task does not score: 'kind'." in path.read_text()
    exported(project, "all")  # a file of ours may be written again
    assert "6 samples" in capsys.readouterr().out
    path.write_text("print()\n")
    with pytest.raises(InputError, match="is there already"):
        exported(project)
    (project / "scenarios.yaml").write_text("scenarios:\n  - {id: a, query: a, split: develop}\n")
    path.unlink()
    with pytest.raises(InputError, match="no clause has a check"):
        exported(project, "develop")
    with pytest.raises(InputError, match="no scenario is in the split held_out"):
        exported(project)
    assert not path.exists()


words = st.sampled_from(["sorry", "i'm", "rent", r"r\w+", "how long", "(a|b)c?", "^no", "x?", "é+", "ten"])
patterns = st.one_of(words, st.lists(words, min_size=1, max_size=3))
leaves = st.one_of(
    *(st.builds(lambda value, kind=kind: {kind: value}, patterns) for kind in ("any_of", "none_of", "question_about")),
    st.sampled_from([{"scale": [0, 10]}, {"scale": [1, 5]}, {"scale": [3, 4]}]),
    st.integers(0, 6).map(lambda limit: {"at_most_words": limit}),
)
checks = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda check, kind: {kind: check}, inner, st.sampled_from(["not", "first_sentence"])),
        st.builds(
            lambda items, kind: {kind: items}, st.lists(inner, min_size=1, max_size=3), st.sampled_from(["all", "any"])
        ),
    ),
    max_leaves=6,
)
pieces = [
    "Sorry",
    "I’m",
    "rent",
    "How long",
    "?",
    ".",
    "!",
    " ",
    "\n",
    "ac",
    "No",
    "É",
    "0 to 10",
    "one-five",
    '"',
    "*)",
    "3/4",
]
texts = st.lists(st.sampled_from(pieces), max_size=12).map(" ".join) | st.text(max_size=20)


@given(st.lists(st.tuples(checks, texts, st.booleans()), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_the_interpreter_says_what_our_checks_say(rows: list[tuple[dict[str, Any], str, bool]]) -> None:
    holds = interpreter()
    for source, text, finished in rows:
        ours = parse_check(parse_yaml(yaml.safe_dump(source), Path("x")))(text, finished).holds
        assert holds(json.loads(json.dumps(source)), text, finished) is ours


@lru_cache
def interpreter() -> Callable[[Any, str, bool], bool | None]:
    """The function `holds` of an exported task."""
    holds: Callable[[Any, str, bool], bool | None] = module_of(inspect_task(ONE_CLAUSE, *minimal()).text).holds
    return holds


def test_every_check_of_the_shipped_suites_decides_alike() -> None:
    for folder in (Path(__file__).parent.parent / "scenarios" / "shipped").iterdir():
        policy = parse_policy((folder / "policy.md").read_text(encoding="utf-8"))
        suite = load_suite(folder / "scenarios.yaml", policy)
        module = module_of(inspect_task(policy, suite, preamble(policy), "all").text)
        for clause_id, check in module.DATA["checks"].items():
            guide = suite.guide(clause_id)
            ours = guide.check
            assert ours is not None
            for reply in (*guide.good, *guide.bad):
                assert module.holds(check, reply, True) is ours(reply).holds


def verdicts_of_inspect(log: Path) -> dict[tuple[str, str], str]:
    """Every verdict in a log, after a look at its scores: 1, 0 or NaN."""
    found = {}
    for sample in raw_samples(log):
        score = sample["scores"]["clauses"]
        for key, verdict in score["metadata"]["verdicts"].items():
            value = {"upheld": 1, "violated": 0}.get(verdict)
            assert score["value"][key] == value if value is not None else math.isnan(score["value"][key])
            if verdict != "not touched":
                found[sample["id"], key] = verdict
    return found


@pytest.mark.model
def test_inspect_gives_every_verdict_that_we_give(project: Path, tmp_path: Path) -> None:
    try:
        inspect = install_inspect_ai()
    except NotInstalled as error:
        pytest.skip(f"inspect-ai {error}")
    path = exported(project)

    def answer(messages: Messages) -> str:
        assert messages[0]["role"] == "system" and "Say sorry first." in messages[0]["content"]
        return ANSWERS[messages[-1]["content"]]

    with model_server(answer) as server:
        environment = {**os.environ, "SCRIPTED_API_KEY": "sk-test", "SCRIPTED_BASE_URL": server.url}
        model = "openai-api/scripted/model"  # chat completions, which is what the scripted server speaks
        command = [str(inspect), "-m", "inspect_ai", "eval", path.name, "--model", model, "--display", "none"]
        ran = subprocess.run(
            [*command, "--max-retries", "0", "--log-dir", "logs", "--log-format", "eval"],
            cwd=path.parent,
            env=environment | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (log,) = (tmp_path / "logs").glob("*.eval")
    suite = suite_in(project)
    ours = [verdict for verdict in verdicts(suite) if verdict.clause_id != "kind"]
    assert verdicts_of_inspect(log) == {(v.scenario_id, v.clause_id): v.outcome for v in ours}
    assert {v.outcome for v in ours} == {"upheld", "violated", "undecided"}
    with zipfile.ZipFile(log) as packed:
        scores = json.loads(unpacked(packed, packed.getinfo("header.json"), log))["results"]["scores"]
    assert [s["name"] for s in scores] == ["sorry", "ask", "scale", "short", "slow", "expectation"]
    assert next(s for s in scores if s["name"] == "slow")["unscored_samples"] == 2  # one undecided, one not touched

    found = import_from(log, suite.scenarios[0].clause_ids)  # and the log can be imported again
    assert {c.id: c.messages for c in found.scenarios} == {s.id: s.messages for s in suite.split("held_out")}


def verdicts(suite: Suite) -> list[Verdict]:
    policy = parse_policy(POLICY_TEXT)
    scenarios = suite.split("held_out")
    responses = [
        Response(
            scenario_id=s.id,
            condition="draft",
            sample=0,
            text=ANSWERS[s.query].strip(),
            finished=True,
            model="scripted",
        )
        for s in scenarios
    ]
    by = Yardstick(policy, {key: suite.guide(key).check for key in policy.clause_ids})
    return [*judge(responses, scenarios, by), *judge_expectations(responses, suite.expectations)]
