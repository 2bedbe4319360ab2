"""Inline SVG for the report: dots with intervals, and a training loss. No drawing library, no script.

Lanes have no viewBox: places are percentages, so that text and markers keep their size on a
phone. Colours are classes, which the page's style sheet sets for light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

from markupsafe import Markup

from prefect_ratify.scenarios.statistics import Interval

LANE_HEIGHT = 18
TICKS = (0, 25, 50, 75, 100)
# Shapes differ as well as colours, for readers who see no colours and for grey prints.
SHAPES = {
    "base": "M0,-5a5,5 0 1,0 .01,0z",
    "draft": "M-5.5,-4.5h11l-5.5,9.5z",
    "refined": "M-4.5,-4.5h9v9h-9z",
    "examples": "M-5.5,4.5h11l-5.5,-9.5z",
    "finetuned": "M0,-6.5l6.5,6.5l-6.5,6.5l-6.5,-6.5z",
}
# For conditions of other names, in the order in which they come.
OTHER_SHAPES = {
    "other": "M-1.7,-5.5h3.4v3.8h3.8v3.4h-3.8v3.8h-3.4v-3.8h-3.8v-3.4h3.8z",
    "second": "M-5.5,-3l2.5,-2.5l3,3l3,-3l2.5,2.5l-3,3l3,3l-2.5,2.5l-3,-3l-3,3l-2.5,-2.5l3,-3z",
    "third": "M-5,-5.5h10l-5,5.5l5,5.5h-10l5,-5.5z",
    "fourth": "M-2.2,-6h4.4v12h-4.4z",
}
ALL_SHAPES = {**SHAPES, **OTHER_SHAPES}
ARROW_HEADS = Markup(
    '<svg class="heads" width="0" height="0" aria-hidden="true"><defs>'
    '<marker id="better" class="better" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0,0L8,4L0,8z"/></marker>'
    '<marker id="worse" class="worse" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0,0L8,4L0,8z"/></marker></defs></svg>'
)  # once on a page that has lanes with arrows


@dataclass(frozen=True)
class Dot:
    """One condition's estimate, to be drawn in a lane of its own; `look` is one of `looks`."""

    look: str
    label: str
    interval: Interval


@dataclass(frozen=True)
class Arrow:
    """What moved from one lane to another, by their places, and whether for the better."""

    first: int
    second: int
    finding: Literal["better", "worse"]


def looks(conditions: Sequence[str]) -> dict[str, str]:
    """A shape and colour for each condition: those of its style, where that is known and free, or spare ones."""
    found: dict[str, str] = {}
    for condition in conditions:
        style = condition.partition(" on ")[0].partition("@")[0].strip()
        if style in SHAPES and style not in found.values():
            found[condition] = style
    others = [condition for condition in conditions if condition not in found]
    spare = [*OTHER_SHAPES, *(style for style in SHAPES if style not in found.values())]
    found.update(zip(others, cycle(spare), strict=False))
    return found


def lanes(name: str, dots: Sequence[Dot], arrows: Sequence[Arrow] = ()) -> Markup:
    """One clause: for each condition a dot with its interval on a line from 0 to 100 %, and arrows for what moved."""
    height = LANE_HEIGHT * len(dots) + 6
    spoken = f"{name}: " + "; ".join(f"{dot.label} {_spoken(dot.interval)}" for dot in dots)
    drawn = [lane(dot, _height(i)) for i, dot in enumerate(dots)]
    moved = [_arrow(dots, arrow) for arrow in arrows]
    return Markup(
        '<svg class="lanes" width="100%" height="{height}" role="img" aria-label="{spoken}">'
        "<title>{name}</title>{grid}{moved}{drawn}</svg>"
    ).format(
        height=height, spoken=spoken, name=name, grid=grid(height), moved=Markup("").join(moved),
        drawn=Markup("").join(drawn),
    )  # fmt: skip


def axis() -> Markup:
    """The percentages under the lanes."""
    labels = [
        Markup('<text x="{x}%" y="13" text-anchor="middle">{x}{unit}</text>').format(
            x=x, unit="\u00a0%" if x == 100 else ""
        )
        for x in TICKS
    ]
    return Markup('<svg class="lanes" width="100%" height="18" aria-hidden="true">{}</svg>').format(
        Markup("").join(labels)
    )


def marker(look: str) -> Markup:
    """A condition's marker alone, for legends and headings."""
    return Markup('<svg class="key" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{}</svg>').format(
        _shape(look)
    )


def curve(name: str, points: Sequence[tuple[float, float]]) -> Markup:
    """A number of the training by step, as a line; empty for fewer than two points."""
    if len(points) < 2:
        return Markup("")
    width, height, left, bottom = 480, 180, 40, 152
    first, last = points[0][0], points[-1][0]
    least, most = min(0.0, *(value for _, value in points)), max(0.0, *(value for _, value in points))
    reach = (most - least) or 1.0
    places = [
        (
            left + (step - first) / ((last - first) or 1) * (width - left - 10),
            bottom - (value - least) / reach * (bottom - 12),
        )
        for step, value in points
    ]
    spoken = f"{name} from {points[0][1]:.2f} at step {first:.0f} to {points[-1][1]:.2f} at step {last:.0f}"
    return Markup(
        '<svg class="loss" viewBox="0 0 {w} {h}" role="img" aria-label="{spoken}"><title>{spoken}</title>'
        '<line class="grid" x1="{l}" x2="{w}" y1="{b}" y2="{b}"/><line class="grid" x1="{l}" x2="{w}" y1="12" y2="12"/>'
        '<text x="34" y="16" text-anchor="end">{most:.1f}</text>'
        '<text x="34" y="{zero}" text-anchor="end">{least:.1f}</text>'
        '<text x="{l}" y="172">step {first:.0f}</text><text x="{end}" y="172" text-anchor="end">step {last:.0f}</text>'
        '<polyline points="{line}"/></svg>'
    ).format(
        w=width, h=height, l=left, b=bottom, zero=bottom + 4, end=width - 10, spoken=spoken, most=most, least=least,
        first=first, last=last, line=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
    )  # fmt: skip


def lane(dot: Dot, y: float) -> Markup:
    """A dot with its interval at a height of a picture."""
    value, low, high = dot.interval.value, dot.interval.low, dot.interval.high
    if value is None or low is None or high is None:
        return Markup('<text class="none" x="0" y="{}">{}: nothing decided</text>').format(y + 4, dot.label)
    return Markup(
        '<g class="lane {kind}"><title>{label}: {spoken}</title>'
        '<line class="interval" x1="{low:.1f}%" x2="{high:.1f}%" y1="{y}" y2="{y}"/>'
        '<svg x="{value:.1f}%" y="{y}" width="1" height="1" overflow="visible">{shape}</svg>'
        '<text class="value" x="100%" dx="44" y="{base}" text-anchor="end">{value:.0f}</text></g>'
    ).format(
        kind=_kind(dot.look),
        label=dot.label,
        spoken=_spoken(dot.interval),
        low=low * 100,
        high=high * 100,
        value=value * 100,
        y=y,
        base=y + 4,
        shape=_shape(dot.look),
    )


def grid(height: int) -> Markup:
    """The lines behind lanes, at the ticks of the axis."""
    lines = [Markup('<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="{y}"/>').format(x=x, y=height) for x in TICKS]
    return Markup("").join(lines)


def _arrow(dots: Sequence[Dot], arrow: Arrow) -> Markup:
    before, after = dots[arrow.first].interval.value, dots[arrow.second].interval.value
    if before is None or after is None:
        return Markup("")
    return Markup(
        '<line class="moved {finding}" x1="{x1:.1f}%" y1="{y1}" x2="{x2:.1f}%" y2="{y2}" marker-end="url(#{finding})"/>'
    ).format(
        finding=arrow.finding,
        x1=before * 100,
        y1=_height(arrow.first),
        x2=after * 100,
        y2=_height(arrow.second) - 6 if arrow.first < arrow.second else _height(arrow.second) + 6,
    )


def _height(place: int) -> float:
    return LANE_HEIGHT * place + LANE_HEIGHT / 2 + 3


def _shape(look: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(_kind(look), ALL_SHAPES.get(look, ALL_SHAPES["other"]))


def _kind(look: str) -> str:
    return f"c-{look}" if look in ALL_SHAPES else "c-other"


def _spoken(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return "nothing decided"
    return f"{interval.value * 100:.0f} % (95 % interval {interval.low * 100:.0f} to {interval.high * 100:.0f})"
