"""`ratify import`, by what is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.commands.argument_types import positive
from prefect_ratify.commands.arguments import Commands, add_budget, budget_of
from prefect_ratify.errors import InputError


def add_imports(commands: Commands) -> None:
    """`ratify import` with its kinds."""
    importing = commands.add_parser("import", help="take scenarios, or a draft policy, from elsewhere")
    kinds = importing.add_subparsers(required=True, metavar="KIND")
    _add_scenarios(kinds)
    _add_votes(kinds)
    _add_preferences(kinds)
    _add_document(kinds)


def _add_scenarios(kinds: Commands) -> None:
    scenarios = kinds.add_parser("scenarios", help="of a CSV, JSONL, data set, Inspect AI log or promptfoo file")
    scenarios.add_argument("source")
    scenarios.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    scenarios.add_argument("--format", choices=["csv", "jsonl", "dataset", "inspect", "promptfoo"], default=None)
    scenarios.set_defaults(command=_import_scenarios)


def _import_scenarios(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import import_scenarios

    import_scenarios(options.folder, options.source, options.format)
    return 0


def _add_votes(kinds: Commands) -> None:
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
    votes.set_defaults(command=_import_votes)


def _import_votes(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.importing_votes import import_votes
    from prefect_ratify.flows.votes_text import told

    folder, source = options.folder, options.source
    draft = import_votes(folder, source, top=options.top, groups=options.groups, replace=options.replace)
    print("\n".join(told(draft, source, folder)))
    return 0


def _add_preferences(kinds: Commands) -> None:
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
    preferences.set_defaults(command=_import_preferences)


def _import_preferences(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.importing_preferences import hold_against, import_preferences, planned
    from prefect_ratify.flows.inverting import Inverting
    from prefect_ratify.flows.preferences_text import markdown, told_against, told_draft
    from prefect_ratify.store import require_writable, write_for_people

    require_writable(options.markdown)
    folder, source, against = options.folder or options.against, options.source, bool(options.against)
    inverting = Inverting(options.judge, options.embedder, options.limit, options.top, budget_of(options))
    if options.dry_run:
        print(f"{planned(folder, source, inverting, against=against, replace=options.replace)}; none was made now")
        return 0
    if against:
        data, found = hold_against(folder, source, inverting)
        lines = told_against(data, found)
    else:
        draft = import_preferences(folder, source, inverting, replace=options.replace)
        data, found, lines = draft.data, draft.found, told_draft(draft, folder)
    if options.markdown:
        write_for_people(options.markdown, markdown(data, found))
    print("\n".join(lines))
    return 0


def _add_document(kinds: Commands) -> None:
    document = kinds.add_parser("document", help="a draft policy from a long one in Markdown")
    document.add_argument("source", type=Path, metavar="FILE")
    document.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    document.add_argument("--refiner", metavar="MODEL", default="", help="a model that places what the rules cannot")
    document.add_argument("--replace", action="store_true", help="write policy.md anew; the former one is kept")
    document.add_argument("--dry-run", action="store_true", help="say how many calls the model takes; write nothing")
    add_budget(document)
    document.set_defaults(command=_import_document)


def _import_document(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.document_text import told
    from prefect_ratify.flows.importing_document import import_document, planned

    folder, source, name = options.folder, options.source, options.refiner
    if options.dry_run:
        if not name:
            raise InputError("without --refiner no model is asked: there is nothing to count", "leave out --dry-run")
        print(f"{planned(folder, source, name, replace=options.replace)}; none was made now")
        return 0
    draft = import_document(folder, source, model_name=name, budget=budget_of(options), replace=options.replace)
    print("\n".join(told(draft, folder)))
    return 0
