"""`ratify regress`, `variants` and `attack`: versions are compared, and judges tried with hostile text."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.commands.argument_types import positive
from prefect_ratify.commands.arguments import Commands, add_measuring, measuring_of
from prefect_ratify.errors import InputError


def add_comparing(commands: Commands) -> None:
    """`regress`, `variants` and `attack`."""
    _add_regress(commands)
    _add_variants(commands)
    _add_attack(commands)


def _add_regress(commands: Commands) -> None:
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
    add_measuring(regress)
    regress.set_defaults(command=_regress)


def _regress(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.plan_text import show_plan
    from prefect_ratify.flows.regressing import plans, regress, set_up, write_pages
    from prefect_ratify.flows.regression_text import show
    from prefect_ratify.store import require_writable

    require_writable(options.html, options.markdown)
    bench = set_up(options.folder, [options.subject, *options.against], measuring_of(options), options.rule)
    if options.dry_run:
        show_plan(plans(bench))
        return 0
    regression = regress(bench)
    show(regression)
    write_pages(bench, regression, html=options.html, markdown=options.markdown)
    return 1 if regression.fails(strict=options.strict) else 0


def _add_variants(commands: Commands) -> None:
    variants = commands.add_parser("variants", help="try several drafts side by side, and take clauses from each")
    variants.add_argument("folder", type=Path)
    variants.add_argument(
        "--take",
        nargs="+",
        metavar="CLAUSE=VARIANT",
        help="ask nothing, and write policy.md anew with these clauses (or VARIANT, for all of its clauses)",
    )
    add_measuring(variants)
    variants.set_defaults(command=_variants)


def _variants(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.taking import take
    from prefect_ratify.flows.variants_text import show, told_taken

    if options.take:
        if options.dry_run:
            raise InputError("--take asks no model: there is nothing to count", "leave out --dry-run")
        print(told_taken(options.folder, take(options.folder, options.take)))
        return 0
    from prefect_ratify.flows.plan_text import show_plan
    from prefect_ratify.flows.regressing import plans
    from prefect_ratify.flows.variants import set_up_variants, try_variants
    from prefect_ratify.flows.variants_page import write_pages
    from prefect_ratify.store import require_writable

    require_writable(options.html, options.markdown)
    versions, bench = set_up_variants(options.folder, measuring_of(options))
    if options.dry_run:
        show_plan(plans(bench))
        return 0
    tried = try_variants(versions, bench)
    show(versions, bench, tried)
    write_pages(versions, bench, tried, html=options.html, markdown=options.markdown)
    return 1 if tried.regression.not_run else 0


def _add_attack(commands: Commands) -> None:
    attacking = commands.add_parser("attack", help="try hostile text (injections) on the checks and judges")
    attacking.add_argument("folder", type=Path)
    attacking.add_argument("--judge", action="append", default=[], metavar="MODEL", help="also this judge; repeatable")
    attacking.add_argument("--clause", default="", metavar="ID", help="only responses that break this clause")
    attacking.add_argument("--limit", type=positive, default=2, help="responses a judge gets with each (default: 2)")
    attacking.add_argument("--markdown", type=Path, metavar="FILE", help="write the result as Markdown too")
    attacking.set_defaults(command=_attack)


def _attack(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.attacking import attack_project, flips_check, show, write_markdown
    from prefect_ratify.store import require_writable

    require_writable(options.markdown)
    attacks = attack_project(options.folder, options.judge, options.clause, options.limit)
    show(attacks)
    if options.markdown:
        write_markdown(options.markdown, attacks)
    return 1 if flips_check(attacks) else 0
