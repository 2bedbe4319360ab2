"""`ratify label` and `ratify calibrate`: people judge responses, and judges are held against them."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from prefect_ratify.commands.argument_types import positive
from prefect_ratify.commands.arguments import Commands
from prefect_ratify.errors import InputError


def add_labels(commands: Commands) -> None:
    """`label` and `calibrate`."""
    _add_label(commands)
    _add_calibrate(commands)


def _add_label(commands: Commands) -> None:
    labelling = commands.add_parser("label", help="say whether responses keep clauses, without seeing any verdict")
    labelling.add_argument("folder", type=Path)
    labelling.add_argument("--by", default="", metavar="NAME", help="who labels (default: your login name)")
    labelling.add_argument("--run", default="", help="whose responses (default: the last run's)")
    labelling.add_argument("--responses", type=Path, metavar="FILE", help="JSONL with scenario_id and response instead")
    labelling.add_argument("--clause", default="", metavar="ID", help="only this clause")
    labelling.add_argument("--split", choices=["develop", "held_out"], default="develop")
    labelling.add_argument("--count", type=positive, default=40, help="labels in this sitting (default: 40)")
    labelling.set_defaults(command=_label)


def _label(options: argparse.Namespace) -> int:
    import getpass
    import io

    from prefect_ratify.flows.labelling import label, set_up

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a reason that is no UTF-8 must not end the sitting
    sitting = set_up(
        options.folder,
        by=options.by or getpass.getuser(),
        run=options.run,
        responses=options.responses,
        clause=options.clause,
        split=options.split,
        count=options.count,
    )
    print(f"Labels by {sitting.by} (--by NAME), kept one by one in {sitting.path}")
    kept = label(sitting, input, print)
    print(f"\n{kept} labels kept. Then: ratify calibrate {shlex.quote(str(options.folder))} --judge MODEL")
    return 0


def _add_calibrate(commands: Commands) -> None:
    calibrating = commands.add_parser("calibrate", help="hold judges and checks against people's labels")
    calibrating.add_argument("folder", type=Path)
    calibrating.add_argument("labels", type=Path, nargs="?", help="CSV or JSONL (default: labels.jsonl of the project)")
    calibrating.add_argument("--judge", action="append", default=[], metavar="MODEL", help="a judge; repeatable")
    calibrating.add_argument("--markdown", type=Path, metavar="FILE", help="write every disagreement, to discuss")
    calibrating.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.calibrating import calibrate_judges, set_up
    from prefect_ratify.flows.calibration_markdown import markdown
    from prefect_ratify.flows.calibration_text import show
    from prefect_ratify.store import require_writable, write_for_people

    require_writable(options.markdown)
    problems: list[InputError] = []
    bench = set_up(options.folder, options.labels, options.judge, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
    report = calibrate_judges(bench)
    show(report)
    print(f"Kept in {bench.path}")
    if options.markdown:
        write_for_people(options.markdown, markdown(report))
    return 0
