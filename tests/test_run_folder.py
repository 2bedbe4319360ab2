"""Runs and stakeholders: one process a run, the same inputs the same run, whole stages or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.flows.run_folder import Run, Settings, alone, latest_run, load_project, open_run, run_stage
from prefect_ratify.flows.stakeholders import find_person, load_stakeholders


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
