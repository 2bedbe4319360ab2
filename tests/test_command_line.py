"""The command: it starts at once, and everything wrong with what it is given is one clear line."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify import embedded, local_models
from prefect_ratify.command_line import main
from prefect_ratify.policy_modules import models
from prefect_ratify.records import Precedent

ROOT = Path(__file__).parent.parent
Edit = Callable[[Path], None]


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """`main` sets variables for the libraries; other tests should not see them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def starter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "project"
    assert main(["init", str(folder)]) == 0
    capsys.readouterr()
    return folder


def ratify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect_ratify", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def line_of(file: Path, text: str) -> int:
    return next(n for n, line in enumerate(file.read_text().split("\n"), 1) if text in line)


# starting


def test_help_answers_within_a_second() -> None:
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy
        started = time.monotonic()
        answered = ratify("--help")
        seconds.append(time.monotonic() - started)
        assert answered.returncode == 0
        assert all(command in answered.stdout for command in ("init", "check", "try", "run", "approve", "report"))
        if seconds[-1] < 1:
            break
    assert min(seconds) < 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom prefect_ratify.command_line import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'prefect', 'dspy', 'trl', 'transformers', 'litellm', 'numpy'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    answered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answered.stderr == "[]\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fill(options: argparse.Namespace) -> int:
        return Path("/dev/full").write_text("x")

    commands = argparse.ArgumentParser()
    commands.set_defaults(command=fill)
    monkeypatch.setattr("prefect_ratify.command_line.parser", lambda: commands)
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "ratify: No space left on device; once that is mended, the same command goes on\n"
    )


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_small_matrices_are_not_shared_out_among_threads() -> None:
    """They would wait for each other by spinning: beside another busy process a search took fifty times as long."""
    code = (
        "import os, sys; from prefect_ratify.command_line import main; main(['init', sys.executable]); "
        "import numpy as n; n.linalg.solve(n.eye(300), n.ones(300)); print(len(os.listdir('/proc/self/task')))"
    )
    own = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    counted = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert counted.stdout == "1\n", counted.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["run"], ["run", "p", "--samples", "0"], ["approve", "p", "--decision", "maybe"], ["try", "p"]],
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: ratify" in capsys.readouterr().err


# init and check


@pytest.mark.parametrize("example", ["starter", "legal-advice"])
def test_a_shipped_project_is_copied_and_is_right(
    tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "project"
    assert main(["init", str(folder), "--example", example]) == 0
    assert f"ratify check {folder}" in capsys.readouterr().out
    assert {"policy.md", "scenarios.yaml", ".gitignore"} <= {path.name for path in folder.iterdir()}
    assert main(["check", str(folder)]) == 0
    answered = capsys.readouterr()
    assert answered.err == ""
    if example == "legal-advice":
        assert "6 clauses; 56 develop and 28 held-out scenarios; 66 unrelated requests" in answered.out
    assert not (folder / ".ratify").exists()


def test_an_empty_folder_may_be_filled_and_a_full_one_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "made")]) == 0
    (tmp_path / "empty").mkdir()
    assert main(["init", str(tmp_path / "empty")]) == 0
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "policy.md").write_text("mine")
    capsys.readouterr()
    for name in ("made", "file", "full"):
        assert main(["init", str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"ratify: {tmp_path / name}: ")
        assert "there already" in err
        assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "policy.md").read_text() == "mine"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["policy.md"]


def test_an_example_that_is_not_shipped_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "p"), "--example", "../shipped"]) == 2
    assert capsys.readouterr().err.startswith("ratify: there is no example '../shipped'; there are: ")
    assert not (tmp_path / "p").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "p")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ratify: {tmp_path / 'file' / 'p'}: the folder cannot be made")
    assert err.count("\n") == 1


def test_a_check_that_is_wrong_about_a_reply_is_named_with_its_line(
    starter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = starter / "scenarios.yaml"
    file.write_text(file.read_text().replace('- "The answer is 42."', '- "Great question! It is 42."'))
    assert main(["check", str(starter)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}:{line_of(file, 'It is 42.')}: the check of clause 'encourage' accepts a bad reply")


def test_clauses_without_checks_or_examples_are_named(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = starter / "policy.md"
    policy.write_text(policy.read_text() + "- [kind] Be kind.\n")
    assert main(["check", str(starter)]) == 0
    out = capsys.readouterr().out
    assert "  kind: no check" in out
    assert "  short: no worked examples" in out


# what is wrong with a project


def replaced(name: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def appended(name: str, data: bytes) -> Edit:
    def edit(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    return edit


SAME_TEXT = b"""
  - {id: again-1, query: "Said twice.", split: develop}
  - {id: again-2, query: "said  TWICE.", split: held_out}
"""
POLICY, SUITE = "policy.md", "scenarios.yaml"
# what is done to the starter project; the file that is named, a text in its line (None: it has none), what is said
WRONG: dict[str, tuple[Edit, str, str | int | None, str]] = {
    "missing folder": (shutil.rmtree, "", None, "there is no such project folder"),
    "missing policy": (lambda p: (p / POLICY).unlink(), POLICY, None, "there is no such file"),
    "missing suite": (lambda p: (p / SUITE).unlink(), SUITE, None, "there is no such file"),
    "policy is a folder": (lambda p: ((p / POLICY).unlink(), (p / POLICY).mkdir())[1], POLICY, None, "cannot be read"),
    "bad YAML": (replaced(SUITE, "tags: [maths]", "tags: [maths: ]]"), SUITE, "maths: ]]", "not valid YAML"),
    "unknown key": (replaced(SUITE, "    tags: [english]", "    tagz: [english]"), SUITE, "tagz", "unknown key 'tagz'"),
    "unknown clause id": (
        replaced(SUITE, "clauses: [encourage, short]", "clauses: [encourage, shrot]"),
        SUITE,
        "shrot",
        "no clause 'shrot'",
    ),
    "duplicate scenario id": (
        replaced(SUITE, "id: frog-life-cycle", "id: fractions-different-bottoms"),
        SUITE,
        1,
        "'fractions-different-bottoms' stands here a second time",
    ),
    "scenario in both splits": (appended(SUITE, SAME_TEXT), SUITE, "again-2", "is in both splits"),
    "bad pattern": (replaced(SUITE, "'i believe in you'", "'i believe (in you'"), SUITE, "(in you", "not a regular"),
    "empty suite": (lambda p: (p / SUITE).write_text(""), SUITE, 1, "there is no scenario"),
    "duplicate clause id": (appended(POLICY, b"- [short] Again.\n"), POLICY, "Again.", "'short' stands here a second"),
    "empty policy": (lambda p: (p / POLICY).write_text(""), POLICY, 1, "no title"),
    "policy without clauses": (lambda p: (p / POLICY).write_text("# T\n"), POLICY, 1, "no clause"),
    "policy not UTF-8": (appended(POLICY, b"- Be na\xefve.\n"), POLICY, -1, "not UTF-8"),
    "suite not UTF-8": (appended(SUITE, b"# na\xefve\n"), SUITE, -1, "not UTF-8"),
    "precedents": (lambda p: (p / "precedents.jsonl").write_text("\n{}\n"), "precedents.jsonl", 2, "scenario_id"),
    "audit": (lambda p: (p / "audit.yaml").write_text("zzz: {any_of: [a]}\n"), "audit.yaml", 1, "no clause 'zzz'"),
}


@pytest.mark.parametrize("command", ["check", "run", "try", "report"])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_project_is_one_line_with_its_place(
    starter: Path, what: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, name, place, said = WRONG[what]
    edit(starter)
    arguments = [command, str(starter), *(["a query"] if command == "try" else [])]
    assert main(arguments) == 2
    answered = capsys.readouterr()
    assert answered.out == "" or command == "check"
    assert answered.err.count("\n") == 1
    assert answered.err.startswith(f"ratify: {starter / name}:")
    assert said in answered.err
    assert not (starter / ".ratify").exists()
    if place is not None:
        file = starter / name
        line = int(answered.err.removeprefix(f"ratify: {file}:").split(":")[0])
        lines = file.read_bytes().decode("latin-1").split("\n")
        if what == "duplicate scenario id":
            assert lines[line - 1].strip() == "- id: fractions-different-bottoms"
            assert line > lines.index("  - id: fractions-different-bottoms") + 1
        elif isinstance(place, str):
            assert place in lines[line - 1]
        else:
            assert line == (place if place > 0 else len(lines) - 1)


def test_check_names_every_mistake_that_it_can_find(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("unknown key", "unknown clause id", "bad pattern", "scenario in both splits"):
        WRONG[what][0](starter)
    assert main(["check", str(starter)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for what in ("unknown key", "unknown clause id", "bad pattern", "scenario in both splits"):
        assert sum(WRONG[what][3] in line for line in lines) == 1
    assert main(["run", str(starter)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (starter / ".ratify").exists()


def test_the_process_ends_with_the_same_line_and_status(starter: Path) -> None:
    (starter / "policy.md").write_text("# T\n")
    answered = ratify("check", str(starter))
    assert answered.returncode == 2
    assert answered.stdout == ""
    assert answered.stderr == (
        f"ratify: {starter / 'policy.md'}:1: the policy has no clause; add '## Clauses' and a list item for each\n"
    )


# what is wrong with the rest


@pytest.mark.parametrize("name", ["nonsense", "./nowhere", "/nowhere/at/all", "openai/"])
def test_a_model_that_does_not_exist_is_one_line(starter: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["run", str(starter)], ["run", str(starter), "--unattended"]):
        assert main([*arguments, "--responder", name]) == 2
        answered = capsys.readouterr()
        assert answered.err.startswith(f"ratify: there is no model {name!r}; ")
        assert answered.err.count("\n") == 1
        assert answered.out == ""
        assert not (starter / ".ratify").exists()


def test_trying_a_model_that_does_not_exist_leaves_nothing_behind(
    starter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", str(starter), "a query", "--responder", "nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (starter / ".ratify").exists()


def test_a_folder_without_a_model_is_named(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(starter), "--responder", str(starter)]) == 2
    answered = capsys.readouterr()
    assert answered.err.startswith(f"ratify: {starter}: there is no model in this folder; ")
    assert answered.err.count("\n") == 1
    assert not (starter / ".ratify").exists()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model cache, small weights to unpack into it, and no model loaded before."""
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"GGUF")
    monkeypatch.setattr(embedded, "gguf_file", lambda: weights)
    monkeypatch.setattr(models, "load_local", local_models.load_local.__wrapped__)
    monkeypatch.setenv("RATIFY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_disk_space_for_the_model_is_one_line(
    starter: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage: Any = type("usage", (), {"free": 100_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert main(["run", str(starter)]) == 2
    answered = capsys.readouterr()
    assert answered.err == (
        f"ratify: {fresh_cache}: no disk space for the model cache: 0.1 GB are free, 1.2 GB are needed; "
        "free some, or set RATIFY_CACHE to a folder on another disk\n"
    )
    assert answered.out == ""
    assert not (starter / ".ratify").exists()
    assert list(fresh_cache.iterdir()) == []


def test_a_model_cache_that_cannot_be_written_is_one_line(
    starter: Path, fresh_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_cache.write_text("a file stands where the folder should be")
    assert main(["run", str(starter)]) == 2
    answered = capsys.readouterr()
    assert answered.err.startswith(f"ratify: {fresh_cache}: the model cache cannot be written (")
    assert answered.err.count("\n") == 1
    assert not (starter / ".ratify").exists()


def test_without_a_run_there_is_nothing_to_report_or_to_approve(
    starter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    approve = ["approve", str(starter), "--decision", "approve", "--approver", "Ada", "--comment", ""]
    for arguments in (["report", str(starter)], approve):
        assert main(arguments) == 2
        answered = capsys.readouterr()
        assert answered.err.startswith(f"ratify: {starter}: there is no run yet; ")
        assert answered.err.count("\n") == 1
        assert not (starter / ".ratify").exists()


def test_nobody_is_asked_where_nobody_sits(
    starter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert main(["approve", str(starter)]) == 2
    assert capsys.readouterr().err == (
        "ratify: nobody can be asked here; give --decision, --approver, --comment and, where people are named, --code\n"
    )


def test_an_empty_query_is_refused(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(starter), "  "]) == 2
    assert capsys.readouterr().err.startswith("ratify: the query is empty; ")
    assert not (starter / ".ratify").exists()


def test_an_interrupted_run_says_how_to_go_on(
    starter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prefect_ratify.flows.project.load_project", interrupt)
    assert main(["check", str(starter)]) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_check_names_people_without_codes_and_rulings_that_point_nowhere(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "stakeholders.yaml").write_text("people: [{name: Ada Lovelace}]\n")
    assert main(["check", str(project)]) == 0
    assert "ratify enroll 'Ada Lovelace'" in capsys.readouterr().out
    ruling = Precedent(scenario_id="x", response="z", clause_id="y", outcome="upheld", by="Ada")
    (project / "precedents.jsonl").write_text(ruling.model_dump_json() + "\n")
    assert main(["check", str(project)]) == 2
    assert "precedents.jsonl: ruling 1 is on clause 'y'" in capsys.readouterr().err
