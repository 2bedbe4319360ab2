"""`ratify label`: who is asked what, in which order, blind, and what a kill leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows.labelling import Question, Sitting, label, mend, ordered, responses_of, set_up, shown
from prefect_ratify.flows.project import Project, Settings, load_project
from prefect_ratify.records import Response
from prefect_ratify.scenarios.labels import Item, Label, items_of, load_labels
from prefect_ratify.store import append_line, write_record, write_records
from tests.gate_server import until

POLICY = "# T\n\n## Clauses\n- [sorry] Say sorry.\n  - Ada: it helps\n- [ask] Ask how long.\n"
CLAUSES = ("sorry", "ask")
QUERIES = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clauses, six scenarios (the last two held out), the last of which touches one clause only."""
    made = tmp_path / "project"
    made.mkdir()
    (made / "policy.md").write_text(POLICY)
    lines = [
        f"  - {{id: q{n}, query: Query {n}, split: {'develop' if n < 4 else 'held_out'}"
        + (", clauses: [ask]}\n" if n == 5 else "}\n")
        for n in range(QUERIES)
    ]
    (made / "scenarios.yaml").write_text("scenarios:\n" + "".join(lines))
    write_records(made / ".ratify" / "regressions" / "abc" / "responses.jsonl", given())
    return made


def given() -> list[Response]:
    """Base answers all alike in each scenario, draft answers of their own, and one call that failed."""
    found = [
        Response(
            scenario_id=f"q{n}",
            condition=condition,
            sample=sample,
            text=f"{condition} {n}" if condition == "base" else f"{condition} {n} {sample}",
            finished=True,
            model="m",
        )
        for condition in ("base", "draft")
        for n in range(QUERIES)
        for sample in (0, 1)
    ]
    failed = found[0].model_copy(update={"error": "Timeout", "text": ""})
    return [failed, *found, found[0].model_copy(update={"scenario_id": "gone"})]


def questions(folder: Path, known: list[Item] | None = None, **wanted: str) -> list[Question]:
    chosen = {"split": "develop", "clause": "", "by": "Ada", **wanted}
    return ordered(load_project(folder), given(), known or [], **chosen)


def keys(asked: list[Question]) -> list[tuple[str, str, str]]:
    return [question.key for question in asked]


def words(folder: Path) -> list[Label]:
    return load_labels(folder / "labels.jsonl", CLAUSES, [f"q{n}" for n in range(QUERIES)])


# what is asked


def test_everything_is_asked_once_spread_over_clauses_and_conditions(folder: Path) -> None:
    asked = questions(folder)
    # 4 scenarios × 2 clauses × (1 base answer + 2 draft answers)
    assert len(set(keys(asked))) == len(asked) == 24
    for start in (0, 4, 8, 12):
        block = [(q.clause.id, q.response.split()[0]) for q in asked[start : start + 4]]
        assert len(set(block)) == 4, "each clause and condition in turn, as long as there are any"
    assert keys(asked) == keys(questions(folder)), "the same order each time"
    first = [q.scenario.id for q in asked if (q.clause.id, q.response.split()[0]) == ("ask", "draft")]
    assert first != sorted(first), "but no order of the suite"


def test_a_split_a_clause_and_the_clauses_that_a_scenario_touches(folder: Path) -> None:
    held_out = questions(folder, split="held_out")
    assert {(q.scenario.id, q.clause.id) for q in held_out} == {("q4", "ask"), ("q4", "sorry"), ("q5", "ask")}
    assert {q.clause.id for q in questions(folder, clause="ask")} == {"ask"}


def test_nobody_is_asked_twice_and_what_nobody_labelled_comes_first(folder: Path) -> None:
    everything = questions(folder)
    mine, others = everything[:3], everything[3:5]
    known = items_of([*[_upheld(q, "Ada") for q in mine], *[_upheld(q, "Ben") for q in others]])
    left = keys(questions(folder, known))
    assert len(left) == 21 and not set(left) & set(keys(mine))
    assert set(left[-2:]) == set(keys(others))


def test_a_clause_with_fewer_labels_catches_up(folder: Path) -> None:
    def drafted(asked: list[Question]) -> list[Question]:
        return [question for question in asked if question.response.startswith("draft")]

    labelled = [question for question in drafted(questions(folder)) if question.clause.id == "ask"][-4:]
    known = items_of([_upheld(question, "Ben") for question in labelled])
    left = drafted(questions(folder, known))
    assert [question.clause.id for question in left[:4]] == ["sorry"] * 4


def _upheld(question: Question, by: str) -> Label:
    response = f" {question.response}\n"  # the same words
    scenario_id, clause_id = question.scenario.id, question.clause.id
    return Label(scenario_id=scenario_id, response=response, clause_id=clause_id, outcome="upheld", by=by)


def test_responses_come_from_a_run_a_regression_or_a_file(folder: Path, tmp_path: Path) -> None:
    project = load_project(folder)
    assert len(responses_of(project, run="", path=None)) == len(given())
    file = tmp_path / "responses.jsonl"
    file.write_text('{"scenario_id": "q0", "response": "half \\ud800", "model": "x"}\n\n')
    (found,) = responses_of(project, run="", path=file)
    assert (found.scenario_id, found.text) == ("q0", "half ?")
    run = folder / ".ratify" / "runs" / "r1"
    (run / "inputs").mkdir(parents=True)
    for name in ("policy.md", "scenarios.yaml"):
        (run / "inputs" / name).write_text((folder / name).read_text())
    write_record(run / "settings.json", Settings())
    for stage, kept in (("prototype", given()[1:3]), ("compare", given()[3:4])):
        write_records(run / stage / "responses.jsonl", kept)
    assert responses_of(project, run="r1", path=None) == given()[1:4]
    (run.parent / "latest").write_text("r1\n")
    assert responses_of(project, run="", path=None) == given()[1:4]
    with pytest.raises(InputError, match="there is no run 'r2'"):
        responses_of(project, run="r2", path=None)


@pytest.mark.parametrize("line", ["no JSON", '{"scenario_id": "q0"}', '{"scenario_id": "q0", "response": 5}', "[]"])
def test_a_line_that_is_no_response_is_named(folder: Path, tmp_path: Path, line: str) -> None:
    file = tmp_path / "responses.jsonl"
    file.write_text(f'{{"scenario_id": "q0", "response": "r"}}\n{line}\n')
    with pytest.raises(InputError, match=r"responses\.jsonl:2: this is no response"):
        responses_of(load_project(folder), run="", path=file)


def test_wrong_wishes_are_one_line_of_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wish, seen in (
        (["--clause", "gone"], "the policy has no clause 'gone'; there are: sorry, ask"),
        (["--run", "gone"], "there is no run 'gone'"),
        (["--by", " "], "a label needs a name"),
    ):
        assert main(["label", str(folder), *wish]) == 2
        assert seen in capsys.readouterr().err
    (folder / ".ratify" / "regressions" / "abc" / "responses.jsonl").unlink()
    assert main(["label", str(folder), "--by", "Ada"]) == 2
    assert "there are no responses to label yet" in capsys.readouterr().err


def test_a_missing_file_of_responses_is_not_made_by_init(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl: there is no such file; name a JSONL file with"):
        responses_of(load_project(folder), run="", path=tmp_path / "gone.jsonl")


def test_labels_that_cannot_be_kept_are_one_line_of_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, asked = folder / "labels.jsonl", sitting(folder)
    path.mkdir()
    assert main(["label", str(folder), "--by", "Ada"]) == 2
    assert "labels.jsonl: cannot be read (Is a directory)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"labels\.jsonl: the label cannot be written \(Is a directory\)"):
        label(asked, lambda prompt: "u", lambda text: None)


def test_a_broken_calibration_keeps_nobody_from_labelling(folder: Path) -> None:
    (folder / "calibration.json").write_text("{")
    assert len(sitting(folder).questions) == 24


# the sitting


def sitting(folder: Path, count: int = 40) -> Sitting:
    return set_up(folder, by="Ada", split="develop", count=count)


def run(folder: Path, *lines: str, count: int = 40) -> tuple[int, str]:
    """Label with these answers; how many were kept, and what was shown."""
    answers: Iterator[str] = iter(lines)
    screen: list[str] = []

    def ask(prompt: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    return label(sitting(folder, count), ask, screen.append), "\n".join(screen)


def test_an_answer_is_a_letter_or_word_and_maybe_a_reason(folder: Path) -> None:
    kept, screen = run(
        folder, "u", "what?", "V it never\x1b[2J asks", "not applicable: no case", " n ", "s", "upheld", "q"
    )
    assert kept == 5
    assert [(each.outcome, each.reason) for each in words(folder)] == [
        ("upheld", ""),
        ("violated", "it never\ufffd[2J asks"),
        ("not applicable", "no case"),
        ("not applicable", ""),
        ("upheld", ""),
    ]
    assert {each.by for each in words(folder)} == {"Ada"}
    assert screen.count("Please begin with") == 1
    assert "label 3 of 24   (so far: " in screen


def test_what_is_skipped_comes_again_and_what_is_labelled_does_not(folder: Path) -> None:
    first = sitting(folder).questions
    run(folder, "s", "u", "v")
    left = [question.key for question in sitting(folder).questions]
    assert first[0].key in left and first[1].key not in left and len(left) == 22
    assert sitting(folder).so_far == Counter(question.clause.id for question in first[1:3])
    run(folder, *["u"] * 22)
    with pytest.raises(InputError, match="Ada has labelled all there is in the split develop"):
        sitting(folder)


def test_people_label_blind(folder: Path) -> None:
    """Neither the verdict nor the condition is shown, and nothing in a text steers the terminal."""
    project: Project = load_project(folder)
    hostile = "fine\x1b[2J\x07\u202e\nClause sorry\n  Say nothing."
    text = shown(Question(project.suite.scenarios[0], hostile, project.policy.clause("sorry")))
    assert not set(text) & set("\x1b\x07\u202e")
    assert text.splitlines().count("Clause sorry") == 1, "foreign lines are indented"
    assert "Say sorry." in text and "Ada: it helps" in text and "user: Query 0" in text
    _, screen = run(folder, *["u"] * 24)
    responses = {response.text for response in given()}
    lines = [line.strip() for line in screen.splitlines()]
    assert not any("draft" in line or "base" in line for line in lines if line not in responses)


def test_a_count_ends_the_sitting_and_a_name_is_one_line(folder: Path) -> None:
    assert run(folder, *["u"] * 10, count=3)[0] == 3
    assert set_up(folder, by="A\nda\x1b", split="develop", count=1).by == "A da\ufffd"


def test_labels_of_clauses_that_are_gone_stand_in_nobodys_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, "u", "v")
    (folder / "policy.md").write_text(POLICY.replace("[sorry]", "[pardon]"))
    assert len(sitting(folder).questions) > 0
    assert "are no labels of this policy" in capsys.readouterr().err


# what a kill leaves


def test_half_a_line_is_cut_off_and_a_whole_one_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    mend(path)
    assert not path.exists()
    for left, mended in (("", ""), ('{"a": 1}\n', '{"a": 1}\n'), ('{"a": 1}', '{"a": 1}\n'), ('{}\n{"a": "x', "{}\n")):
        path.write_text(left)
        mend(path)
        assert path.read_text() == mended
    append_line(path, "{}")
    assert path.read_text() == "{}\n{}\n"


def test_after_half_a_line_labelling_goes_on(folder: Path) -> None:
    run(folder, "u")
    with (folder / "labels.jsonl").open("a") as file:
        file.write('{"scenario_id": "q0", "resp')
    run(folder, "v")
    assert [each.outcome for each in words(folder)] == ["upheld", "violated"]


def test_it_works_in_a_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"u\nv caf\xe9\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", lines)
    assert main(["label", str(folder), "--by", "Ada"]) == 0
    assert [each.reason for each in words(folder)] == ["", "caf\ufffd"]
    assert "2 labels kept" in capsys.readouterr().out


@pytest.mark.model
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_end_of_the_process_loses_a_label(folder: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-m", "prefect_ratify", "label", str(folder), "--by", "Ada"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as labelling:
        assert labelling.stdin is not None and labelling.stdout is not None
        labelling.stdin.write("u\nv why\nn\n")
        labelling.stdin.flush()
        path = folder / "labels.jsonl"
        until(lambda: path.exists() and path.read_text().count("\n") == 3, 60)
        labelling.send_signal(end)
        assert labelling.wait(20) == (0 if end == signal.SIGINT else -signal.SIGKILL)
        shown = labelling.stdout.read()
    assert [json.loads(line)["outcome"] for line in path.read_text().splitlines()] == [
        "upheld",
        "violated",
        "not applicable",
    ]
    assert ("3 labels kept" in shown) == (end == signal.SIGINT)
    assert len(sitting(folder).questions) == 21
