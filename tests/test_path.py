"""The whole path on a tiny slice: a real Prefect server, a real model, a few real steps."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_ratify.finetune.dataset import SUPERVISED, stream_rows
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.project import load_project
from prefect_ratify.flows.run_folder import latest_run
from prefect_ratify.flows.stages import STAGES
from prefect_ratify.flows.train import OWN_PAIRS
from tests.gate_server import Server

pytestmark = pytest.mark.model
# Calls enough for a trial: on three scenarios no wording can be shown to be better than the draft.
SLICE = [*"--limit 3 --samples 1 --sft-steps 2 --max-tokens 24 --refine-calls 27".split()]


def command(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect_ratify", "run", str(project), *SLICE, *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OPENAI_API_KEY": "sk-never-written", **more}


def run(project: Path, server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, *arguments),
        env=environment(PREFECT_HOME=str(server.home), PREFECT_API_URL=server.url),
        text=True,
        capture_output=True,
        timeout=400,
    )


def stage_lines(output: str, ending: str) -> list[str]:
    return [line.split(":")[0] for line in output.splitlines() if ending in line]


def until(true: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, server: Server) -> tuple[Path, str]:
    """A project whose run was killed in the middle of a stage, started again and finished."""
    from prefect_ratify.command_line import main

    project = tmp_path_factory.mktemp("path") / "project"
    assert main(["init", str(project), "--example", "legal-advice"]) == 0
    killed = subprocess.Popen(
        command(project, "--unattended"),
        env=environment(PREFECT_HOME=str(tmp_path_factory.mktemp("prefect of its own"))),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: bool(list(project.glob(".ratify/runs/*/generate.part"))), "the run does not reach the generate stage")
    port = next(int(line.rsplit(":", 1)[1]) for line in killed.stderr or () if line.startswith("Prefect: "))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    until(lambda: not listens(port), "the killed run's Prefect server goes on")
    again = run(project, server, "--unattended")
    assert again.returncode == 0, again.stderr
    return project, again.stderr + again.stdout


def test_a_killed_run_goes_on_from_the_last_finished_stage(finished: tuple[Path, str]) -> None:
    _, output = finished
    assert stage_lines(output, "done before, not run again") == ["prototype", "refine", "regress"]
    assert stage_lines(output, ": done in") == ["generate", "train", "compare"]


def test_finished_stages_are_not_run_again_and_with_fresh_they_are(finished: tuple[Path, str], server: Server) -> None:
    project, _ = finished
    first = latest_run(load_project(project))
    again = run(project, server, "--unattended")
    assert again.returncode == 0, again.stderr
    assert stage_lines(again.stderr, "done before, not run again") == list(STAGES)
    fresh = run(project, server, "--unattended", "--fresh", "--until", "draft")
    assert fresh.returncode == 0, fresh.stderr
    assert stage_lines(fresh.stderr, ": done in") == ["prototype"]
    second = latest_run(load_project(project))
    assert second.folder != first.folder
    answers = [(r.stage_folder("prototype") / "responses.jsonl").read_text() for r in (first, second)]
    assert answers[0] and answers[0] == answers[1], "same seeds, same answers"
    (first.folder.parent / "latest").write_text(first.folder.name + "\n")


def test_every_stage_leaves_its_files_and_the_model_answers(finished: tuple[Path, str]) -> None:
    project, _ = finished
    run_ = latest_run(load_project(project))
    assert all(run_.stage_folder(stage).is_dir() for stage in STAGES)
    for name in (
        "refine/policy.md",
        "regress/comparison.json",
        "generate/data/README.md",
        "train/model/model.safetensors",
    ):
        assert (run_.folder / name).stat().st_size > 0
    adapter = json.loads((run_.folder / "train/adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "embedded"


def test_the_report_accounts_for_every_answer(finished: tuple[Path, str]) -> None:
    project, _ = finished
    numbers = json.loads((latest_run(load_project(project)).folder / "report.json").read_text())
    for name, condition in numbers["conditions"].items():
        for clause, rate in condition["held_out"].items():
            expected = 3 * (6 if clause == "all clauses" else 1)
            assert sum(rate["verdicts"].values()) == expected, (name, clause)
        assert condition["account"]["responses"] == {"answered": 3}
        assert sum(condition["account"]["verdicts"].values()) == 3 * 6
    assert {d["first"] for d in numbers["differences"]} == {"base", "draft", "refined", "examples"}
    splits = numbers["refined_by_split"]
    assert {name: split["scenarios"] for name, split in splits.items()} == {"develop": 3, "held_out": 3}
    # on three scenarios, cut at 24 tokens, chance decides whether worked examples help
    assert bool(numbers["lineage"]) == (not numbers["refinement"]["draft_stands"])
    assert (splits["develop"]["difference"] > 0) == (not numbers["refinement"]["draft_stands"])


def test_the_report_says_in_red_that_nobody_approved(finished: tuple[Path, str]) -> None:
    project, _ = finished
    run_ = latest_run(load_project(project))
    ledger = read_ledger(run_.folder)
    assert [entry.gate for entry in ledger] == ["draft", "policy", "data", "release"]
    assert all(entry.unattended for entry in ledger)
    html = (run_.folder / "report.html").read_text()
    assert "Nobody approved this model" in html
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", html)
    assert links and all(link.startswith(("#", "data:")) for link in links), "the report stands alone"


def test_no_secret_is_written_anywhere(finished: tuple[Path, str], server: Server) -> None:
    project, _ = finished
    for folder in (project, server.home):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".safetensors":
                assert b"sk-never-written" not in path.read_bytes(), path


def test_no_training_row_comes_from_a_held_out_scenario(finished: tuple[Path, str]) -> None:
    project, _ = finished
    run_ = latest_run(load_project(project))
    held_out = {s.id for s in run_.project.suite.scenarios if s.split == "held_out"}
    rows = list(stream_rows(run_.folder / "generate" / SUPERVISED))
    pairs = list(stream_rows(run_.folder / "train" / OWN_PAIRS / "round-1"))
    assert rows and not {row["provenance"]["scenario_id"] for row in rows + pairs} & held_out


def test_try_shows_all_four_side_by_side(finished: tuple[Path, str]) -> None:
    project, _ = finished
    trial = subprocess.run(
        [sys.executable, "-m", "prefect_ratify", "try", str(project), "My landlord will evict us in two weeks"],
        text=True,
        capture_output=True,
        timeout=200,
    )
    assert trial.returncode == 0, trial.stderr
    for title in ("without the policy", "with the draft policy", "with the refined policy", "finetuned"):
        assert title in trial.stdout
    assert trial.stdout.count("empathy") == 4
