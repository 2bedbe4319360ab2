"""`ratify init` and `ratify check`: a project folder is made, and read."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.commands.arguments import Commands
from prefect_ratify.errors import InputError, one_line

if TYPE_CHECKING:
    from prefect_ratify.flows.project import Project


def add_projects(commands: Commands) -> None:
    """`init` and `check`."""
    _add_init(commands)
    _add_check(commands)


def _add_init(commands: Commands) -> None:
    init = commands.add_parser("init", help="make a project folder to edit")
    init.add_argument("folder", type=Path)
    init.add_argument("--example", default="starter", help="starter, legal-advice or collective-assistant, to copy")
    init.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    import shutil

    shipped = Path(__file__).parent.parent / "scenarios" / "shipped"
    names = sorted(path.name for path in shipped.iterdir() if path.is_dir())
    if options.example not in names:
        raise InputError(f"there is no example {options.example!r}", f"there are: {', '.join(names)}")
    if options.folder.exists() and (not options.folder.is_dir() or any(options.folder.iterdir())):
        raise InputError("a file or folder of that name is there already", "name a new one", path=options.folder)
    try:
        shutil.copytree(shipped / options.example, options.folder, dirs_exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder cannot be made ({error.strerror or 'not every file could be copied'})", path=options.folder
        ) from None
    (options.folder / ".gitignore").write_text(".ratify/\n")
    print(f"{options.folder} is ready. Edit policy.md and scenarios.yaml, then:\n  ratify check {options.folder}")
    return 0


def _add_check(commands: Commands) -> None:
    check = commands.add_parser("check", help="say what is wrong with a project's files")
    check.add_argument("folder", type=Path)
    check.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.project import load_project
    from prefect_ratify.flows.training_file import TRAINING, require_trainable

    problems: list[InputError] = []
    project = load_project(options.folder, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
    require_trainable(options.folder / TRAINING, project.training)
    faults = [*_misjudged(project), *_dangling(project)]
    for fault in faults:
        print(one_line(fault), file=sys.stderr)
    for line in _described(project):
        print(line)
    return 2 if faults else 0


def _misjudged(project: Project) -> Iterator[str]:
    """A line for each reply on which a check is wrong."""
    from prefect_ratify.scenarios.suite import misjudged

    for found in misjudged(project.suite):
        place = f"{project.folder / 'scenarios.yaml'}:{found.line}"
        did = "refuses a good reply" if found.said == "good" else "accepts a bad reply"
        yield f"{place}: the check of clause {found.clause_id!r} {did} ({found.reason}): {found.reply}"


def _dangling(project: Project) -> Iterator[str]:
    """A line for each precedent that rules on nothing."""
    from prefect_ratify.scenarios.precedents import dangling

    suite = project.suite
    scenario_ids = {scenario.id for scenario in (*suite.scenarios, *suite.unrelated)}
    for line in dangling(project.precedents, project.policy.clause_ids, scenario_ids):
        yield f"{project.folder / 'precedents.jsonl'}: {line}"


def _described(project: Project) -> Iterator[str]:
    """What a project has, and what it lacks that a run may need."""
    from prefect_ratify.flows import jury
    from prefect_ratify.flows.codes import is_enrolled
    from prefect_ratify.scenarios.pluralism.plan import described

    suite, policy = project.suite, project.policy
    yield (
        f"{policy.title}: {len(policy.clauses)} clauses; {len(suite.split('develop'))} develop and "
        f"{len(suite.split('held_out'))} held-out scenarios; {len(suite.unrelated)} unrelated requests."
    )
    for clause in policy.clauses:
        guide = suite.guide(clause.id)
        if guide.check is None:
            yield f"  {clause.id}: no check; its verdicts need a judge model (--judge), or are undecided"
        elif not guide.examples:
            yield f"  {clause.id}: no worked examples; the embedded model cannot write training sentences for it"
    for line in (*described(project.pluralism), *jury.described(project)):
        yield f"  {one_line(line)}"
    for person in project.stakeholders.people:
        if not is_enrolled(person.name):
            yield f"  {person.name} has no one-time codes on this machine: ratify enroll {shlex.quote(person.name)}"
