"""What the commands share that draft a policy out of what people said elsewhere: trying it out, and writing it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_ratify.errors import InputError
from prefect_ratify.finetune.leaks import leak_check
from prefect_ratify.policy import load_policy, read_text, render_policy
from prefect_ratify.records import Message, Policy, Scenario, digest
from prefect_ratify.scenarios.appending import append_scenarios
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.store import write_text


def require_free(folder: Path, *, replace: bool) -> None:
    """InputError where no policy can be drafted: the folder is a file, or has a policy that is not to be replaced."""
    path = folder / "policy.md"
    if folder.exists() and not folder.is_dir():
        raise InputError("this is a file", "name a folder", path=folder)
    if path.exists() and not replace:
        raise InputError("there is a policy already", "--replace puts a new one in its place, and keeps it", path=path)


def write_project(folder: Path, files: Mapping[str, str]) -> Path | None:
    """Write files into a project by their names; returns where the policy is kept that stood there, if one did."""
    path = folder / "policy.md"
    former = read_text(path) if path.exists() else ""
    kept = folder / "variants" / "former" / f"draft-{digest(former)[:8]}.md" if former else None
    written = {folder / name: text for name, text in files.items()} | ({kept: former} if kept else {})
    if not (folder / ".gitignore").exists():
        written[folder / ".gitignore"] = ".ratify/\n"
    try:
        for target, text in written.items():
            write_text(target, text)
    except OSError as error:
        raise InputError(f"the project cannot be written ({error.strerror})", path=folder) from None
    return kept


def policy_text(policy: Policy, source: Path) -> str:
    """A policy's Markdown; InputError where that does not read as the same policy."""
    text = render_policy(policy)
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "policy.md")
        path.write_text(text, encoding="utf-8")
        if load_policy(path) != policy:
            raise InputError("a text of it cannot be written as a clause", path=source)
    return text


def next_steps(folder: Path) -> str:
    """What to do with a draft, whose clauses can be judged, and answers revised, by models alone."""
    name = shlex.quote(str(folder))
    why = "new clauses have neither checks nor worked examples"
    return f"then: ratify check {name}, and ratify run {name} --judge MODEL --critic MODEL ({why})"


def suite_text(header: str, policy: Policy, candidates: Sequence[Candidate]) -> tuple[str, int]:
    """A new scenarios.yaml, and how many scenarios it has: a header that ends in `scenarios:`, and the candidates.

    Of requests that differ in case or spaces alone, it has the first.
    """
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "scenarios.yaml")
        path.write_text(header, encoding="utf-8")
        added = append_scenarios(path, policy, candidates)
        return read_text(path), len(added.ids)


def kept_apart(candidates: Sequence[Candidate], told: Sequence[str]) -> list[Candidate]:
    """The same, with held-out ones moved to development of which a clause or a development scenario holds much.

    `told` are the texts of the clauses.
    """
    clauses = [_scenario(f"clause {place}", (Message(role="user", content=text),)) for place, text in enumerate(told)]
    found = list(candidates)
    while True:
        leaks = leak_check([_scenario(c.id, c.messages) for c in found if c.split == "held_out"])
        seen = [*clauses, *(_scenario(c.id, c.messages) for c in found if c.split == "develop")]
        leaked = {leak.scenario_id for scenario in seen if (leak := leaks(scenario))}
        if not leaked:
            return found
        found = [c.model_copy(update={"split": "develop"}) if c.id in leaked else c for c in found]


def _scenario(name: str, messages: tuple[Message, ...]) -> Scenario:
    return Scenario(id=name, messages=messages, clause_ids=(), split="held_out")
