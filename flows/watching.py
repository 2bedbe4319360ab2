"""`ratify try --watch`: while people edit, what each edit moves, the edited clauses first.

An edit in the middle of a look ends it and begins the next; what was answered by then is kept.
Development scenarios alone: who works on a wording must not see how it does on the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError, readable
from prefect_ratify.flows.project import Project, Settings, load_project
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.embedding import open_embedder
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Outcome, Response, Scenario, Verdict
from prefect_ratify.scenarios.running import Condition, evaluate
from prefect_ratify.scenarios.yardstick import JudgeModel

WATCHED = ("policy.md", "scenarios.yaml", "precedents.jsonl")
FIRST_SHARDS = (2, 6)  # scenarios: few at first, since a model in process ends a small batch sooner
SECONDS_BETWEEN_LOOKS = 0.3
MARKS = {"upheld": "[green]✓[/]", "violated": "[red]✗[/]", "undecided": "[yellow]?[/]", "not applicable": "·"}

Outcomes = dict[tuple[str, str], Outcome]
Stamp = tuple[float | None, ...]


class Edited(Exception):
    """A file was edited in the middle of a look."""


def watch(folder: Path, settings: Settings) -> None:
    """Look at the project now and after each edit, until Ctrl-C."""
    try:
        _watch(folder, settings)
    except KeyboardInterrupt:
        return


def _watch(folder: Path, settings: Settings) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    load_project(folder)
    model = open_model(settings.models.responder)
    judges = judges_named(settings.models.judge, open_model)
    store = CallStore(folder / ".ratify" / "calls.sqlite")
    project, outcomes, stamp = None, Outcomes(), None
    while True:
        if stamp == (stamp := stamp_of(folder)):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        try:
            edited = load_project(folder)
        except InputError as error:
            console.print(f"[red]not read:[/] {_plain(str(error))}", soft_wrap=True)
            continue
        look = Look(edited, edited_clauses(project, edited), outcomes, console.print)
        project = edited
        try:
            look.run(model, judges, store, settings, lambda: stamp_of(folder) != stamp)
            console.print(look.summary() + "\n[dim]watching; edit policy.md or scenarios.yaml, Ctrl-C ends[/]")
        except Edited:
            console.print("[dim]edited again[/]")
        outcomes |= look.outcomes


class Look:
    """One look at a project: what every development scenario comes to, and what that was before."""

    def __init__(self, project: Project, edited: Sequence[str], before: Outcomes, show: Callable[[str], None]) -> None:
        self.project, self.edited, self.before, self.show = project, edited, before, show
        self.outcomes: Outcomes = {}

    def run(
        self,
        model: LanguageModel,
        judges: tuple[JudgeModel, ...],
        store: CallStore,
        settings: Settings,
        is_edited: Callable[[], bool],
    ) -> None:
        """Answer and judge the scenarios of the edited clauses, then the rest; Edited where files change."""
        policy, suite = self.project.policy, self.project.suite
        cases = self.project.cases(open_embedder(settings.models.embedder, store))
        by = self.project.yardstick(policy, judges, cases)

        def heard(response: Response, verdicts: Sequence[Verdict]) -> None:
            if is_edited():
                raise Edited
            self._heard(response, verdicts)

        condition = Condition("draft", model, preamble(policy))
        for shard in shards(first_touched(suite.split("develop"), self.edited)):
            evaluate(
                shard,
                condition,
                by,
                store,
                sampling=settings.sampling,
                samples=1,
                seed=settings.seed,
                heard=heard,
                label="",
            )

    def summary(self) -> str:
        """What moved, on the edited clauses and on others."""
        moved = [(key, self._move(key)) for key in self.outcomes]
        fixed, worse = ([key for key, move in moved if move == wanted] for wanted in ("fixed", "regressed"))
        upheld = sum(outcome == "upheld" for outcome in self.outcomes.values())
        lines = [
            f"[bold]{upheld} of {len(self.outcomes)} verdicts upheld; {len(fixed)} fixed, {len(worse)} regressed[/]"
        ]
        aside = [key for key in [*fixed, *worse] if key[1] not in self.edited]
        if aside and len(self.edited) < len(self.project.policy.clauses):
            by_clause = sorted({clause_id for _, clause_id in aside})
            lines.append(f"side effects on clauses that were not edited: {len(aside)} ({', '.join(by_clause)})")
        return "\n".join(lines)

    def _heard(self, response: Response, verdicts: Sequence[Verdict]) -> None:
        parts = []
        for verdict in verdicts:
            key = verdict.scenario_id, verdict.clause_id
            self.outcomes[key] = verdict.outcome
            parts.append(self._part(key, verdict))
        failed = f" [red]no answer ({_plain(response.error)})[/]" if response.error else ""
        self.show(f"{_plain(response.scenario_id)}:{failed} {'   '.join(parts)}")

    def _part(self, key: tuple[str, str], verdict: Verdict) -> str:
        move = self._move(key)
        mark = MARKS[verdict.outcome]
        if move:
            aside = "" if key[1] in self.edited else ", a side effect"
            mark = f"{MARKS[self.before[key]]}→{mark} [bold]{move}{aside}[/]"
        return f"{mark} {_plain(key[1])}"

    def _move(self, key: tuple[str, str]) -> str:
        before, now = self.before.get(key), self.outcomes[key]
        return {("violated", "upheld"): "fixed", ("upheld", "violated"): "regressed"}.get((before or "", now), "")


def edited_clauses(before: Project | None, now: Project) -> tuple[str, ...]:
    """The clauses whose text or check is another than before; all of them where the frame of the policy is."""
    if before is None or _frame(before) != _frame(now):
        return now.policy.clause_ids
    old = {clause.id: clause for clause in before.policy.clauses}
    return tuple(
        clause.id
        for clause in now.policy.clauses
        if clause != old.get(clause.id) or _check(before, clause.id) != _check(now, clause.id)
    )


def first_touched(scenarios: Sequence[Scenario], clause_ids: Sequence[str]) -> list[Scenario]:
    """Scenarios that are about these clauses before others: by a tag of that name first, then by their clauses.

    Among those, scenarios of few clauses before those that touch everything.
    """

    def rank(scenario: Scenario) -> tuple[bool, bool, int]:
        touched = set(scenario.clause_ids) & set(clause_ids)
        return not set(scenario.tags) & set(clause_ids), not touched, len(scenario.clause_ids)

    return sorted(scenarios, key=rank)


def shards(scenarios: Sequence[Scenario]) -> Iterator[Sequence[Scenario]]:
    """A few scenarios at first, so that the first verdicts come soon, then all others."""
    start = 0
    for size in (*FIRST_SHARDS, len(scenarios)):
        if start < len(scenarios):
            yield scenarios[start : start + size]
        start += size


def stamp_of(folder: Path) -> Stamp:
    """When the watched files were last written; None for one that is not there."""
    paths = [folder / name for name in WATCHED]
    return tuple(path.stat().st_mtime if path.exists() else None for path in paths)


def _frame(project: Project) -> tuple[object, ...]:
    policy = project.policy
    return policy.title, policy.context, policy.definitions


def _check(project: Project, clause_id: str) -> object:
    check = project.suite.guide(clause_id).check
    return check.source if check else None


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(readable(text))
