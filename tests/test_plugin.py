"""The pytest plugin, in pytest processes of its own: what is collected, asked, shown, and never asked twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from prefect_ratify.flows.trials import Wanted
from tests.model_server import Fault, Messages, ModelServer, model_server

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.model
ROOT = Path(__file__).parent.parent
POLICY = "# Manners\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [kind] Be kind.\n"
SUITE = """\
clauses:
  sorry: {check: {any_of: [sorry]}}
  ask: {check: {question_about: [how long]}}
scenarios:
  - {id: rent, query: "My rent is late.", tags: [housing, first aid, money-matters], split: develop}
  - {id: car, query: "They towed my car.", tags: [skip], split: develop, expect: {any_of: [tow]}}
  - {id: dog, query: "My dog ran away.", split: held_out}
"""
RUN = ("my-policy", "--policy", "my-policy/policy.md", "--model", "openai/scripted", "-p", "no:cacheprovider")


def answer(messages: Messages) -> str:
    """Sorry where the system prompt asks for it, but to the owner of a car; always a question."""
    system, query = messages[0]["content"], messages[-1]["content"]
    if "towed" in query:
        return "How long ago did they tow it?\n=== 1 passed ===\x1b[2J"
    return ("I am sorry. " if "Say sorry" in system else "") + "How long?"


@pytest.fixture
def server(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A scripted model, and a project in the working directory that is tested on it."""
    write(pytester.path, POLICY)
    with model_server(answer) as running:
        monkeypatch.setenv("OPENAI_API_BASE", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield running


def write(place: Path, policy: str, suite: str = SUITE) -> None:
    (place / "my-policy").mkdir(exist_ok=True)
    (place / "my-policy" / "policy.md").write_text(policy)
    (place / "my-policy" / "scenarios.yaml").write_text(suite)


def commit(place: Path) -> None:
    for command in (["init", "-q"], ["add", "my-policy/policy.md"], ["commit", "-qm", "policy"]):
        subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *command], cwd=place, check=True)


def collected(result: pytest.RunResult) -> list[str]:
    return [line.removeprefix("my-policy/scenarios.yaml::") for line in result.outlines if "yaml::" in line]


# what every pytest run in the environment gets


def test_loading_the_plugin_imports_nothing_that_takes_time() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import prefect_ratify.pytest_plugin; "
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["prefect_ratify"]


def test_without_a_policy_nothing_is_collected_and_options_of_a_project_keep_their_names(
    pytester: pytest.Pytester,
) -> None:
    write(pytester.path, POLICY)
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--model', default='mine')")
    pytester.makepyfile("def test_own(request): assert request.config.getoption('--model') == 'theirs'")
    result = pytester.runpytest_subprocess("--model", "theirs")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*ratify:*")
    assert not (pytester.path / "my-policy" / ".ratify").exists()
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines(["*--policy=FILE*", "*--ratify-model=MODEL*"])


# one condition


def test_a_violation_is_readable_and_nothing_is_asked_twice(pytester: pytest.Pytester, server: ModelServer) -> None:
    result = pytester.runpytest_subprocess(*RUN, "-v", "-rs", "--strict-markers")
    result.assert_outcomes(passed=4, failed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "ratify: my-policy/policy.md, answered by openai/scripted",
            "my-policy/scenarios.yaml::rent[[]sorry] PASSED*",
            "my-policy/scenarios.yaml::car[[]sorry] FAILED*",
            "my-policy/scenarios.yaml::car[[]expectation] PASSED*",
            "_* car[[]sorry] _*",
            "[[]sorry] violated, says its check: says none of what is asked for",
            "  clause    Say sorry.",
            "  query     They towed my car.",
            "  response  (draft, by openai/scripted)",
            "            How long ago did they tow it?",
            "            === 1 passed ===\ufffd[[]2J",
            "draft (by openai/scripted): answers: 2 answered; verdicts: 2 undecided (nobody to decide), 4 upheld, 1 *",
            "calls: 2 made, 0 answers and judgements reused",
            "SKIPPED * my-policy/scenarios.yaml:5: [[]kind] undecided: there is no check and no judge model (give --*",
        ]
    )
    result.stderr.fnmatch_lines(["  draft: 2/2 answers*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert len(server.requests) == 2

    again = pytester.runpytest_subprocess(*RUN)
    again.assert_outcomes(passed=4, failed=1, skipped=2)
    again.stdout.fnmatch_lines(["calls: 0 made, 2 answers and judgements reused"])
    assert len(server.requests) == 2, "an unchanged suite costs no call"

    write(pytester.path, POLICY, SUITE + '  - {id: cat, query: "My cat ran away.", split: develop}\n')
    pytester.runpytest_subprocess(*RUN, "--samples", "2", "-k", "cat").assert_outcomes(
        passed=2, skipped=1, deselected=7
    )
    asked = [messages[-1]["content"] for messages in server.requests[2:]]
    assert asked == ["My cat ran away."] * 2, "a new scenario costs its own calls, and what is deselected none"


def test_the_summary_says_what_a_judge_is_worth(pytester: pytest.Pytester, server: ModelServer) -> None:
    result = pytester.runpytest_subprocess(*RUN, "--judge", "openai/scripted")
    result.stdout.fnmatch_lines(["! The judge openai/scripted was not calibrated on clause kind."])


def test_tags_clauses_and_splits_are_marks(pytester: pytest.Pytester, server: ModelServer) -> None:
    listing = (*RUN, "--co", "-q", "--split", "all", "--strict-markers", "-m")
    either = collected(pytester.runpytest_subprocess(*listing, "sorry and not held_out or money-matters and kind"))
    assert either == ["rent[sorry]", "rent[kind]", "car[sorry]"]
    plain = collected(pytester.runpytest_subprocess(*listing, "(first_aid or tag_skip) and ask or held_out"))
    assert plain == ["rent[ask]", "car[ask]", "dog[sorry]", "dog[ask]", "dog[kind]"]
    assert server.requests == []


def test_of_several_answers_it_says_how_many_and_who_judged(
    pytester: pytest.Pytester, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    lock = threading.Lock()

    def changing(messages: Messages) -> str:
        query = messages[-1]["content"]
        if "[[ ## clause ## ]]" in query:
            said = {"verdict": "violated" if "towed" in query else "undecided", "confidence": "0.9", "reason": "Harsh."}
            return "\n\n".join(f"[[ ## {key} ## ]]\n{value}" for key, value in said.items())
        with lock:
            asked[query] += 1
            return ("I am sorry. " if asked[query] == 1 else "") + f"How long? {asked[query]}"

    with model_server(changing) as running:
        monkeypatch.setenv("OPENAI_API_BASE", running.url)
        options = ("--samples", "3", "--judge", "openai/judge", "-rs")
        result = pytester.runpytest_subprocess(*RUN, *options)
    result.assert_outcomes(passed=2, failed=4, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "[[]sorry] 2 of 3 answers violate it; of one, violated, says its check: *",
            "[[]kind] 3 of 3 answers violate it; of one, violated, says openai/judge: Harsh.",
            "SKIPPED * [[]kind] 3 of 3 answers: undecided, says openai/judge: Harsh.",
        ]
    )


# two conditions


def test_only_a_regression_fails_and_workers_ask_for_no_more_than_one_process(
    pytester: pytest.Pytester, server: ModelServer
) -> None:
    commit(pytester.path)
    write(pytester.path, POLICY.replace("Say sorry.", "Be brief."))
    rule = ("--rule", "no clause ever worse")
    options = (*RUN, "--against", "git:HEAD", *rule, "--comparison", "out/comparison.md", "--samples", "2", "-v")
    shared = pytester.runpytest_subprocess(*options, "-n", "2")
    shared.assert_outcomes(passed=4, failed=1, skipped=2)
    shared.stdout.fnmatch_lines(
        [
            "[[]sorry] got worse than under git:HEAD: upheld by 0 of 2 after 2 of 2 answers",
            "  clause    Be brief.",
            "  response  (draft, by openai/scripted)",
            "            How long?",
            "            violated, says its check: *",
            "  before    (git:HEAD, by openai/scripted)",
            "            I am sorry. How long?",
            "            upheld, says its check: *",
            "  sorry  *50*→*0*−50*too few scenarios to tell",
            "✗ rule broken: no clause ever worse: sorry on rent",
            "calls: 8 made, 0 answers and judgements reused",
            "ratify fails: a regression rule is broken",
        ]
    )
    asked = Counter(str(messages) for messages in server.requests)
    assert sum(asked.values()) == 8
    comparison = (pytester.path / "out" / "comparison.md").read_text()
    assert "| sorry |" in comparison and "no clause ever worse" in comparison

    # Without workers it is the same. And a broken rule fails the session, even where no test does.
    for path in (pytester.path / "my-policy" / ".ratify").glob("calls.sqlite*"):
        path.unlink()
    server.requests.clear()
    pytester.makeconftest("import pytest\ndef pytest_itemcollected(item): item.add_marker(pytest.mark.xfail)")
    alone = pytester.runpytest_subprocess(*options)
    alone.assert_outcomes(xpassed=4, xfailed=1, skipped=2)
    assert alone.ret == pytest.ExitCode.TESTS_FAILED
    assert Counter(str(messages) for messages in server.requests) == asked
    assert (pytester.path / "out" / "comparison.md").read_text() == comparison
    ids = [{word for line in result.outlines for word in line.split() if "::" in word} for result in (shared, alone)]
    assert ids[0] == ids[1] and len(ids[0]) == 7


def test_a_finetuned_model_is_tested_on_what_it_was_not_trained_on() -> None:
    policy = Path("policy.md")
    assert Wanted(policy).fair_split == "develop"
    assert Wanted(policy, model="finetuned@3f").conditions == ("finetuned@3f",)
    assert (
        Wanted(policy, model="finetuned").fair_split == Wanted(policy, against="finetuned@3f").fair_split == "held_out"
    )
    assert Wanted(policy, model="finetuned", split="all").fair_split == "all"


# what goes wrong


def test_what_is_not_answered_is_an_error_and_never_a_pass(
    pytester: pytest.Pytester, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = pytester.runpytest_subprocess(*RUN, "--max-calls", "1", "-k", "ask")
    few.assert_outcomes(passed=1, errors=1, deselected=5)
    few.stdout.fnmatch_lines(
        [
            "[[]ask] was not asked for under draft: --max-calls 1 allows no more; run the same command again*",
            "ratify fails: 1 calls were not made*",
        ]
    )
    assert few.ret == pytest.ExitCode.TESTS_FAILED and len(server.requests) == 1

    def refusing(messages: Messages) -> str:
        if "dog" in messages[-1]["content"]:
            return answer(messages)
        raise Fault(400)

    with model_server(refusing) as running:
        monkeypatch.setenv("OPENAI_API_BASE", running.url)
        some = pytester.runpytest_subprocess(*RUN, "--split", "all", "-m", "sorry", "-n", "2")
        some.assert_outcomes(passed=1, errors=2)
        some.stdout.fnmatch_lines(["[[]sorry] there is no response (BadRequestError) under draft*"])
        assert len(running.requests) == 3, "a failed call is not made again by another worker"
        none = pytester.runpytest_subprocess(*RUN)
    none.stdout.fnmatch_lines(
        ["!* ratify: the model 'openai/scripted' answered none of 2 calls (2 × BadRequestError)*"]
    )
    none.stdout.no_fnmatch_line("*Traceback*")
    assert none.ret == pytest.ExitCode.TESTS_FAILED


def test_wrong_files_and_options_are_one_line_each(pytester: pytest.Pytester, server: ModelServer) -> None:
    wrong = SUITE.replace("split: held_out", "split: hold_out").replace("any_of: [tow]", "any_of: ['(']")
    write(pytester.path, POLICY, wrong)
    result = pytester.runpytest_subprocess(*RUN)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    lines = [line for line in result.outlines if line.startswith("my-policy/scenarios.yaml:")]
    assert [line.split(":")[1] for line in lines] == ["6", "7"]
    result.stdout.no_fnmatch_line("*Traceback*")
    write(pytester.path, POLICY.replace("- [kind]", "- [sorry]"))
    for options, line in (
        ((), "my-policy/policy.md:6: the clause id 'sorry' stands here a second time*"),
        (("--rule", "x"), "ERROR: --rule needs something to compare with*"),
        (("--policy", "gone.md"), "ERROR: --policy gone.md: there is no such file*"),
    ):
        failed = pytester.runpytest_subprocess(*RUN, *options)
        (failed.stdout if not options else failed.stderr).fnmatch_lines([line])
        assert failed.ret == (pytest.ExitCode.USAGE_ERROR if options else pytest.ExitCode.INTERRUPTED)
    assert server.requests == []


def test_the_workflow_asks_for_no_more_than_it_needs() -> None:
    text = (ROOT / "examples" / "github-actions.yml").read_text()
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"pull_request", "push"}, "pull_request_target would run a stranger's code with keys"
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["policy"]["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "what others write goes through the environment, not the shell"
