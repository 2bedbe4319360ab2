"""Variants as a comment on a pull request: a table of clauses and versions, the wordings, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_ratify.flows.markdown import escaped, percent
from prefect_ratify.flows.pages import signed_points
from prefect_ratify.flows.regressing import Bench
from prefect_ratify.flows.regression_page import SPLITS
from prefect_ratify.flows.regression_words import arrow
from prefect_ratify.flows.variants import Tried
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
from prefect_ratify.scenarios.comparing import ALL
from prefect_ratify.scenarios.statistics import Interval

TONES = {"deleted": "~~{}~~", "inserted": "**{}**"}


def markdown(versions: Versions, bench: Bench, tried: Tried) -> str:
    """The whole comment."""
    return "\n".join(_lines(versions, bench, tried)) + "\n"


def _lines(versions: Versions, bench: Bench, tried: Tried) -> Iterator[str]:
    yield f"## {escaped(versions.policy.title)}: the draft and {', '.join(map(escaped, tried.names[1:]))}"
    yield ""
    yield f"{tried.regression.scenarios} {SPLITS[tried.regression.split]}; 95 % intervals over scenarios."
    yield ""
    yield from _listed(notices(versions, bench))
    yield "| clause | " + " | ".join(map(escaped, tried.names)) + " | |"
    yield "|---" * (len(tried.names) + 2) + "|"
    for best in tried.best:
        name = f"**{ALL}**" if best.clause_id == ALL else escaped(best.clause_id)
        cells = [_cell(version, best.clause_id, tried) for version in tried.names]
        yield f"| {name} | {' | '.join(cells)} | {escaped(told_best(best, versions))} |"
    yield ""
    yield from _wordings(versions, tried)
    for name in tried.names[1:]:
        yield f"**{escaped(name)}**: {escaped(sums(tried, name))}"
        yield ""
        yield from _listed(pairs(tried, name))
    yield "> [!NOTE]"
    yield from (f"> - {escaped(told)}" for told in cautions(tried))
    yield ""
    for command, purpose in next_steps(bench.project.folder, versions, tried):
        yield f"{escaped(purpose)}:"
        yield ""
        yield f"    {' '.join(command.split())}"
        yield ""


def _cell(name: str, clause_id: str, tried: Tried) -> str:
    rate = tried.rate(name, clause_id)
    parts = [percent(rate.interval), undecided(rate)]
    if name != DRAFT:
        d = tried.difference(DRAFT, name, clause_id)
        parts.append(f"{arrow(d)} {_points(d.interval)} {d.finding}".strip())
    return "<br>".join(part for part in parts if part)


def _points(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return ""
    return f"{signed_points(interval.value)} \\[{signed_points(interval.low)}, {signed_points(interval.high)}\\]"


def _wordings(versions: Versions, tried: Tried) -> Iterator[str]:
    yield "<details><summary>The wordings, and what differs from the draft's</summary>"
    yield ""
    for clause_id in versions.yardstick.clause_ids:
        for name in tried.names:
            pieces = wording(versions, name, clause_id)
            if pieces:
                yield f"- **{escaped(clause_id)}**, {escaped(name)}: {' '.join(_marked(piece) for piece in pieces)}"
    yield ""
    yield "</details>"
    yield ""


def _marked(piece: Piece) -> str:
    return TONES.get(piece.tone, "{}").format(escaped(piece.text)) if piece.text.strip() else ""


def _listed(sentences: list[str]) -> Iterator[str]:
    if sentences:
        yield from (f"- {escaped(told)}" for told in sentences)
        yield ""
