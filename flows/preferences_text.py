"""What explains preference pairs, in Markdown and in lines for the terminal.

Principles are a model's words: escaped in Markdown, and on one line without control characters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.drafting import next_steps
from prefect_ratify.flows.inverting import Data, Found, Matched, Taught
from prefect_ratify.flows.markdown import escaped, percent, table
from prefect_ratify.scenarios.explaining import Explained, Together
from prefect_ratify.scenarios.statistics import Interval

if TYPE_CHECKING:
    from prefect_ratify.flows.importing_preferences import Draft

SHOWN = 10  # principles at the terminal; principles.md has all
SHOWN_TEXT = 200  # characters of a principle there
HEAD = ("right", "wrong", "neither", "undecided", "right alone", "accuracy", "standing")
MEANING = (
    "A principle is right on a pair where the model, asked in both orders which response it prefers, names the chosen "
    "one. Accuracy is over the pairs in which it prefers one, with a 95 % interval over conversations. It explains (or "
    "contradicts) the pairs where that differs from one half: a paired permutation test, adjusted over all that were "
    "tested (Benjamini and Hochberg). After Findeis et al. 2024 (arXiv 2406.06560)."
)


def figures_words(figures: Explained, held_out: Interval | None = None) -> str:
    """What a principle is right on, and on how many pairs no other is; and its accuracy on those held out."""
    told = f"right on {figures.right} of {figures.bears_on} pairs that it bears on, {percent(figures.accuracy)}"
    told += f", on {figures.alone} of them alone" if figures.standing == "explains" else ""
    return told if held_out is None else f"{told}; on held-out pairs {percent(held_out)}"


def told_draft(draft: Draft, folder: Path) -> list[str]:
    """The lines that an import ends with."""
    first, *rest = [*_counts(draft.data, draft.found), *_principles(draft.found)]
    written = [one_line(line) for line in _written(draft, folder)]
    return [one_line(first), *(f"  {one_line(line)}" for line in rest), *written]


def told_against(data: Data, found: Found) -> list[str]:
    """The lines that a check against a policy ends with."""
    first, *rest = [*_counts(data, found), *_principles(found), *map(_matched, found.matched)]
    return [one_line(first), *(f"  {one_line(line)}" for line in rest), *map(one_line, _taught(found))]


def markdown(data: Data, found: Found) -> str:
    """Every principle with its figures and, where clauses were held against the pairs, every clause with its own."""
    parts = [f"# What explains {escaped(data.source.name)}"]
    parts.append("\n".join(f"- {escaped(line)}" for line in (*_opening(data, found), _whole(found.whole))))
    rows = [
        [escaped(each.figures.text), str(each.proposals), *_cells(each.figures), _held_out(each.held_out)]
        for each in found.tested
    ]
    head = ["principle", "proposed", *HEAD, "held out"]
    parts.append(f"## Principles\n\n{table(head, rows) if rows else 'None.'}\n\n{escaped(MEANING)}")
    if found.taught:
        rows = [[escaped(each.clause_id), *_cells(each.figures)] for each in found.taught]
        listed = "\n".join(f"- {escaped(line)}" for line in (*map(_matched, found.matched), *_unclear(found)))
        body = table(["clause", *HEAD], rows)
        parts.append(f"## Clauses\n\n{body}\n\n{listed}")
    return "\n\n".join(parts) + "\n"


def _counts(data: Data, found: Found) -> Iterator[str]:
    yield from _opening(data, found)
    yield f"{found.asked} calls were made now"
    if found.failed:
        yield f"{found.failed} calls got no answer, and leave what they are about undecided; run it again"


def _opening(data: Data, found: Found) -> Iterator[str]:
    read = data.read
    yield (
        f"{data.source.name}: {read.rows} rows, {len(read.pairs)} pairs; {len(data.develop)} to propose and test, "
        f"{len(data.held_out)} held out, {len(read.pairs) - len(data.develop) - len(data.held_out)} not used (--limit)"
    )
    for reason, places in read.refused.items():
        yield f"rows that are no pair, {len(places)}: {reason} (first {places[0]})"
    yield (
        f"{found.proposals} proposals, {found.distinct} distinct principles, {len(found.tested)} tested, "
        f"{found.kept} kept"
    )
    for reason, count in found.refused.items():
        yield f"proposals of no use, {count}: {reason}"


def _principles(found: Found) -> Iterator[str]:
    for each in found.tested[: min(found.kept, SHOWN)]:
        yield f"{one_line(each.figures.text, SHOWN_TEXT)} ({figures_words(each.figures, each.held_out)})"
    for each in found.tested:
        if each.figures.standing == "contradicts":
            text = one_line(each.figures.text, SHOWN_TEXT)
            yield f"the pairs say the opposite of: {text} ({figures_words(each.figures)})"
    yield _whole(found.whole)


def _whole(whole: Together) -> str:
    return (
        f"together, by majority, on held-out pairs: right on {whole.right} of {whole.right + whole.wrong}, "
        f"{percent(whole.accuracy)}; {whole.even} even, {whole.none} on which none bears (by chance: 50%)"
    )


def _matched(each: Matched) -> str:
    agree = f"they prefer the same response in {each.same} of {each.both} pairs" if each.both else "no pair has both"
    clause = f"the clause {each.clause_id} (cosine {each.similarity:.2f})"
    return f"nearest to “{one_line(each.text, SHOWN_TEXT)}” is {clause}; {agree}"


def _taught(found: Found) -> Iterator[str]:
    for each in found.taught:
        yield f"{each.clause_id}: {each.figures.standing}; {figures_words(each.figures)}"
    yield from _unclear(found)


def _unclear(found: Found) -> Iterator[str]:
    """The clauses that no pair is shown to teach."""
    against = [each.clause_id for each in found.taught if each.figures.standing == "contradicts"]
    if against:
        yield f"the pairs teach the opposite of: {', '.join(against)}"
    silent = [each for each in found.taught if each.figures.standing == "not shown"]
    if silent:
        yield f"not shown to be taught: {', '.join(map(_why_silent, silent))}"


def _why_silent(each: Taught) -> str:
    figures = each.figures
    undecided = f", and is undecided on {figures.undecided}" if figures.undecided else ""
    return each.clause_id if figures.bears_on else f"{each.clause_id} (it bears on no pair{undecided})"


def _written(draft: Draft, folder: Path) -> Iterator[str]:
    count = len(draft.policy.clauses)
    what = f"{count} clause{'' if count == 1 else 's'}"
    yield f"{folder / 'policy.md'}: {what}, for people to take, reword or throw out"
    if draft.kept:
        yield f"the former policy is kept in {draft.kept}"
    what = "requests of the data set, which nobody has looked at" if draft.starter else "scenarios stay as they were"
    yield f"{folder / 'scenarios.yaml'}: {draft.scenarios} {what}"
    if not draft.scenarios:
        yield "no request of the data set fits: write scenarios before you go on"
    yield f"{folder / 'principles.md'}: every principle that was tested; principles.jsonl for machines"
    yield next_steps(folder)


def _cells(figures: Explained) -> list[str]:
    counts = (figures.right, figures.wrong, figures.neither, figures.undecided, figures.alone)
    return [*map(str, counts), escaped(percent(figures.accuracy)), figures.standing]


def _held_out(interval: Interval | None) -> str:
    return "" if interval is None else escaped(percent(interval))
