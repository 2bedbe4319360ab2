"""Markdown of foreign text, for whatever is written for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prefect_ratify.errors import readable


def escaped(text: str) -> str:
    """Foreign text for a Markdown table: no markup of its own, no line breaks, no HTML."""
    flat = " ".join(readable(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", flat)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
