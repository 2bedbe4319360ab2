"""A comparison as one small picture that stands alone, for a Markdown artifact."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from markupsafe import Markup

from prefect_ratify.flows.pages import signed_points
from prefect_ratify.flows.regression_words import arrow
from prefect_ratify.scenarios.comparing import Comparison, Difference
from prefect_ratify.scenarios.statistics import Interval

WIDTH, LEFT, RIGHT, ROW, DOT = 780, 170, 100, 30, 5
COLOURS = ("#6b7280", "#0b63ce")  # told apart in grey prints too: the first is drawn hollow
LONGEST_NAME = 24
MOVED = {"better": "#0072b2", "worse": "#b84e00"}


def comparison_picture(comparison: Comparison) -> str:
    """Markdown of an image: for each clause both conditions' rates with their intervals, and what moved."""
    names = (comparison.first, comparison.second)
    found = {(rate.condition, rate.clause_id): rate.interval for rate in comparison.rates}
    drawn = _svg(names, comparison.differences, found)
    alt = re.sub(r"[^\w .@:/-]", "_", f"{names[0]} and {names[1]}")  # a name must not end the image's text
    encoded = base64.b64encode(str(drawn).encode()).decode()
    return f"![Clauses upheld: {alt}](data:image/svg+xml;base64,{encoded})"


def _svg(names: tuple[str, str], differences: Sequence[Difference], found: dict[tuple[str, str], Interval]) -> Markup:
    height = ROW * len(differences) + 54
    rows = [_row(names, d, found, 40 + ROW * place) for place, d in enumerate(differences)]
    grid = [
        Markup(
            '<path d="M{x},26V{y}" stroke="#d1d5db"/><text x="{x}" y="{t}" text-anchor="middle">{share} %</text>'
        ).format(x=_x(share / 100), y=height - 24, t=height - 8, share=share)
        for share in (0, 25, 50, 75, 100)
    ]
    legend = Markup(
        '<circle cx="{a}" cy="12" r="5" fill="white" stroke="{c}" stroke-width="2"/><text x="{b}" y="16">{first}</text>'
        '<circle cx="{d}" cy="12" r="5" fill="{f}"/><text x="{e}" y="16">{second}</text>'
    ).format(
        a=LEFT,
        b=LEFT + 12,
        c=COLOURS[0],
        d=LEFT + 190,
        e=LEFT + 202,
        f=COLOURS[1],
        first=short(names[0]),
        second=short(names[1]),
    )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        'font-family="sans-serif" font-size="13" fill="#111827"><rect width="{w}" height="{h}" fill="white"/>'
        "{grid}{legend}{rows}</svg>"
    ).format(w=WIDTH, h=height, grid=Markup("").join(grid), legend=legend, rows=Markup("").join(rows))


def _row(names: tuple[str, str], d: Difference, found: dict[tuple[str, str], Interval], y: int) -> Markup:
    label = Markup('<text x="{x}" y="{y}" text-anchor="end">{text}</text>').format(
        x=LEFT - 12, y=y + 8, text=short(d.clause_id)
    )
    dots = [
        _dot(found[name, d.clause_id], colour, y + 9 * place, hollow=place == 0)
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True))
        if (name, d.clause_id) in found
    ]
    return label + Markup("").join(dots) + _moved(d, y + 8)


def _moved(d: Difference, y: int) -> Markup:
    """The difference in points, with an arrow where it is one."""
    if d.interval.value is None:
        return Markup("")
    text = f"{arrow(d)} {signed_points(d.interval.value)}".strip()
    weight = "bold" if arrow(d) else "normal"
    return Markup('<text x="{x}" y="{y}" fill="{c}" font-weight="{w}">{text}</text>').format(
        x=WIDTH - RIGHT + 24, y=y, c=MOVED.get(d.finding, "#6b7280"), w=weight, text=text
    )


def _dot(interval: Interval, colour: str, y: int, *, hollow: bool) -> Markup:
    if interval.value is None or interval.low is None or interval.high is None:
        return Markup("")
    return Markup(
        '<path d="M{low},{y}H{high}" stroke="{colour}" stroke-width="2"/>'
        '<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
    ).format(
        low=_x(interval.low), high=_x(interval.high), x=_x(interval.value), y=y, r=DOT, colour=colour,
        fill="white" if hollow else colour,
    )  # fmt: skip


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def short(name: str) -> str:
    """A clause's name, as far as there is room left of the lines."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
