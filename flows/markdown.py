"""Markdown of what models and people wrote."""

from __future__ import annotations

from collections.abc import Iterable

from prefect_ratify.flows.pages import signed_points
from prefect_ratify.markdown_text import escaped, table
from prefect_ratify.scenarios.statistics import Interval

__all__ = ["escaped", "listing", "percent", "points", "table"]


def percent(interval: Interval) -> str:
    """`54% [40, 68]`, or a dash where nothing was decided."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value:.0%} [{interval.low * 100:.0f}, {interval.high * 100:.0f}]"


def points(interval: Interval) -> str:
    """`+9 [−4, +21]`, in percentage points; a dash where there is nothing to compare."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    value, low, high = (signed_points(share) for share in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def listing(sentences: Iterable[str]) -> str:
    """Foreign sentences as a list."""
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)
