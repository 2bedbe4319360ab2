"""A picture of what responses are worth to one juror: not the mean alone, but how many are worth how much."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from prefect_ratify.flows.pictures import Dot, grid, lane

TALLEST, ROW = 26, 50  # pixels: the tallest bar, and the room of a condition
WIDTH = 4  # percent of the line: a bar, where tenths lie 10 apart


def tenths(name: str, rows: Sequence[tuple[Dot, Sequence[int]]]) -> Markup:
    """For each condition its responses by worth, 0 … 10 tenths, as bars; under them their mean with its interval.

    The bars of a condition are scaled to its tallest, so that conditions with fewer responses show as well.
    """
    height = ROW * len(rows) + 4
    spoken = f"{name}: " + "; ".join(f"{dot.label} {_spoken(counts)}" for dot, counts in rows)
    drawn = [_row(dot, counts, ROW * place + TALLEST + 6) for place, (dot, counts) in enumerate(rows)]
    return Markup(
        '<svg class="lanes tenths" width="100%" height="{height}" role="img" aria-label="{spoken}">'
        "<title>{name}</title>{grid}{drawn}</svg>"
    ).format(height=height, spoken=spoken, name=name, grid=grid(height), drawn=Markup("").join(drawn))


def worth(share: float) -> Markup:
    """What one response is worth to one juror, as a bar; the number stands beside it."""
    return Markup(
        '<svg class="worth" width="100%" height="8" aria-hidden="true"><rect class="all" width="100%" height="8"/>'
        '<rect width="{:.1f}%" height="8"/></svg>'
    ).format(share * 100)


def _row(dot: Dot, counts: Sequence[int], base: int) -> Markup:
    most = max(counts, default=0)
    bars = [_bar(dot, place, count, most, base) for place, count in enumerate(counts) if count]
    return Markup('<g class="c-{}">{}</g>{}').format(dot.look, Markup("").join(bars), lane(dot, base + 9))


def _bar(dot: Dot, place: int, count: int, most: int, base: int) -> Markup:
    tall = max(2.0, TALLEST * count / most)
    return Markup(
        '<rect x="{x}%" width="{width}%" y="{y:.1f}" height="{tall:.1f}"><title>{label}: {told}</title></rect>'
    ).format(
        x=place * 10 - WIDTH / 2, width=WIDTH, y=base - tall, tall=tall, label=dot.label, told=_counted(place, count)
    )


def _spoken(counts: Sequence[int]) -> str:
    return ", ".join(_counted(place, count) for place, count in enumerate(counts) if count) or "nothing decided"


def _counted(place: int, count: int) -> str:
    return f"{count} worth about {place * 10} %"
