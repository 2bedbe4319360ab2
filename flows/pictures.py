"""Inline SVG for the report: dots with intervals, and a training loss. No drawing library, no script.

Lanes have no viewBox: places are percentages, so that text and markers keep their size on a
phone. Colours are classes, which the page's style sheet sets for light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
OTHER_SHAPE = "M-5,-1.5h10v3h-10z"


@dataclass(frozen=True)
class Dot:
    """One condition's estimate, to be drawn in a lane of its own."""

    condition: str
    label: str
    interval: Interval


def lanes(name: str, dots: Sequence[Dot]) -> Markup:
    """One clause: for each condition a dot with its interval on a line from 0 to 100 %."""
    height = LANE_HEIGHT * len(dots) + 6
    spoken = f"{name}: " + "; ".join(f"{dot.label} {_spoken(dot.interval)}" for dot in dots)
    drawn = [_lane(dot, LANE_HEIGHT * i + LANE_HEIGHT / 2 + 3) for i, dot in enumerate(dots)]
    return Markup(
        '<svg class="lanes" width="100%" height="{height}" role="img" aria-label="{spoken}">'
        "<title>{name}</title>{grid}{drawn}</svg>"
    ).format(height=height, spoken=spoken, name=name, grid=_grid(height), drawn=Markup("").join(drawn))


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


def marker(condition: str) -> Markup:
    """A condition's marker alone, for legends and headings."""
    return Markup('<svg class="key" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{}</svg>').format(
        _shape(condition)
    )


def loss_curve(points: Sequence[tuple[float, float]]) -> Markup:
    """Training loss by step, as a line; empty for fewer than two points."""
    if len(points) < 2:
        return Markup("")
    width, height, left, bottom = 480, 180, 40, 152
    first, last, most = points[0][0], points[-1][0], max(loss for _, loss in points) or 1.0
    places = [
        (left + (step - first) / ((last - first) or 1) * (width - left - 10), bottom - loss / most * (bottom - 12))
        for step, loss in points
    ]
    spoken = f"Training loss from {points[0][1]:.2f} at step {first:.0f} to {points[-1][1]:.2f} at step {last:.0f}"
    return Markup(
        '<svg class="loss" viewBox="0 0 {w} {h}" role="img" aria-label="{spoken}"><title>{spoken}</title>'
        '<line class="grid" x1="{l}" x2="{w}" y1="{b}" y2="{b}"/><line class="grid" x1="{l}" x2="{w}" y1="12" y2="12"/>'
        '<text x="34" y="16" text-anchor="end">{most:.1f}</text><text x="34" y="{zero}" text-anchor="end">0</text>'
        '<text x="{l}" y="172">step {first:.0f}</text><text x="{end}" y="172" text-anchor="end">step {last:.0f}</text>'
        '<polyline points="{line}"/></svg>'
    ).format(
        w=width, h=height, l=left, b=bottom, zero=bottom + 4, end=width - 10, spoken=spoken, most=most, first=first,
        last=last, line=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
    )  # fmt: skip


def _lane(dot: Dot, y: float) -> Markup:
    value, low, high = dot.interval.value, dot.interval.low, dot.interval.high
    if value is None or low is None or high is None:
        return Markup('<text class="none" x="0" y="{}">{}: nothing decided</text>').format(y + 4, dot.label)
    return Markup(
        '<g class="lane {kind}"><title>{label}: {spoken}</title>'
        '<line class="interval" x1="{low:.1f}%" x2="{high:.1f}%" y1="{y}" y2="{y}"/>'
        '<svg x="{value:.1f}%" y="{y}" width="1" height="1" overflow="visible">{shape}</svg>'
        '<text class="value" x="100%" dx="44" y="{base}" text-anchor="end">{value:.0f}</text></g>'
    ).format(
        kind=_kind(dot.condition),
        label=dot.label,
        spoken=_spoken(dot.interval),
        low=low * 100,
        high=high * 100,
        value=value * 100,
        y=y,
        base=y + 4,
        shape=_shape(dot.condition),
    )


def _grid(height: int) -> Markup:
    lines = [Markup('<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="{y}"/>').format(x=x, y=height) for x in TICKS]
    return Markup("").join(lines)


def _shape(condition: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(_kind(condition), SHAPES.get(condition, OTHER_SHAPE))


def _kind(condition: str) -> str:
    return f"c-{condition}" if condition in SHAPES else "c-other"


def _spoken(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return "nothing decided"
    return f"{interval.value * 100:.0f} % (95 % interval {interval.low * 100:.0f} to {interval.high * 100:.0f})"
