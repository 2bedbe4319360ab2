"""A trace at a terminal. Text of people and models is put there with nothing in it that a terminal obeys."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.errors import one_line
from prefect_ratify.finetune.origins import WRITTEN
from prefect_ratify.finetune.row_search import ClauseRows
from prefect_ratify.flows.lineage import reasons, wording
from prefect_ratify.flows.pages import SIGNS, day, gap, gap_reach, percent, reach
from prefect_ratify.flows.tracing import ClauseTrace, ClauseWay, GateSaid, RowTrace
from prefect_ratify.records import Message
from prefect_ratify.scenarios.comparing import Difference, Rate
from prefect_ratify.training_rows import Demonstration, JudgedCompletion, PreferencePair, Provenance

LONGEST = 100_000
KINDS = {
    Demonstration: "a demonstration",
    PreferencePair: "a preference pair",
    JudgedCompletion: "an answer, desirable or not",
}
Line = tuple[int, str]  # how far it stands in, and its text; a heading stands at 0


def show(found: RowTrace | ClauseTrace) -> None:
    """Print a trace: headings, and beneath each what it names."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    lines = _row(found) if isinstance(found, RowTrace) else _clause(found)
    for indent, text in lines:
        first, rest = " " * indent, " " * (indent + 2 if indent else 0)
        flat = one_line(text, LONGEST)
        told = wrap(flat, console.width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
        console.print(Text("\n" * (not indent) + "\n".join(told), "" if indent else "bold"))


def _row(found: RowTrace) -> Iterator[Line]:
    yield 0, f"Row {found.id}: {KINDS[type(found.row)]}, in {found.file} of run {found.run}"
    yield from _asked(found)
    yield from _answers(found)
    yield from _verdicts(found.row.provenance)
    yield from _making(found)
    for way in found.clauses:
        yield from _way(way)
    if not found.clauses:
        yield 0, "No clause: the policy is not about this request"
    yield from _gates(found.gates)


def _asked(found: RowTrace) -> Iterator[Line]:
    yield 0, "The request"
    yield from _turns(found.row.prompt)
    whence = found.row.provenance
    source = f"; source: {found.source}" if found.source else ""
    if not whence.varied_from:
        kind = "" if found.origin == WRITTEN else f"{found.origin}, "
        yield 2, f"{kind}as people wrote it: {whence.scenario_id}{source}"
        return
    yield 2, f"a variation ({found.origin}) of {whence.varied_from}: {whence.scenario_id}{source}"
    if found.written:
        yield 2, f"{whence.varied_from}, as people wrote it: {found.written.query}"
        if found.written.source:
            yield 2, f"source: {found.written.source}"


def _answers(found: RowTrace) -> Iterator[Line]:
    row, whence = found.row, found.row.provenance
    if whence.original:
        yield 0, "The answer before any revision"
        yield 2, whence.original
    for number, revision in enumerate(whence.revisions, start=1):
        yield 0, f"Revision {number}, after a critique by {revision.critique.clause_id}"
        yield 2, f"critique: {revision.critique.text}"
        yield 2, f"revision: {revision.text}"
    if not isinstance(row, PreferencePair):
        yield 0, "What is learnt" if isinstance(row, Demonstration) or row.label else "What is unlearnt"
        yield from _turns(row.completion)
        return
    yield 0, "Chosen"
    yield from _turns(row.chosen)
    yield 0, "Rejected"
    yield from _turns(row.rejected)
    for vote in whence.votes:
        sure = "" if vote.chosen is None else f", {percent(vote.chosen)} for what was chosen"
        yield 2, f"by {vote.clause_id}: {vote.choice}{sure}"
    if whence.soft_label is not None:
        yield 2, f"together: {percent(whence.soft_label)} for what was chosen"


def _turns(messages: tuple[Message, ...]) -> Iterator[Line]:
    for message in messages:
        yield 2, message.content if len(messages) == 1 else f"{message.role}: {message.content}"


def _verdicts(whence: Provenance) -> Iterator[Line]:
    if not whence.before and not whence.after:
        return
    yield 0, "Verdicts, before → after"
    before, after = ({v.clause_id: v for v in verdicts} for verdicts in (whence.before, whence.after))
    for clause_id in {**before, **after}:
        told = [
            f"{SIGNS[v[clause_id].outcome]} {v[clause_id].outcome}" if clause_id in v else "–" for v in (before, after)
        ]
        judges = dict.fromkeys(v[clause_id].judge for v in (before, after) if clause_id in v)
        yield 2, f"{clause_id}: {' → '.join(told)} (by {', '.join(judges)})"


def _making(found: RowTrace) -> Iterator[Line]:
    whence = found.row.provenance
    yield 0, "How it was made"
    yield 2, f"{whence.method}; revisions {whence.round}, sample {whence.sample}, seed {whence.seed}"
    digests = {"weights": whence.model_digest, "prompts": whence.prompts}
    told = "".join(f"; {name} {value[:16]}" for name, value in digests.items() if value)
    yield 2, f"model {whence.model}{told}"
    stands = "the refined policy of this run" if found.this_policy else "NOT the refined policy of this run"
    yield 2, f"policy {whence.policy[:16]}, {stands}"


def _way(way: ClauseWay) -> Iterator[Line]:
    yield 0, f"Clause {way.draft.id} ({way.draft.polarity})"
    final = wording(way.final)
    yield 2, f"{'draft, and unchanged' if final == way.draft.text else 'draft'}: {way.draft.text}"
    for note in way.draft.notes:
        yield 4, f"note: {note}"
    for number, change in enumerate(way.changes, start=1):
        yield 2, f"change {number}, by {change.proposer}: {wording(change.new)}"
        for reason in reasons(change):
            yield 4, reason
    if way.changes and final not in (way.draft.text, wording(way.changes[-1].new)):
        yield 2, f"refined: {final}"
    for entry in way.said:
        yield 2, f"at the {entry.gate} gate, round {entry.round}, {_vote(entry)}"


def _gates(gates: tuple[GateSaid, ...]) -> Iterator[Line]:
    yield 0, "The gates, on these files as they are"
    for said in gates:
        yield 2, f"{said.gate}: {said.stands or 'nothing stands'}"
        for entry in said.votes:
            apart = "" if entry.decision == said.stands else "dissent: "
            yield 4, f"{apart}{_vote(entry)}, {day(entry.at)}"


def _vote(entry: LedgerEntry) -> str:
    role = f" ({entry.role})" if entry.role else ""
    alone = " (unattended)" if entry.unattended else ""
    return f"{entry.approver}{role}: {entry.decision}{alone}{f', “{entry.comment}”' if entry.comment else ''}"


def _clause(found: ClauseTrace) -> Iterator[Line]:
    yield from _way(found.way)
    yield 0, f"Its rows in run {found.run}"
    for rows in found.rows:
        yield from _rows(rows)
    yield 0, "After training: upheld on held-out scenarios, with 95 % intervals"
    if not found.rates:
        yield 2, "not compared yet"
    audits = {rate.condition: rate for rate in found.audit_rates}
    for rate in found.rates:
        audit = f"; by the audit check {_share(audits[rate.condition])}" if rate.condition in audits else ""
        yield 2, f"{rate.condition}: {_share(rate)}{audit}"
    for difference in found.differences:
        yield 2, _difference(difference)
    yield from _gates(found.gates)


def _rows(rows: ClauseRows) -> Iterator[Line]:
    yield 2, f"{rows.folder}: {rows.rows} rows; revised by it: {rows.revised}; voted on by it: {rows.voted}"
    for name, methods in rows.counts.items():
        yield 4, f"{name}: {', '.join(f'{method} {count}' for method, count in methods.items())}"
    if rows.shown:
        more = f", and {rows.rows - len(rows.shown)} more (--limit)" if rows.rows > len(rows.shown) else ""
        yield 4, ", ".join(f"{row.id} ({row.scenario_id})" for row in rows.shown) + more


def _share(rate: Rate) -> str:
    between = reach(rate.interval)
    return f"{percent(rate.interval.value)}{f' [{between}]' if between else ''} of {rate.interval.scenarios} scenarios"


def _difference(found: Difference) -> str:
    between = gap_reach(found.interval)
    told = f"{gap(found.interval)}{f' ({between})' if between else ''}"
    return f"{found.second} minus {found.first}: {told}, {found.finding}"
