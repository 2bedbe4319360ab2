"""The page of variants: one self-contained file for people, without script.

Text from models and people is untrusted: the template escapes all of it, and the page allows no script
and no outside resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from prefect_ratify import __version__
from prefect_ratify.flows.change_map import change_map
from prefect_ratify.flows.pages import templates
from prefect_ratify.flows.pictures import ARROW_HEADS, Arrow, Dot, axis, lanes, looks
from prefect_ratify.flows.regressing import Bench
from prefect_ratify.flows.regression_page import SPLITS
from prefect_ratify.flows.regression_words import arrow, rows_of, verdicts_of
from prefect_ratify.flows.variants import Best, Tried
from prefect_ratify.flows.variants_markdown import markdown as as_markdown
from prefect_ratify.flows.variants_words import (
    cautions,
    next_steps,
    notices,
    pairs,
    sums,
    told_best,
    undecided,
    wording,
)
from prefect_ratify.flows.versions import DRAFT, Versions
from prefect_ratify.flows.word_difference import Piece
from prefect_ratify.records import Response, Verdict
from prefect_ratify.scenarios.comparing import ALL, Difference, Rate
from prefect_ratify.store import read_records, write_for_people


@dataclass(frozen=True)
class Row:
    """A version on a clause: its rate, what it differs by from the draft, its wording where it has one of its own."""

    name: str
    rate: Rate
    difference: Difference | None
    pieces: Sequence[Piece] | None


@dataclass(frozen=True)
class Section:
    """A clause: what is best, a picture of all versions, and a row for each."""

    best: Best
    told: str
    picture: Markup
    rows: list[Row]


def page(
    versions: Versions, bench: Bench, tried: Tried, responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> str:
    """The whole page, as HTML."""
    environment = templates()
    environment.globals.update(arrow=arrow, undecided=undecided, all_clauses=ALL)
    names, policy = tried.names, versions.yardstick
    accounts = [measured.account for measured in tried.regression.conditions]
    comparisons = [comparison for comparison in tried.comparisons if comparison.first == DRAFT]
    return environment.get_template("variants.html.jinja").render(
        regression=tried.regression,
        policy=policy,
        version=__version__,
        names=names,
        looks=looks(names),
        measured=SPLITS[tried.regression.split],
        heads=ARROW_HEADS,
        axis=axis(),
        notices=notices(versions, bench),
        sections=[_section(best, versions, tried) for best in tried.best],
        together=[(name, sums(tried, name), pairs(tried, name)) for name in names[1:]],
        cautions=cautions(tried),
        steps=next_steps(bench.project.folder, versions, tried),
        maps=[
            (each.second, change_map(each, policy, bench.scenarios, responses, verdicts, prefix=f"m{number}"))
            for number, each in enumerate(comparisons)
        ],
        counted={"answers": rows_of(accounts), "verdicts": verdicts_of(accounts)},
    )


def write_pages(versions: Versions, bench: Bench, tried: Tried, *, html: Path | None, markdown: Path | None) -> None:
    """Write the page (beside what was measured, where no file is named) and, where it is wanted, the comment."""
    responses = read_records(bench.folder / "responses.jsonl", Response)
    verdicts = read_records(bench.folder / "verdicts.jsonl", Verdict)
    path = html or bench.folder / "variants.html"
    write_for_people(path, page(versions, bench, tried, responses, verdicts))
    if markdown:
        write_for_people(markdown, as_markdown(versions, bench, tried))
    print(f"Page: {path}")


def _section(best: Best, versions: Versions, tried: Tried) -> Section:
    look = looks(tried.names)
    rows = [
        Row(
            name,
            tried.rate(name, best.clause_id),
            None if name == DRAFT else tried.difference(DRAFT, name, best.clause_id),
            wording(versions, name, best.clause_id),
        )
        for name in tried.names
    ]
    dots = [Dot(look[row.name], row.name, row.rate.interval) for row in rows]
    arrows = [
        Arrow(0, place, "better" if row.difference.finding == "better" else "worse")
        for place, row in enumerate(rows)
        if row.difference is not None and arrow(row.difference)
    ]
    return Section(best, told_best(best, versions), lanes(best.clause_id, dots, arrows), rows)
