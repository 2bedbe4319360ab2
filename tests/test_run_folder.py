"""Runs and stakeholders: one process a run, the same inputs the same run, whole stages or none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_ratify.errors import InputError, NotApproved, RatifyError
from prefect_ratify.finetune.training import whole_checkpoints
from prefect_ratify.flows.decisions import decisions, record_decision
from prefect_ratify.flows.gates import GATES, find_approval, gate, is_unattended, unattended
from prefect_ratify.flows.run_folder import (
    Run,
    Settings,
    alone,
    evidence_digest,
    latest_run,
    load_project,
    open_run,
    require_ready,
    run_stage,
)
from prefect_ratify.flows.stakeholders import find_person, load_stakeholders
from prefect_ratify.records import Approval, WorkedExample


@pytest.fixture
def run(project: Path) -> Run:
    return open_run(load_project(project), Settings())


def test_the_same_inputs_are_the_same_run_and_fresh_is_a_new_one(project: Path, run: Run) -> None:
    loaded = load_project(project)
    assert open_run(loaded, Settings()).folder == run.folder
    assert open_run(loaded, Settings(seed=1)).folder != run.folder
    fresh = open_run(loaded, Settings(), fresh=True)
    assert fresh.folder != run.folder
    assert open_run(loaded, Settings()).folder == fresh.folder, "without fresh, the newest of these inputs goes on"
    assert latest_run(loaded).folder == fresh.folder


def test_fresh_never_takes_up_a_run_that_is_there(project: Path, run: Run) -> None:
    loaded = load_project(project)
    second = open_run(loaded, Settings(), fresh=True)
    shutil.rmtree(run.folder)
    assert open_run(loaded, Settings(), fresh=True).folder != second.folder


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
        open_run(load_project(project), Settings())
    assert not (project / ".ratify" / "runs").exists()


def test_a_worked_example_may_not_hold_a_held_out_scenario(project: Path) -> None:
    loaded = load_project(project)
    secret = loaded.suite.split("held_out")[0].query
    example = WorkedExample(query=secret, sentence="How urgent is it?")
    clauses = (loaded.policy.clauses[0].model_copy(update={"examples": (example,)}), *loaded.policy.clauses[1:])
    leaky = replace(loaded, policy=loaded.policy.model_copy(update={"clauses": clauses}))
    with pytest.raises(InputError, match="holds the held-out scenario"):
        require_ready(leaky)


def test_an_unattended_run_does_not_override_a_person(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.folder / "prototype").mkdir()
    evidence = evidence_digest(run, GATES["draft"])
    refusal = Approval(gate="draft", evidence=evidence, decision="reject", approver="Ada", comment="", at="now")
    record_decision(run.folder, refusal)
    with unattended(), pytest.raises(NotApproved, match="does not override a person"):
        gate(run, "draft")
    assert decisions(run.folder) == [refusal]


def test_an_environment_variable_does_not_switch_the_gates_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATIFY_UNATTENDED", "1")
    assert not is_unattended()
    with unattended():
        assert is_unattended()
    assert not is_unattended()


def test_an_unattended_approval_counts_only_unattended(run: Run) -> None:
    (run.folder / "prototype").mkdir()
    with unattended():
        given = gate(run, "draft")
        assert find_approval(run, "draft", given.evidence) == given
    assert find_approval(run, "draft", given.evidence) is None


def test_a_checkpoint_that_was_cut_off_while_written_is_not_gone_on_from(tmp_path: Path) -> None:
    for name in ("checkpoint-20", "checkpoint-100"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text("{}")
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["checkpoint-20"]
    assert not (tmp_path / "checkpoint-100").exists()


def test_an_edited_clause_is_another_run(project: Path, run: Run) -> None:
    policy = project / "policy.md"
    policy.write_text(policy.read_text().replace("Stay short", "Stay very short"))
    assert open_run(load_project(project), Settings()).folder != run.folder


def test_only_one_process_works_on_a_run(run: Run) -> None:
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


def test_people_are_found_by_name_in_any_case_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "stakeholders.yaml"
    path.write_text("people:\n  - {name: Ada, role: legal}\n  - {name: Bo}\n")
    people = load_stakeholders(path)
    assert [(p.name, p.role) for p in people] == [("Ada", "legal"), ("Bo", "")]
    found = find_person(people, " ada ")
    assert found is not None and found.name == "Ada"
    assert find_person(people, "Eve") is None and find_person(people, "") is None


def test_with_nobody_named_any_name_will_do_but_not_none(tmp_path: Path) -> None:
    people = load_stakeholders(tmp_path / "missing.yaml")
    assert people == () and find_person(people, " ") is None
    found = find_person(people, "Eve")
    assert found is not None and found.name == "Eve"


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("people:\n  - {role: legal}\n", 2, "has no name"),
        ("people:\n  - {name: Ada}\n  - {name: ada}\n", 3, "second time"),
        ("people: Ada\n", 1, "a list is expected"),
        ("persons: []\n", 1, "unknown key"),
    ],
)
def test_mistakes_in_stakeholders_are_named_with_their_line(tmp_path: Path, text: str, line: int, seen: str) -> None:
    path = tmp_path / "stakeholders.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=seen) as caught:
        load_stakeholders(path)
    assert f"stakeholders.yaml:{line}: " in str(caught.value)
