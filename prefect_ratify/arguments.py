"""The arguments of the command `ratify`. `command` is the name of what carries it out, in command_line.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.argument_types import add_budget, amount, positive, share
from prefect_ratify.import_arguments import add_import


def parser() -> argparse.ArgumentParser:
    """What a person may type."""
    parsing = argparse.ArgumentParser(
        prog="ratify",
        description="Carry a group's draft policy to a finetuned model, with people approving every step.",
    )
    commands = parsing.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a project folder to edit")
    init.add_argument("folder", type=Path)
    init.add_argument("--example", default="starter", help="starter, legal-advice or collective-assistant, to copy")
    init.set_defaults(command="init")

    check = commands.add_parser("check", help="say what is wrong with a project's files")
    check.add_argument("folder", type=Path)
    check.set_defaults(command="check")

    trial = commands.add_parser("try", help="one query, side by side: without the policy, draft, refined, finetuned")
    trial.add_argument("folder", type=Path)
    what = trial.add_mutually_exclusive_group(required=True)
    what.add_argument("query", nargs="?")
    what.add_argument("--watch", action="store_true", help="run the scenarios again after every edit")
    _add_models(trial)
    trial.set_defaults(command="try")

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
    _add_models(run)
    run.set_defaults(command="run")

    regress = commands.add_parser("regress", help="compare two or more policies, models or prompting styles")
    regress.add_argument("folder", type=Path)
    regress.add_argument("subject", nargs="?", default="draft", metavar="WHAT", help="what is asked about (draft)")
    regress.add_argument(
        "--against",
        action="append",
        required=True,
        metavar="WHAT",
        help="base, draft, refined, examples, finetuned (…@RUN), a run, a policy file, git:REVISION, a model, "
        "'… on MODEL'; give it several times for a matrix",
    )
    regress.add_argument("--rule", default="", help="what may not get worse (default: that of stakeholders.yaml)")
    regress.add_argument("--strict", action="store_true", help="a rule that is not shown to be kept counts as broken")
    _add_measuring(regress)
    regress.set_defaults(command="regress")

    variants = commands.add_parser("variants", help="try several drafts side by side, and take clauses from each")
    variants.add_argument("folder", type=Path)
    variants.add_argument(
        "--take",
        nargs="+",
        metavar="CLAUSE=VARIANT",
        help="ask nothing, and write policy.md anew with these clauses (or VARIANT, for all of its clauses)",
    )
    _add_measuring(variants)
    variants.set_defaults(command="variants")

    attacking = commands.add_parser("attack", help="try hostile text (injections) on the checks and judges")
    attacking.add_argument("folder", type=Path)
    attacking.add_argument("--judge", action="append", default=[], metavar="MODEL", help="also this judge; repeatable")
    attacking.add_argument("--clause", default="", metavar="ID", help="only responses that break this clause")
    attacking.add_argument("--limit", type=positive, default=2, help="responses a judge gets with each (default: 2)")
    attacking.add_argument("--markdown", type=Path, metavar="FILE", help="write the result as Markdown too")
    attacking.set_defaults(command="attack")

    labelling = commands.add_parser("label", help="say whether responses keep clauses, without seeing any verdict")
    labelling.add_argument("folder", type=Path)
    labelling.add_argument("--by", default="", metavar="NAME", help="who labels (default: your login name)")
    labelling.add_argument("--run", default="", help="whose responses (default: the last run's)")
    labelling.add_argument("--responses", type=Path, metavar="FILE", help="JSONL with scenario_id and response instead")
    labelling.add_argument("--clause", default="", metavar="ID", help="only this clause")
    labelling.add_argument("--split", choices=["develop", "held_out"], default="develop")
    labelling.add_argument("--count", type=positive, default=40, help="labels in this sitting (default: 40)")
    labelling.set_defaults(command="label")

    calibrating = commands.add_parser("calibrate", help="hold judges and checks against people's labels")
    calibrating.add_argument("folder", type=Path)
    calibrating.add_argument("labels", type=Path, nargs="?", help="CSV or JSONL (default: labels.jsonl of the project)")
    calibrating.add_argument("--judge", action="append", default=[], metavar="MODEL", help="a judge; repeatable")
    calibrating.add_argument("--markdown", type=Path, metavar="FILE", help="write every disagreement, to discuss")
    calibrating.set_defaults(command="calibrate")

    add_import(commands)

    exporting = commands.add_parser("export", help="write a suite for another tool")
    tools = exporting.add_subparsers(required=True, metavar="TOOL")
    inspect = tools.add_parser("inspect", help="a task file that Inspect AI runs")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("target", type=Path, metavar="FILE.py")
    inspect.add_argument("--split", choices=["develop", "held_out", "all"], default="held_out")
    inspect.set_defaults(command="export_inspect")
    gguf = tools.add_parser("gguf", help="the finetuned model as one file for llama.cpp and Ollama")
    gguf.add_argument("folder", type=Path)
    gguf.add_argument("target", type=Path, metavar="FILE.gguf")
    gguf.add_argument("--source", type=Path, metavar="FILE.gguf", help="a GGUF of the base model, for its tokenizer")
    gguf.add_argument("--float", dest="weights", choices=["f16", "f32"], default="f16", help="(default: f16)")
    gguf.add_argument("--run", default="", help="which run (default: the last)")
    gguf.set_defaults(command="export_gguf")

    approve = commands.add_parser("approve", help="answer the gate that a run waits at")
    approve.add_argument("folder", type=Path)
    approve.add_argument("--decision", choices=["approve", "request changes", "reject"])
    approve.add_argument("--approver", help="your name")
    approve.add_argument("--code", help="the one-time code that your authenticator app shows")
    approve.add_argument("--comment", default=None)
    approve.add_argument("--run", default="", help="which run, where more than one waits (default: the last)")
    approve.set_defaults(command="approve")

    gates = commands.add_parser("gates", help="list the gates that wait, for whom and since when")
    gates.add_argument("folder", type=Path, nargs="+")
    gates.set_defaults(command="gates")

    enroll = commands.add_parser("enroll", help="give a person one-time codes, by an authenticator app")
    enroll.add_argument("name")
    enroll.add_argument("--png", type=Path, metavar="FILE", help="also write the QR code as a picture")
    enroll.add_argument("--replace", action="store_true", help="make new codes; the old ones stop working")
    enroll.set_defaults(command="enroll")

    serve = commands.add_parser("serve", help="start a server, the deployment and its worker on this machine")
    serve.add_argument("folder", type=Path, nargs="?", help="the project that the form proposes")
    serve.add_argument("--notify", default="", metavar="BLOCK", help="a notification block, such as slack-webhook/team")
    serve.add_argument("--webhook", default="", metavar="URL", help="gets a message when a gate waits")
    serve.add_argument("--runs", type=positive, default=2, help="so many work at once (default: 2)")
    serve.set_defaults(command="serve")

    ledger = commands.add_parser("ledger", help="check a run's record of decisions")
    actions = ledger.add_subparsers(required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="say in one line whether it is whole, and the evidence unchanged")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--run", default="", help="which run (default: the last)")
    verify.add_argument("--head", default="", help="a published digest that the ledger must end in")
    verify.set_defaults(command="verify")

    trace = commands.add_parser("trace", help="from a training row to its clauses and people, or from a clause to rows")
    trace.add_argument("folder", type=Path)
    trace.add_argument("what", metavar="ROW-OR-CLAUSE", help="a row's id or its first digits, or a clause's id")
    trace.add_argument("--run", default="", help="which run (default: the last)")
    trace.add_argument("--limit", type=positive, default=20, help="of a clause, list so many rows (default: 20)")
    trace.add_argument("--json", action="store_true", help="for machines")
    trace.set_defaults(command="trace")

    handing = commands.add_parser("handoff", help="put approved training data into a folder for TRL elsewhere")
    handing.add_argument("folder", type=Path)
    handing.add_argument("--to", dest="target", type=Path, required=True, metavar="FOLDER")
    handing.add_argument("--base", default="", metavar="NAME", help="the base model there: a name, or a whole path")
    handing.add_argument("--run", default="", help="which run (default: the last)")
    handing.set_defaults(command="handoff")

    adopting = commands.add_parser("adopt", help="take a model that was trained in a handoff folder into its run")
    adopting.add_argument("folder", type=Path)
    adopting.add_argument("source", type=Path, metavar="FOLDER", help="the handoff folder, with its output")
    adopting.add_argument("--run", default="", help="which run (default: the last)")
    adopting.set_defaults(command="adopt")

    report = commands.add_parser("report", help="write the HTML report of the last run")
    report.add_argument("folder", type=Path)
    report.set_defaults(command="report")
    return parsing


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


def _add_models(parser: argparse.ArgumentParser) -> None:
    for role in ROLES:
        _add_model(parser, role)


def _add_model(parser: argparse.ArgumentParser, role: str) -> None:
    action = "append" if role == "judge" else "store"
    parser.add_argument(f"--{role}", action=action, metavar="MODEL", help=f"the model that {ROLES[role]}")


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


def _add_measuring(parser: argparse.ArgumentParser) -> None:
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
