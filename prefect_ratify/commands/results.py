"""`ratify trace`, `handoff`, `adopt` and `report`: what is done with what a run made."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.commands.argument_types import positive
from prefect_ratify.commands.arguments import Commands, add_run, run_of


def add_results(commands: Commands) -> None:
    """`trace`, `handoff`, `adopt` and `report`."""
    _add_trace(commands)
    _add_handoff(commands)
    _add_adopt(commands)
    _add_report(commands)


def _add_trace(commands: Commands) -> None:
    trace = commands.add_parser("trace", help="from a training row to its clauses and people, or from a clause to rows")
    trace.add_argument("folder", type=Path)
    trace.add_argument("what", metavar="ROW-OR-CLAUSE", help="a row's id or its first digits, or a clause's id")
    add_run(trace)
    trace.add_argument("--limit", type=positive, default=20, help="of a clause, list so many rows (default: 20)")
    trace.add_argument("--json", action="store_true", help="for machines")
    trace.set_defaults(command=_trace)


def _trace(options: argparse.Namespace) -> int:
    import json

    from prefect_ratify.flows.trace_text import show
    from prefect_ratify.flows.tracing import trace

    found = trace(run_of(options), options.what, options.limit)
    if options.json:
        print(json.dumps(found.model_dump(mode="json"), indent=1))
    else:
        show(found)
    return 0


def _add_handoff(commands: Commands) -> None:
    handing = commands.add_parser("handoff", help="put approved training data into a folder for TRL elsewhere")
    handing.add_argument("folder", type=Path)
    handing.add_argument("--to", dest="target", type=Path, required=True, metavar="FOLDER")
    handing.add_argument("--base", default="", metavar="NAME", help="the base model there: a name, or a whole path")
    add_run(handing)
    handing.set_defaults(command=_handoff)


def _handoff(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.handing_off import hand_off

    print(hand_off(run_of(options), options.target, options.base))
    return 0


def _add_adopt(commands: Commands) -> None:
    adopting = commands.add_parser("adopt", help="take a model that was trained in a handoff folder into its run")
    adopting.add_argument("folder", type=Path)
    adopting.add_argument("source", type=Path, metavar="FOLDER", help="the handoff folder, with its output")
    add_run(adopting)
    adopting.set_defaults(command=_adopt)


def _adopt(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.adopting import adopt

    print(adopt(run_of(options), options.source))
    return 0


def _add_report(commands: Commands) -> None:
    report = commands.add_parser("report", help="write the HTML report of the last run")
    report.add_argument("folder", type=Path)
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.project import load_project
    from prefect_ratify.flows.report import write_report
    from prefect_ratify.flows.run_folder import latest_run

    print(f"Report: {write_report(latest_run(load_project(options.folder)))}")
    return 0
