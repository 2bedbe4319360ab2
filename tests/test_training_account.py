"""What a train stage says of itself: what was left out, and what its model was trained on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import SafetensorError

from prefect_ratify.errors import RatifyError
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, shard_name, write_rows
from prefect_ratify.finetune.training import StageSummary, Weights
from prefect_ratify.flows import model_card
from prefect_ratify.flows import train as stage
from prefect_ratify.flows.handing_off import training_job
from prefect_ratify.flows.project import Settings
from prefect_ratify.flows.report_page import page
from prefect_ratify.flows.run_folder import Run, open_run
from prefect_ratify.flows.training_curves import training_steps
from prefect_ratify.records import Message
from prefect_ratify.store import read_json, write_json, write_record
from prefect_ratify.training_rows import PreferencePair
from tests.fake_rows import demonstration
from tests.test_pictures import finished

__all__ = ["finished"]  # a fixture


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with three rows and three pairs, whose trainings cost nothing and leave a weight file."""
    (project / "training.yaml").write_text("stages: [sft, dpo]\n")
    run = open_run(project, Settings(scenario_limit=3))
    policy, develop = run.project.policy, run.project.suite.split("develop")
    rows = [demonstration(scenario, "Hello.", policy, "m", "quick", 0) for scenario in develop]
    said = [(Message(role="assistant", content=text),) for text in ("Hello.", "No.")]
    pairs = [PreferencePair(prompt=r.prompt, chosen=said[0], rejected=said[1], provenance=r.provenance) for r in rows]
    write_rows(rows, run.stage_folder("generate") / SUPERVISED / shard_name(0))
    write_rows(pairs, run.stage_folder("generate") / PREFERENCES / shard_name(0))
    write_record(run.stage_folder("refine") / "policy.json", policy)
    student = SimpleNamespace(folder=project, name="embedded", digest="0" * 64)
    monkeypatch.setattr(Run, "student", lambda self: student)
    monkeypatch.setattr(stage, "_answers_before", lambda run: [])
    monkeypatch.setattr(stage, "train_stage", trained)
    monkeypatch.setattr(stage, "stage_summary", summary)
    monkeypatch.setattr(stage, "write_model", written)
    return run


def trained(name: str, start: Weights, files: list[Path], folder: Path, *rest: Any, **more: Any) -> Weights:
    write_json(folder / "log.json", [{"step": 1, "loss": 1.0}])
    return start


def summary(folder: Path) -> StageSummary:
    told: dict[str, Any] = {"settings": {}, "lora": None, "sources": {}}
    return StageSummary(stage="sft", rows=3, cut=0, dropped=0, steps=1, parameters=1, **told)


def written(weights: Weights, folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def test_steps_with_too_few_rows_are_left_out_and_counted(run: Run) -> None:
    stage.train(run, run.stage_folder("train"))
    training = read_json(run.stage_folder("train") / "training.json")
    assert (list(training["steps"]), training["left_out"]) == (["sft"], {"dpo": 3})
    assert (training["pairs"], training["preference_training"]) == (0, False), "none was learnt from"
    assert [step.left_out for step in training_steps(run.stage_folder("train"))] == [None, 3]


def test_what_a_run_leaves_out_is_not_handed_off_either(run: Run) -> None:
    assert training_job(run, "org/base").stages == ("sft",)
    assert training_job(replace(run, settings=Settings(fewest_pairs=3)), "org/base").stages == ("sft", "dpo")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_full_disk_is_one_line_and_the_next_try_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def full(*given: Any) -> None:
        raise failure

    folder = run.stage_folder("train")
    with monkeypatch.context() as patch, pytest.raises(RatifyError, match=r"cannot write its files \(.*; make room"):
        patch.setattr(stage, "write_model", full)
        stage.train(run, folder)
    assert not (folder / stage.DONE).exists()
    stage.train(run, folder)
    assert (folder / stage.DONE).exists()


def test_the_lineage_names_what_was_learnt_from_alone_with_digests_that_anybody_can_take(run: Run) -> None:
    stage.train(run, run.stage_folder("train"))
    lineage = model_card._lineage(run)
    for folder, pattern in (("generate/data/sft", "*.parquet"), ("train/model", "*.safetensors")):
        content = b"".join(path.read_bytes() for path in sorted((run.folder / folder).glob(pattern)))
        line = next(line for line in lineage.splitlines() if folder in line)
        assert f"`{hashlib.sha256(content).hexdigest()[:16]}`" in line
    assert "preferences" not in lineage, "no pair was learnt from"


def test_the_rows_of_every_step_are_where_the_stage_left_them(run: Run) -> None:
    places = {step: str(stage.rows_of(run, step).relative_to(run.folder)) for step in ("dpo", "kto", "own-answers-2")}
    assert places == {
        "dpo": f"generate/{PREFERENCES}",
        "kto": "train/judged",
        "own-answers-2": "train/preferences/round-2",
    }


@pytest.mark.model
def test_the_report_names_the_steps_that_were_left_out(finished: Run) -> None:
    account = {"steps": {}, "left_out": {"own-answers-1": 3}, "pairs": 0, "preference_training": False}
    write_json(finished.stage_folder("train") / "training.json", account)
    text = page(finished)
    assert "on the model’s own answers, round 1</h4>" in text and "Left out: there were 3 rows for it" in text
