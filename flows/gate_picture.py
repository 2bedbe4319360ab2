"""A comparison as one small picture that stands alone, for a Markdown artifact."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from markupsafe import Markup

from prefect_ratify.scenarios.comparing import Comparison
from prefect_ratify.scenarios.statistics import Interval

WIDTH, LEFT, ROW, DOT = 720, 170, 30, 5
COLOURS = ("#6b7280", "#0b63ce")  # told apart in grey prints too: the first is drawn hollow


def comparison_picture(comparison: Comparison) -> str:
    """Markdown of an image: for each clause both conditions' rates with their intervals."""
    names = (comparison.first, comparison.second)
    found = {(rate.condition, rate.clause_id): rate.interval for rate in comparison.rates}
    clause_ids = [difference.clause_id for difference in comparison.differences]
    drawn = _svg(names, clause_ids, found)
    encoded = base64.b64encode(str(drawn).encode()).decode()
    return f"![Clauses upheld: {names[0]} and {names[1]}](data:image/svg+xml;base64,{encoded})"


def _svg(names: tuple[str, str], clause_ids: Sequence[str], found: dict[tuple[str, str], Interval]) -> Markup:
    height = ROW * len(clause_ids) + 54
    rows = [_row(names, clause_id, found, 40 + ROW * place) for place, clause_id in enumerate(clause_ids)]
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
        a=LEFT, b=LEFT + 12, c=COLOURS[0], d=LEFT + 190, e=LEFT + 202, f=COLOURS[1], first=names[0], second=names[1]
    )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        'font-family="sans-serif" font-size="13" fill="#111827"><rect width="{w}" height="{h}" fill="white"/>'
        "{grid}{legend}{rows}</svg>"
    ).format(w=WIDTH, h=height, grid=Markup("").join(grid), legend=legend, rows=Markup("").join(rows))


def _row(names: tuple[str, str], clause_id: str, found: dict[tuple[str, str], Interval], y: int) -> Markup:
    label = Markup('<text x="{x}" y="{y}" text-anchor="end">{text}</text>').format(x=LEFT - 12, y=y + 8, text=clause_id)
    dots = [
        _dot(found[name, clause_id], colour, y + 9 * place, hollow=place == 0)
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True))
        if (name, clause_id) in found
    ]
    return label + Markup("").join(dots)


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
    return round(LEFT + share * (WIDTH - LEFT - 40), 1)
