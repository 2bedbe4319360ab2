"""`ratify approve`, `gates`, `enroll`, `serve` and `ledger`: people decide, and what they decided is kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prefect_ratify.commands.argument_types import positive
from prefect_ratify.commands.arguments import Commands, add_run, run_of
from prefect_ratify.errors import InputError


def add_gates(commands: Commands) -> None:
    """`approve`, `gates`, `enroll`, `serve` and `ledger`."""
    _add_approve(commands)
    _add_gates(commands)
    _add_enroll(commands)
    _add_serve(commands)
    _add_ledger(commands)


def _add_approve(commands: Commands) -> None:
    approve = commands.add_parser("approve", help="answer the gate that a run waits at")
    approve.add_argument("folder", type=Path)
    approve.add_argument("--decision", choices=["approve", "request changes", "reject"])
    approve.add_argument("--approver", help="your name")
    approve.add_argument("--code", help="the one-time code that your authenticator app shows")
    approve.add_argument("--comment", default=None)
    approve.add_argument("--run", default="", help="which run, where more than one waits (default: the last)")
    approve.set_defaults(command=_approve)


def _approve(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import answer_gate, needs_code, waiting_gate

    if sys.stdin.isatty() and not (options.decision and options.approver):
        print(waiting_gate(options.folder, options.run))
    decision = options.decision or _asked("Decision (approve, request changes, reject): ")
    approver = options.approver or _asked("Your name: ")
    comment = options.comment if options.comment is not None else _asked("Comment: ")
    code = options.code or ""
    if not code and needs_code(options.folder, options.run):
        code = _asked("The code that your authenticator app shows: ")  # last: it is good for a minute
    print(answer_gate(options.folder, decision, approver, comment, code, options.run))
    return 0


def _asked(question: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(
            "nobody can be asked here", "give --decision, --approver, --comment and, where people are named, --code"
        )
    try:
        return input(question).strip()
    except EOFError:
        raise InputError(
            "no answer was given", "give --decision, --approver, --comment and, where people are named, --code"
        ) from None


def _add_gates(commands: Commands) -> None:
    gates = commands.add_parser("gates", help="list the gates that wait, for whom and since when")
    gates.add_argument("folder", type=Path, nargs="+")
    gates.set_defaults(command=_gates)


def _gates(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import waiting_gates

    for folder in options.folder:
        if not folder.is_dir():
            raise InputError("there is no such project folder", path=folder)
    found = [(folder, waiting) for folder in options.folder for waiting in waiting_gates(folder)]
    for folder, waiting in found:
        print(f"{folder}  gate {waiting['gate']}, round {waiting['round']}, run {waiting['run']} ({waiting['state']})")
        if waiting["state"] not in ("Paused", "Suspended"):
            print(f"  waits no more; to be asked again: Retry in Prefect, or ratify run {folder}")
            continue
        print(f"  waiting for {waiting['waiting_for']}")
        print(f"  since {waiting['since']}; evidence {waiting['evidence'][:16]}; {_ui(waiting)}")
    if not found:
        print("no gate waits")
    return 0


def _ui(waiting: dict[str, str]) -> str:
    return f"{waiting['api'].rstrip('/').removesuffix('/api')}/runs/flow-run/{waiting['flow_run']}"


def _add_enroll(commands: Commands) -> None:
    enroll = commands.add_parser("enroll", help="give a person one-time codes, by an authenticator app")
    enroll.add_argument("name")
    enroll.add_argument("--png", type=Path, metavar="FILE", help="also write the QR code as a picture")
    enroll.add_argument("--replace", action="store_true", help="make new codes; the old ones stop working")
    enroll.set_defaults(command=_enroll)


def _enroll(options: argparse.Namespace) -> int:
    import segno

    from prefect_ratify.flows.codes import enroll

    if options.png:
        try:
            options.png.touch(mode=0o600)  # before there is a seed, and anything to read in it
            options.png.chmod(0o600)
        except OSError as error:
            raise InputError(f"the picture cannot be written ({error.strerror})", path=options.png) from None
    picture = segno.make(enroll(options.name, replace=options.replace), micro=False)
    picture.terminal(compact=True)
    if options.png:
        picture.save(str(options.png), kind="png", scale=6)
    print(f"{options.name}: scan this with an authenticator app, now; it is not shown again.")
    print(
        "Whoever sees it can decide in this name: clear the screen"
        + (", and delete the picture." if options.png else ".")
    )
    return 0


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="start a server, the deployment and its worker on this machine")
    serve.add_argument("folder", type=Path, nargs="?", help="the project that the form proposes")
    serve.add_argument("--notify", default="", metavar="BLOCK", help="a notification block, such as slack-webhook/team")
    serve.add_argument("--webhook", default="", metavar="URL", help="gets a message when a gate waits")
    serve.add_argument("--runs", type=positive, default=2, help="so many work at once (default: 2)")
    serve.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.serving import serve

    serve(options.folder, notify=options.notify, webhook=options.webhook, most=options.runs)
    return 0


def _add_ledger(commands: Commands) -> None:
    ledger = commands.add_parser("ledger", help="check a run's record of decisions")
    actions = ledger.add_subparsers(required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="say in one line whether it is whole, and the evidence unchanged")
    verify.add_argument("folder", type=Path)
    add_run(verify)
    verify.add_argument("--head", default="", help="a published digest that the ledger must end in")
    verify.set_defaults(command=_verify)


def _verify(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.verifying import verify

    print(verify(run_of(options), options.head))
    return 0
