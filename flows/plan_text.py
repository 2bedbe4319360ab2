"""A plan at a terminal: what a comparison would ask for, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.flows.terminal import line, table
from prefect_ratify.scenarios.planning import Plan


def show_plan(plans: Sequence[Plan]) -> None:
    """Print what a regression would ask for, condition by condition."""
    from rich.console import Console

    console = Console(highlight=False)
    names = ("", "answers\nknown", "\nto ask", "verdicts\nknown", "\nto ask", "\ntokens", "\ndollars")
    counts = [(p.answers_known, p.answers_missing, p.judgements_known, p.judgements_missing) for p in plans]
    rows = [_row(plan.condition, each, plan.tokens, plan.dollars) for plan, each in zip(plans, counts, strict=True)]
    tokens, dollars = sum(plan.tokens for plan in plans), sum(plan.dollars for plan in plans)
    rows.append(_row("total", [sum(column) for column in zip(*counts, strict=True)], tokens, dollars))
    console.print(table(names, rows))
    calls = sum(plan.calls for plan in plans)
    said = "" if not calls else f"about {tokens:,} tokens and ${dollars:.2f}; answers may turn out shorter or longer"
    console.print(line(f"{calls} calls would be made{': ' if calls else ''}{said}. Nothing was asked now.", "bold"))


def _row(name: str, counts: Sequence[int], tokens: int, dollars: float) -> list[str]:
    return [name, *map(str, counts), f"{tokens:,}", f"{dollars:.2f}"]
