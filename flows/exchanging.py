"""Bringing scenarios into a project, and a project's suite out: `ratify import` and `ratify export`."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.flows.project import load_project
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.scenarios.appending import append_scenarios
from prefect_ratify.scenarios.exporting import HEADER, Part, inspect_task
from prefect_ratify.scenarios.importing import import_from
from prefect_ratify.store import write_text


def import_scenarios(folder: Path, source: Path | str, kind: str | None = None) -> None:
    """Add a source's scenarios to a project, and print what became of every row."""
    if not folder.is_dir():
        raise InputError("there is no such project folder", f"make one: ratify init {folder}", path=folder)
    policy = load_policy(folder / "policy.md")
    found = import_from(Path(source), policy.clause_ids, kind)
    added = append_scenarios(folder / "scenarios.yaml", policy, found.scenarios)
    lost = found.rows - len(found.scenarios)
    _print(
        f"{source}: {found.rows} rows read = {len(added.ids)} added to {folder / 'scenarios.yaml'} "
        f"+ {len(added.duplicates)} duplicates + {lost} not mapped"
    )
    for duplicate in added.duplicates:
        _detail(f"duplicate {duplicate.place}: {duplicate.reason}")
    for item in found.unmapped:
        _detail(f"not mapped {item.place}, {item.what}: {item.reason}")
    for clause in found.proposed:
        _detail(f"proposed as a clause, not added ({clause.place}): {clause.text}")
    for note in found.notes:
        _detail(f"note: {note}")


def export_inspect(folder: Path, target: Path, split: Part = "held_out") -> None:
    """Write a project's suite as an Inspect AI task, and print what it holds and what not."""
    if target.exists() and not (target.is_file() and target.read_bytes().startswith(HEADER.encode())):
        raise InputError("a file or folder of that name is there already", "name a new one", path=target)
    project = load_project(folder)
    task = inspect_task(project.policy, project.suite, preamble(project.policy), split)
    try:
        write_text(target, task.text)
    except OSError as error:
        raise InputError(f"the file cannot be written ({error.strerror})", path=target) from None
    scored = ", ".join(task.clause_ids) or "none (what single scenarios expect is)"
    _print(f"{target}: {task.samples} samples; clauses scored: {scored}")
    if task.left_out:
        _detail(f"not exported, for want of a check: {', '.join(task.left_out)}")
    if project.precedents:
        _detail(f"not exported: {len(project.precedents)} precedents, which outrank checks here")
    _detail(f"inspect eval {target} --model …")


def _print(text: str) -> None:
    print(one_line(text, 1000))


def _detail(text: str) -> None:
    print("  " + one_line(text, 1000))
