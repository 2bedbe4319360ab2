"""What the data gate shows: how many rows there are of what, what was lost, and some of them to read."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED
from prefect_ratify.finetune.origins import UNRELATED, WRITTEN, origin
from prefect_ratify.finetune.row_search import AnyRow, spread_rows
from prefect_ratify.flows.data_picture import rows_picture
from prefect_ratify.flows.markdown import escaped, listing, table
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.records import Message
from prefect_ratify.store import read_record
from prefect_ratify.training_rows import Demonstration, PreferencePair

READ = 120  # rows, evenly spaced, of which those to show are chosen
SHOWN_FOR_CLAUSE, SHOWN_ELSE, SHOWN_PAIRS, MOST_SHOWN = 2, 2, 4, 24
LONGEST_TEXT = 1500  # characters; `ratify trace` has the rest


def data_summary(run: Run) -> str:
    """The numbers: rows by clause and origin, the share of retain rows, what was lost and what was found."""
    counts = read_record(run.stage_folder("generate") / "counts.json", DataCounts)
    rows = counts.demonstrations + counts.retained
    retained = f" ({counts.retained / rows:.0%} of the rows)" if rows else ""
    varied = " and variations of them" if set(counts.by_origin) - {WRITTEN, UNRELATED} else ""
    told = (
        f"{counts.demonstrations} answers to learn from {counts.scenarios} scenarios{varied}; {counts.retained} retain "
        f"rows{retained}, which are the model's own answers to unrelated requests; {counts.pairs} preference pairs."
    )
    parts = [told, rows_picture(counts), _by_clause(counts), _by_method(counts), _lost(counts)]
    return "\n\n".join(part for part in parts if part)


def data_details(run: Run) -> str:
    """Some rows of each clause, what was answered before beside what is learned, and some pairs."""
    folder = run.stage_folder("generate")
    rows = spread_rows(folder / SUPERVISED, READ)
    chosen = _chosen(rows, run.project.policy.clause_ids)
    pairs = spread_rows(folder / PREFERENCES, SHOWN_PAIRS) if (folder / PREFERENCES).is_dir() else []
    follow = "`ratify trace PROJECT ID` follows a row to its clause, the notes and the decisions."
    parts = ["## Some rows", follow, *(_row(id, row) for id, row in chosen)]
    parts += ["## Some preference pairs", *(_row(id, row) for id, row in pairs)] if pairs else []
    return "\n\n".join(parts)


def _by_clause(counts: DataCounts) -> str:
    """A row touches several clauses, so that these numbers add up to more than the rows."""
    kinds = list(dict.fromkeys(name for by_origin in counts.by_clause.values() for name in by_origin))
    rows = [
        [escaped(clause_id), *(str(by_origin.get(kind, 0)) for kind in kinds), str(counts.revised.get(clause_id, 0))]
        for clause_id, by_origin in counts.by_clause.items()
    ]
    heads = ["as people wrote it" if kind == WRITTEN else f"varied: {escaped(kind)}" for kind in kinds]
    return table(["rows that touch", *heads, "revisions by it"], rows) if rows else ""


def _by_method(counts: DataCounts) -> str:
    methods = [f"{count} by {name}" for name, count in counts.by_method.items()]
    methods += [f"{count} pairs by {name}" for name, count in counts.pairs_by_method.items()]
    return f"Made: {escaped('; '.join(methods))}." if methods else ""


def _lost(counts: DataCounts) -> str:
    lost = [f"lost: {count} × {reason}" for reason, count in sorted(counts.lost.items())]
    lost += [f"no pair: {count} × {reason}" for reason, count in sorted(counts.pairs_lost.items())]
    lost += [f"kept, but look at it: {count} × {finding}" for finding, count in sorted(counts.lint.items())]
    return listing(lost) if lost else "Nothing was lost, and lint found nothing."


def _chosen(rows: Sequence[tuple[str, AnyRow]], clause_ids: Sequence[str]) -> list[tuple[str, AnyRow]]:
    """Some for each clause, those that it revised first; then some that no clause is about."""
    left, chosen = list(rows), list[tuple[str, AnyRow]]()
    for clause_id in clause_ids:
        here = [found for found in left if clause_id in _clauses(found[1])]
        here.sort(key=lambda found: clause_id not in _revised_by(found[1]))  # stable: as they come otherwise
        chosen += here[:SHOWN_FOR_CLAUSE]
        left = [found for found in left if found not in here[:SHOWN_FOR_CLAUSE]]
    return [*chosen[:MOST_SHOWN], *[found for found in left if not found[1].provenance.clause_ids][:SHOWN_ELSE]]


def _clauses(row: AnyRow) -> set[str]:
    return {clause_id.partition("/")[0] for clause_id in row.provenance.clause_ids} | _revised_by(row)


def _revised_by(row: AnyRow) -> set[str]:
    return {revision.critique.clause_id.partition("/")[0] for revision in row.provenance.revisions}


def _row(id: str, row: AnyRow) -> str:
    """The request, then what was answered, why that was changed, and what is learned."""
    whence = row.provenance
    said = [("answered before", whence.original)] if whence.original and isinstance(row, Demonstration) else []
    said += [(f"critique by {each.critique.clause_id}", each.critique.text) for each in whence.revisions]
    said += _learned(row)
    head = f"**{_short(_text(row.prompt[-1:]))}** ({escaped(origin(whence))}, {escaped(whence.method)}, `{id}`)"
    return "\n\n".join([head, *(f"> *{escaped(label)}:* {_short(text)}" for label, text in said)])


def _learned(row: AnyRow) -> list[tuple[str, str]]:
    if isinstance(row, PreferencePair):
        return [("chosen", _text(row.chosen)), ("rejected", _text(row.rejected))]
    return [("answer to learn", _text(row.completion))]


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _short(text: str) -> str:
    return escaped(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …")
