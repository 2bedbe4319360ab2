"""How many rows each clause got, and from where, as one small picture that stands alone, for a Markdown artifact."""

from __future__ import annotations

import base64

from markupsafe import Markup

from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.origins import WRITTEN
from prefect_ratify.flows.gate_picture import LEFT, RIGHT, ROW, WIDTH, short

NO_CLAUSE = "no clause"
TONES = {"asked as people wrote it": "#0b63ce", "varied by a machine": "#93c5fd"}  # told apart in grey prints too


def rows_picture(counts: DataCounts) -> str:
    """Markdown of an image: a bar for each clause, and one for the rows that no clause is about."""
    bars = {clause_id: _split(by_origin) for clause_id, by_origin in counts.by_clause.items()}
    bars[NO_CLAUSE] = _no_clause(counts)
    if not any(map(sum, bars.values())):
        return ""
    encoded = base64.b64encode(str(_svg(bars)).encode()).decode()
    return f"![Rows by clause](data:image/svg+xml;base64,{encoded})"


def _split(by_origin: dict[str, int]) -> tuple[int, int]:
    written = by_origin.get(WRITTEN, 0)
    return written, sum(by_origin.values()) - written


def _no_clause(counts: DataCounts) -> tuple[int, int]:
    """Requests that the policy is not about: the unrelated ones, which are people's, and look-alikes."""
    return counts.retained, counts.by_origin.get("look-alike", 0)


def _svg(bars: dict[str, tuple[int, int]]) -> Markup:
    longest = max(map(sum, bars.values()))
    height = ROW * len(bars) + 44
    rows = [_bar(name, parts, longest, 34 + ROW * place) for place, (name, parts) in enumerate(bars.items())]
    legend = [
        Markup('<rect x="{x}" y="6" width="12" height="12" fill="{c}"/><text x="{t}" y="17">{name}</text>').format(
            x=LEFT + 210 * place, t=LEFT + 18 + 210 * place, c=tone, name=name
        )
        for place, (name, tone) in enumerate(TONES.items())
    ]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        'font-family="sans-serif" font-size="13" fill="#111827"><rect width="{w}" height="{h}" fill="white"/>'
        "{legend}{rows}</svg>"
    ).format(w=WIDTH, h=height, legend=Markup("").join(legend), rows=Markup("").join(rows))


def _bar(name: str, parts: tuple[int, int], longest: int, y: int) -> Markup:
    """The name, the parts of the bar, and the number at its end."""
    scale = (WIDTH - LEFT - RIGHT) / longest
    drawn, x = [], float(LEFT)
    for count, tone in zip(parts, TONES.values(), strict=True):
        width = round(count * scale, 1)
        drawn.append(
            Markup('<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{c}"/>').format(
                x=x, y=y, w=width, h=ROW - 12, c=tone
            )
        )
        x = round(x + width, 1)
    label = Markup('<text x="{x}" y="{y}" text-anchor="end">{name}</text>').format(
        x=LEFT - 12, y=y + 13, name=short(name)
    )
    total = Markup('<text x="{x}" y="{y}">{count}</text>').format(x=x + 8, y=y + 13, count=sum(parts))
    return label + Markup("").join(drawn) + total
