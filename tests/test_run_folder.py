"""Runs and stakeholders: one process a run, the same inputs the same run, whole stages or none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.finetune.training import whole_checkpoints
from prefect_ratify.flows.project import Settings, load_project, require_ready
from prefect_ratify.flows.run_folder import Run, evidence_digest, latest_run, open_run
from prefect_ratify.flows.stages import alone, finish_putting_aside, put_aside, run_stage
from prefect_ratify.records import WorkedExample


@pytest.fixture
def run(project: Path) -> Run:
    return open_run(project, Settings())


def test_the_same_inputs_are_the_same_run_and_fresh_is_a_new_one(project: Path, run: Run) -> None:
    loaded = load_project(project)
    assert open_run(project, Settings()).folder == run.folder
    assert open_run(project, Settings(seed=1)).folder != run.folder
    fresh = open_run(project, Settings(), fresh=True)
    assert fresh.folder != run.folder
    assert open_run(project, Settings()).folder == fresh.folder, "without fresh, the newest of these inputs goes on"
    assert latest_run(loaded).folder == fresh.folder


def test_fresh_never_takes_up_a_run_that_is_there(project: Path, run: Run) -> None:
    second = open_run(project, Settings(), fresh=True)
    shutil.rmtree(run.folder)
    assert open_run(project, Settings(), fresh=True).folder != second.folder


def test_a_run_keeps_the_inputs_that_it_was_begun_with(project: Path, run: Run) -> None:
    policy = project / "policy.md"
    before = load_project(project)
    policy.write_text(policy.read_text() + "- [new] Say goodbye.\n")
    assert load_project(project).policy != before.policy
    kept = latest_run(load_project(project))
    assert (kept.project.policy, kept.project.folder, kept.folder) == (before.policy, project, run.folder)


@pytest.mark.parametrize(("split", "other"), [("held_out", "develop"), ("develop", "held_out")])
def test_an_empty_split_is_found_before_anything_is_written(project: Path, split: str, other: str) -> None:
    scenarios = project / "scenarios.yaml"
    scenarios.write_text(scenarios.read_text().replace(f"split: {split}", f"split: {other}"))
    with pytest.raises(InputError, match=f"no scenario is in the split {split}"):
        open_run(project, Settings())
    assert not (project / ".ratify" / "runs").exists()


def test_a_worked_example_may_not_hold_a_held_out_scenario(project: Path) -> None:
    loaded = load_project(project)
    secret = loaded.suite.split("held_out")[0].query
    example = WorkedExample(query=secret, sentence="How urgent is it?")
    clauses = (loaded.policy.clauses[0].model_copy(update={"examples": (example,)}), *loaded.policy.clauses[1:])
    leaky = replace(loaded, policy=loaded.policy.model_copy(update={"clauses": clauses}))
    with pytest.raises(InputError, match="holds the held-out scenario"):
        require_ready(leaky)


def test_a_checkpoint_that_was_cut_off_while_written_is_not_gone_on_from(tmp_path: Path) -> None:
    for name in ("checkpoint-20", "checkpoint-100"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text("{}")
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["checkpoint-20"]
    assert not (tmp_path / "checkpoint-100").exists()


def test_an_edited_clause_is_another_run(project: Path, run: Run) -> None:
    policy = project / "policy.md"
    policy.write_text(policy.read_text().replace("Stay short", "Stay very short"))
    assert open_run(project, Settings()).folder != run.folder


def test_only_one_process_works_on_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_ratify.flows.stages.LONGEST_LOCK_WAIT", 0)
    with alone(run), pytest.raises(RatifyError, match="another process"), alone(run):
        pass
    with alone(run):  # free again
        pass


def test_a_stage_that_fails_leaves_no_stage_behind_and_finds_its_part_again(run: Run) -> None:
    def fail(_: Run, folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RatifyError("no")

    with pytest.raises(RatifyError):
        run_stage(run, "prototype", fail)
    assert not run.stage_folder("prototype").exists()
    seen = []
    run_stage(run, "prototype", lambda _, folder: seen.append((folder / "half").exists()))
    run_stage(run, "prototype", lambda _, folder: seen.append(False))
    assert seen == [True], "the finished stage is not run again"


def test_a_project_without_a_run_has_no_latest(project: Path) -> None:
    with pytest.raises(InputError, match="there is no run yet"):
        latest_run(load_project(project))


def test_a_flow_run_that_comes_again_gets_the_run_that_it_began(project: Path) -> None:
    begun = open_run(project, Settings(), fresh=True, flow_run="abc")
    policy = project / "policy.md"
    policy.write_text(policy.read_text() + "- [new] Say goodbye.\n")
    again = open_run(project, Settings(), fresh=True, flow_run="abc")
    assert again.folder == begun.folder
    assert again.project.policy == begun.project.policy, "edits while a gate waits belong to another run"
    assert open_run(project, Settings(), flow_run="def").folder != begun.folder


def test_stages_put_aside_are_kept_and_a_crash_between_is_mended(run: Run) -> None:
    for stage in ("prototype", "refine", "regress"):
        run.stage_folder(stage).mkdir()
        (run.stage_folder(stage) / "file").write_text(stage)
    before = evidence_digest(run, "policy")
    assert (run.round, run.seed("refine")) == (1, 0)
    (run.folder / "going-back.json").write_text('{"into": "1-policy", "stages": ["refine", "regress", "generate"]}')
    (run.folder / "rounds" / "1-policy").mkdir(parents=True)
    run.stage_folder("refine").rename(run.folder / "rounds" / "1-policy" / "refine")  # and then it was killed
    finish_putting_aside(run)
    assert not run.stage_folder("refine").exists() and not run.stage_folder("regress").exists()
    assert run.stage_folder("prototype").exists()
    assert evidence_digest(run, "policy", run.folder / "rounds" / "1-policy") == before
    assert (run.round, run.seed("refine"), run.seed("generate")) == (2, 1, 0)
    run.stage_folder("refine").mkdir()
    put_aside(run, "policy", "refine")
    assert run.earlier("refine") == run.folder / "rounds" / "2-policy" / "refine"


def test_the_private_folder_may_not_lie_in_a_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATIFY_PRIVATE", str(project / "private"))
    with pytest.raises(InputError, match="the private folder lies in the project"):
        open_run(project, Settings())


def test_an_input_that_is_gone_is_gone_from_the_run(project: Path, run: Run) -> None:
    assert (run.folder / "inputs" / "stakeholders.yaml").exists()
    (project / "stakeholders.yaml").unlink()
    assert not (open_run(project, Settings()).folder / "inputs" / "stakeholders.yaml").exists()
