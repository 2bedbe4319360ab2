"""`ratify try`: one query, answered side by side, with a verdict for each clause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect_ratify.errors import InputError, one_line, readable
from prefect_ratify.flows.project import Settings, load_project
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, latest_run, plan_run
from prefect_ratify.flows.train import tuned_model
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.progress import say
from prefect_ratify.records import Message, Response, Scenario, Verdict, digest
from prefect_ratify.scenarios.running import Condition

TITLES = {
    "base": "without the policy",
    "draft": "with the draft policy",
    "refined": "with the refined policy",
    "finetuned": "finetuned, without the policy",
}
MARKS = {"upheld": "[green]✓[/]", "violated": "[red]✗[/]", "undecided": "[yellow]?[/]", "not applicable": "·"}


@dataclass(frozen=True)
class Trial:
    """One condition's answer to the query, and its verdicts."""

    response: Response
    verdicts: tuple[Verdict, ...]


def try_query(folder: Path, query: str, settings: Settings) -> list[Trial]:
    """Answer a query under every condition that this project has by now."""
    if not query.strip():
        raise InputError("the query is empty", 'write it in quotes: ratify try FOLDER "…"')
    project = load_project(folder)
    open_model(settings.models.responder)  # before anything is written
    has_run = (folder / ".ratify" / "runs" / "latest").exists()
    run = latest_run(project) if has_run else plan_run(project, settings)
    if run.project.policy != project.policy:
        say("policy.md was edited since the last run: what is refined or finetuned is of that run")
    run = replace(run, project=project)  # the draft and the checks are those that stand there now
    if settings.models != Settings().models:
        run = replace(run, settings=run.settings.model_copy(update={"models": settings.models}))
    scenario = Scenario(
        id=f"try-{digest(query)[:12]}",
        messages=(Message(role="user", content=query),),
        clause_ids=project.policy.clause_ids,
        split="develop",
    )
    for sentence in project.judge_words(project.policy, run.settings.models.judges):
        say(one_line(sentence))
    trials = []
    for condition in _conditions(run):
        found = run.evaluate([scenario], condition, project.policy)
        trials.append(Trial(found.responses[0], tuple(found.verdicts)))
    return trials


def show(trials: Sequence[Trial]) -> None:
    """Print the answers under each other, each with its clause verdicts."""
    from rich.console import Console
    from rich.markup import escape
    from rich.panel import Panel

    console = Console()
    for trial in trials:
        marks = "   ".join(f"{MARKS[v.outcome]} {escape(v.clause_id)}" for v in trial.verdicts)
        text = escape(readable(trial.response.text) or f"(no answer: {trial.response.error})")
        if not trial.response.finished and trial.response.text:
            text += " …"
        console.print(Panel(f"{text}\n\n{marks}", title=TITLES[trial.response.condition], title_align="left"))
    console.print("✓ upheld   ✗ violated   ? undecided", style="dim")


def _conditions(run: Run) -> list[Condition]:
    model = run.model("responder")
    conditions = [Condition("base", model), Condition("draft", model, preamble(run.project.policy))]
    if run.stage_folder("refine").exists():
        conditions.append(Condition("refined", model, preamble(refined_policy(run))))
    if run.stage_folder("train").exists():
        conditions.append(Condition("finetuned", tuned_model(run)))
    return conditions
