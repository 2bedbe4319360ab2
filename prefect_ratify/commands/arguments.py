"""What several commands take, and what is made of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from prefect_ratify.commands.argument_types import amount, positive

if TYPE_CHECKING:
    from prefect_ratify.budget import Budget
    from prefect_ratify.flows.project import Settings
    from prefect_ratify.flows.regressing import Measuring
    from prefect_ratify.flows.run_folder import Run

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # it has no public name

ROLES = {
    "responder": "follows the policy as a prompt",
    "judge": "decides clauses that have no check; given several times, or as A,B, they vote",
    "critic": "criticises and revises training answers",
    "refiner": "rewords clauses",
    "student": "is finetuned (local)",
    "embedder": (
        "finds similar precedents (minilm, or a LiteLLM name; without one, shared words do); not counted in budgets"
    ),
}
SETTINGS = {  # the fields that an option fills as it stands
    **{name: name for name in ("samples", "seed", "refine_calls", "refine_dollars", "refine_with", "sft_steps")},
    "limit": "scenario_limit",
}


def add_models(parser: argparse.ArgumentParser) -> None:
    """Which model has which role."""
    for role in ROLES:
        _add_model(parser, role)


def add_budget(parser: argparse.ArgumentParser) -> None:
    """What a command may spend."""
    for unit, kind in (("calls", positive), ("tokens", positive), ("dollars", amount)):
        parser.add_argument(f"--budget-{unit}", type=kind, metavar="N", help=f"stop after so many {unit}")


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """How versions are measured, and where what comes of it is written."""
    parser.add_argument("--dry-run", action="store_true", help="say how many calls it takes, and make none")
    parser.add_argument("--split", default="", choices=["develop", "held_out", "all"])
    parser.add_argument("--samples", type=positive, help="answers for each scenario and condition (default: 1)")
    parser.add_argument("--seed", type=int, help="of all sampling (default: 0)")
    parser.add_argument("--max-tokens", type=positive, help="the length at which an answer is cut (default: 144)")
    parser.add_argument("--limit", type=positive, help="use only so many scenarios, for a quick try")
    add_budget(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page, with every answer")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it for a pull request's comment")
    for role in ("responder", "judge", "embedder"):
        _add_model(parser, role)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Which run of the project in `folder`."""
    parser.add_argument("--run", default="", help="which run (default: the last)")


def run_of(options: argparse.Namespace) -> Run:
    """The run that was chosen."""
    from prefect_ratify.flows.answering import chosen_run

    return chosen_run(options.folder, options.run)


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings of a run; what was not given stays as it is by default."""
    from prefect_ratify.finetune.data_settings import DataSettings
    from prefect_ratify.flows.project import Models, Settings

    given = {name: value for name, value in vars(options).items() if value is not None}
    models = {role: given[role] for role in ROLES if given.get(role)}
    models |= {"judge": ",".join(models["judge"])} if "judge" in models else {}
    fields: dict[str, object] = {SETTINGS[name]: value for name, value in given.items() if name in SETTINGS}
    fields["models"] = Models(**models)
    fields["data"] = DataSettings(**{name: given[name] for name in DataSettings.model_fields if name in given})
    if "max_tokens" in given:
        fields["sampling"] = Settings().sampling.model_copy(update={"max_tokens": given["max_tokens"]})
    return Settings(**fields)  # type: ignore[arg-type]


def measuring_of(options: argparse.Namespace) -> Measuring:
    """How versions are measured; one sample where a number was not given."""
    from prefect_ratify.flows.regressing import Measuring

    settings = settings_of(options)
    return Measuring(
        responder=settings.models.responder,
        judge=settings.models.judge,
        embedder=settings.models.embedder,
        samples=options.samples or 1,
        seed=settings.seed,
        sampling=settings.sampling,
        split=options.split,
        limit=options.limit or 0,
        budget=budget_of(options),
    )


def budget_of(options: argparse.Namespace) -> Budget:
    """What the command may spend."""
    from prefect_ratify.budget import Budget

    return Budget(calls=options.budget_calls, tokens=options.budget_tokens, dollars=options.budget_dollars)


def _add_model(parser: argparse.ArgumentParser, role: str) -> None:
    action = "append" if role == "judge" else "store"
    parser.add_argument(f"--{role}", action=action, metavar="MODEL", help=f"the model that {ROLES[role]}")
