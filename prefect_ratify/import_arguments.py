"""The arguments of `ratify import`, by what is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.argument_types import add_budget, positive

Commands = argparse._SubParsersAction  # which has no public name


def add_import(commands: Commands[argparse.ArgumentParser]) -> None:
    """`ratify import` with its kinds."""
    importing = commands.add_parser("import", help="take scenarios, or a draft policy, from elsewhere")
    kinds = importing.add_subparsers(required=True, metavar="KIND")
    _add_scenarios(kinds)
    _add_votes(kinds)
    _add_preferences(kinds)
    _add_document(kinds)


def _add_scenarios(kinds: Commands[argparse.ArgumentParser]) -> None:
    scenarios = kinds.add_parser("scenarios", help="of a CSV, JSONL, data set, Inspect AI log or promptfoo file")
    scenarios.add_argument("source")
    scenarios.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    scenarios.add_argument("--format", choices=["csv", "jsonl", "dataset", "inspect", "promptfoo"], default=None)
    scenarios.set_defaults(command="import_scenarios")


def _add_votes(kinds: Commands[argparse.ArgumentParser]) -> None:
    votes = kinds.add_parser("votes", help="a draft policy from what many people voted on (a Polis export)")
    votes.add_argument("source", type=Path, metavar="FOLDER")
    votes.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    votes.add_argument("--top", type=positive, default=20, metavar="N", help="at most so many clauses (default: 20)")
    votes.add_argument(
        "--groups",
        choices=["file", "2", "3", "4", "5"],
        default="",
        help="the file's own opinion groups, or so many (default: as many as the file names, or by the silhouette)",
    )
    votes.add_argument("--replace", action="store_true", help="write policy.md anew; the former one is kept")
    votes.set_defaults(command="import_votes")


def _add_preferences(kinds: Commands[argparse.ArgumentParser]) -> None:
    preferences = kinds.add_parser("preferences", help="a draft policy of the principles behind chosen responses")
    preferences.add_argument("source", type=Path, metavar="DATASET", help="its columns: chosen, rejected, maybe prompt")
    where = preferences.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", dest="folder", type=Path, metavar="PROJECT")
    where.add_argument("--against", type=Path, metavar="PROJECT", help="write nothing: do the pairs teach its clauses?")
    preferences.add_argument("--judge", required=True, metavar="MODEL", help="the model that proposes and tests them")
    preferences.add_argument("--embedder", default="", metavar="MODEL", help="groups principles (default: by words)")
    preferences.add_argument("--limit", type=positive, default=300, metavar="N", help="pairs at most (default: 300)")
    preferences.add_argument("--top", type=positive, default=20, metavar="N", help="clauses at most (default: 20)")
    preferences.add_argument("--replace", action="store_true", help="write policy.md anew; the former one is kept")
    preferences.add_argument("--markdown", type=Path, metavar="FILE", help="write what was found as Markdown too")
    preferences.add_argument("--dry-run", action="store_true", help="say how many calls it takes, and make none")
    add_budget(preferences)
    preferences.set_defaults(command="import_preferences")


def _add_document(kinds: Commands[argparse.ArgumentParser]) -> None:
    document = kinds.add_parser("document", help="a draft policy from a long one in Markdown")
    document.add_argument("source", type=Path, metavar="FILE")
    document.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    document.add_argument("--refiner", metavar="MODEL", default="", help="a model that places what the rules cannot")
    document.add_argument("--replace", action="store_true", help="write policy.md anew; the former one is kept")
    document.add_argument("--dry-run", action="store_true", help="say how many calls the model takes; write nothing")
    add_budget(document)
    document.set_defaults(command="import_document")
