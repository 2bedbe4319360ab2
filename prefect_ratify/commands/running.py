"""`ratify try` and `ratify run`: one query, and the whole path."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.commands.argument_types import amount, positive, share
from prefect_ratify.commands.arguments import Commands, add_models, settings_of


def add_running(commands: Commands) -> None:
    """`try` and `run`."""
    _add_try(commands)
    _add_run(commands)


def _add_try(commands: Commands) -> None:
    trial = commands.add_parser("try", help="one query, side by side: without the policy, draft, refined, finetuned")
    trial.add_argument("folder", type=Path)
    what = trial.add_mutually_exclusive_group(required=True)
    what.add_argument("query", nargs="?")
    what.add_argument("--watch", action="store_true", help="run the scenarios again after every edit")
    add_models(trial)
    trial.set_defaults(command=_try)


def _try(options: argparse.Namespace) -> int:
    if options.watch:
        from prefect_ratify.flows.watching import watch

        watch(options.folder, settings_of(options))
        return 0
    from prefect_ratify.flows.trying import show, try_query

    show(try_query(options.folder, options.query, settings_of(options)))
    return 0


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="the whole path, in Prefect; stops at each gate")
    run.add_argument("folder", type=Path)
    run.add_argument("--fresh", action="store_true", help="start a new run even where one of the same inputs is there")
    run.add_argument("--unattended", action="store_true", help="ask nobody at the gates (the report says so, in red)")
    run.add_argument("--until", choices=["draft", "policy", "data"], default="", help="end once this gate is passed")
    run.add_argument("--samples", type=positive, help="answers for each held-out scenario and condition (default: 4)")
    run.add_argument("--seed", type=int, help="of all sampling and training (default: 0)")
    run.add_argument("--max-tokens", type=positive, help="the length at which an answer is cut (default: 144)")
    run.add_argument("--limit", type=positive, help="use only so many scenarios of each split, for a quick try")
    run.add_argument("--refine-calls", type=positive, metavar="N", help="each refinement makes at most so many calls")
    run.add_argument("--refine-dollars", type=amount, metavar="N", help="… and costs at most so much")
    run.add_argument(
        "--refine-with",
        choices=["clauses", "gepa", "miprov2"],
        help="clause by clause (default), the same by GEPA, or the policy as a whole by DSPy's MIPROv2",
    )
    run.add_argument(
        "--task-runner",
        default="threads",
        metavar="threads|dask|ray[:ADDRESS]",
        help="what makes the shards of training rows: this process (default), or Dask's or Ray's workers, here or at "
        "the address of a cluster",
    )
    _add_data(run)
    run.add_argument("--sft-steps", type=positive, help="at most so many steps of supervised finetuning")
    run.add_argument(
        "--train-on", default="", metavar="DEPLOYMENT", help="train there (train-model/NAME), on a worker with a GPU"
    )
    add_models(run)
    run.set_defaults(command=_run)


def _add_data(parser: argparse.ArgumentParser) -> None:
    """What training rows are made; see DataSettings."""
    for name, text in (
        ("variations", "prompts made of each development scenario beside itself (default: none)"),
        ("answers", "rows made of each prompt (default: 1)"),
        ("rounds", "critiques and revisions of each answer (default: one for each clause that it touches)"),
        ("best-of", "answers with the policy as prompt, of which the best is distilled (default: 4)"),
        ("votes", "clauses by which the critic prefers one of two own answers (default: no such pairs)"),
        ("shard-rows", "rows made and written together (default: 250)"),
    ):
        parser.add_argument(f"--{name}", type=positive, metavar="N", help=text)
    parser.add_argument(
        "--data-by",
        dest="method",
        choices=["revise", "distil", "both"],
        help="critique and revision (default; without a critic, composed sentences), or distillation of the policy",
    )
    retain = "of all rows are own answers to unrelated requests (default: one row for each request)"
    parser.add_argument("--retain", type=share, metavar="SHARE", help=retain)


def _run(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.running import run_path

    outcome = run_path(
        options.folder,
        settings_of(options),
        fresh=options.fresh,
        nobody_asked=options.unattended,
        task_runner=options.task_runner,
        train_on=options.train_on,
        until=options.until,
    )
    print(outcome)
    return 0
