"""What the HTML pages share: templates that escape all foreign text, and how numbers are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prefect_ratify.errors import readable
from prefect_ratify.flows.pictures import marker
from prefect_ratify.scenarios.statistics import Interval

SIGNS = {"upheld": "✓", "violated": "✗", "undecided": "?", "not applicable": "–"}


def templates() -> Environment:
    """The templates beside this file. A page allows no script and no outside resource."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=readable_value,
    )
    environment.filters.update(
        percent=percent, reach=reach, gap=gap, gap_reach=gap_reach, signed=signed_points, day=day
    )
    environment.globals.update(marker=marker, signs=SIGNS)
    return environment


def readable_value(value: Any) -> Any:
    """A value for the page; text without what no reader sees."""
    return type(value)(readable(value)) if isinstance(value, str) else value


def percent(share: float | None) -> str:
    """`54 %`, or a dash."""
    return "–" if share is None else f"{share * 100:.0f}\u00a0%"


def reach(interval: Interval) -> str:
    """A rate's interval: `40–68`; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low * 100:.0f}–{interval.high * 100:.0f}"


def gap(interval: Interval) -> str:
    """A difference in percentage points: `+9 points`."""
    return "–" if interval.value is None else f"{signed_points(interval.value)}\u00a0points"


def gap_reach(interval: Interval) -> str:
    """A difference's interval in percentage points: `−9 to +26`; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{signed_points(interval.low)}\u00a0to\u00a0{signed_points(interval.high)}"


def day(at: str) -> str:
    """`2026-11-22 02:30 UTC` from an ISO time in UTC."""
    return f"{at[:10]} {at[11:16]} UTC"


def signed_points(share: float) -> str:
    """Whole percentage points with a sign (a true minus, which a hyphen is not): `+9`, `−3`, `0`.

    What rounds to nothing keeps its sign (`−0`): an interval that ends just short of 0 does not hold it.
    """
    sign = "0" if abs(share) < 1e-9 else "+" if share > 0 else "−"
    return sign if sign == "0" else f"{sign}{abs(round(share * 100))}"
