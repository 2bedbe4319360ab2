"""`ratify trace`: from a training row to the people whose words it comes from, and from a clause to its rows.

A row leads to its request and who wrote that, to every critique and revision, to the verdicts
before and after, and to each clause that the request touches: its wording, the draft, the notes,
what people said of it at the gates, and what they decided. A clause leads the other way, and on
to the comparison after training. Both read what the run's stages left, and change nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from prefect_ratify.clause_changes import ClauseChange
from prefect_ratify.decisions import Decision, LedgerEntry
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED
from prefect_ratify.finetune.origins import origin
from prefect_ratify.finetune.row_search import (
    AnyRow,
    ClauseRows,
    FoundId,
    ids_beginning,
    ids_near,
    read_row,
    rows_of_clause,
)
from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES
from prefect_ratify.flows.train import JUDGED, OWN_PAIRS
from prefect_ratify.flows.voting import standing, votes_on
from prefect_ratify.records import Clause, Policy, Record, Scenario, digest
from prefect_ratify.scenarios.comparing import Difference, Rate
from prefect_ratify.store import read_record, read_records
from prefect_ratify.training_rows import TrainingPrompt

FEWEST_DIGITS = 4
SHOWN_IDS = 4  # of those that begin alike
COMPARED = ("base", "refined", FINETUNED)


class GateSaid(Record):
    """What was decided at a gate on the files as they are now; None where nothing stands on them."""

    gate: str
    stands: Decision | None
    votes: tuple[LedgerEntry, ...]


class ClauseWay(Record):
    """A draft clause with its notes, what it became and why, and what people said of it at the gates."""

    draft: Clause
    final: tuple[Clause, ...]
    changes: tuple[ClauseChange, ...]
    said: tuple[LedgerEntry, ...]


class RowTrace(Record):
    """A training row and everything that it comes from.

    `source` is who or what wrote the request, and `written` the scenario as people wrote it, where
    it is known. `this_policy` says whether the row was made by the run's refined policy as it is.
    """

    run: str
    id: str
    file: str
    row: AnyRow
    origin: str
    source: str
    written: Scenario | None
    this_policy: bool
    clauses: tuple[ClauseWay, ...]
    gates: tuple[GateSaid, ...]


class ClauseTrace(Record):
    """A clause, every row in which it had a part, and how its rate moved on held-out scenarios.

    `rates` and `audit_rates` are of the base model, the prompted one and the finetuned one, and
    `differences` of the finetuned one against the two others; empty before the comparison.
    """

    run: str
    way: ClauseWay
    rows: tuple[ClauseRows, ...]
    rates: tuple[Rate, ...]
    audit_rates: tuple[Rate, ...]
    differences: tuple[Difference, ...]
    gates: tuple[GateSaid, ...]


def trace(run: Run, what: str, most: int) -> RowTrace | ClauseTrace:
    """Follow a clause by its id, or else a row by its id or a beginning of it; at most `most` rows are listed.

    InputError, naming what is near, where there is no such thing or several; RatifyError where the
    run has no rows yet.
    """
    if not run.stage_folder("generate").is_dir():
        raise RatifyError(f"run {run.id} has no training rows yet; go on with: ratify run {run.project.folder}")
    final = refined_policy(run)
    known = dict.fromkeys((*run.project.policy.clause_ids, *final.clause_ids))
    if what in known:
        return _clause_trace(run, final, what.partition("/")[0], most)
    if re.fullmatch(f"[0-9a-fA-F]{{{FEWEST_DIGITS},}}", what):
        return _row_trace(run, final, _one_row(run, what.lower()))
    near = get_close_matches(what, known, n=3) or list(known)
    advice = f"clauses: {', '.join(near)}; a row is named by {FEWEST_DIGITS} or more digits of its id"
    raise InputError(f"{what!r} is no clause of this run and no row", advice)


def _one_row(run: Run, beginning: str) -> FoundId:
    folders = _row_folders(run)
    found: dict[str, FoundId] = {}
    for row in ids_beginning(folders, beginning):
        found.setdefault(row.id, row)
        if len(found) == SHOWN_IDS:
            break
    if not found:
        near = ", ".join(ids_near(folders, beginning)) or "none, for there are no rows"
        raise InputError(f"no row of run {run.id} begins with {beginning!r}", f"the nearest: {near}")
    if len(found) > 1:
        raise InputError(f"several rows begin with {beginning!r}", f"give more digits: {', '.join(found)} …")
    return next(iter(found.values()))


def _row_folders(run: Run) -> list[Path]:
    """Where a run's rows are: those of the generate stage, then what the training made of its own model's answers.

    (What GRPO is given are prompts, not rows: nobody has written an answer to them.)
    """
    made = [run.stage_folder("generate") / name for name in (SUPERVISED, PREFERENCES)]
    train = run.stage_folder("train")
    own = [train / JUDGED, *sorted((train / OWN_PAIRS).glob("*"))]
    return [folder for folder in (*made, *own) if folder.is_dir()]


def _row_trace(run: Run, final: Policy, found: FoundId) -> RowTrace:
    row = read_row(found)
    whence = row.provenance
    written, prompt = _scenario(run, whence.varied_from or whence.scenario_id), _prompt(run, whence.scenario_id)
    source = prompt.scenario.source if prompt else written.source if written and not whence.varied_from else ""
    drafted = dict.fromkeys(clause_id.partition("/")[0] for clause_id in whence.clause_ids)
    return RowTrace(
        run=run.id,
        id=found.id,
        file=str(found.path.relative_to(run.folder)),
        row=row,
        origin=origin(whence),
        source=source,
        written=written,
        this_policy=whence.policy == digest(final),
        clauses=tuple(
            _way(run, final, clause_id) for clause_id in drafted if clause_id in run.project.policy.clause_ids
        ),
        gates=_gates(run, ("draft", "policy", "data")),
    )


def _clause_trace(run: Run, final: Policy, clause_id: str, most: int) -> ClauseTrace:
    path = run.stage_folder("compare") / "comparison.json"
    after = read_record(path, Final) if path.exists() else None
    of_clause = [d for c in after.comparisons for d in c.differences if d.clause_id == clause_id] if after else []
    return ClauseTrace(
        run=run.id,
        way=_way(run, final, clause_id),
        rows=tuple(
            rows_of_clause(folder, clause_id, most, str(folder.relative_to(run.folder))) for folder in _row_folders(run)
        ),
        rates=_compared(after.rates if after else (), clause_id),
        audit_rates=_compared(after.audit_rates if after else (), clause_id),
        differences=tuple(d for d in of_clause if d.first in COMPARED),
        gates=_gates(run, tuple(GATES)),
    )


def _compared(rates: Sequence[Rate], clause_id: str) -> tuple[Rate, ...]:
    return tuple(rate for rate in rates if rate.clause_id == clause_id and rate.condition in COMPARED)


def _way(run: Run, final: Policy, clause_id: str) -> ClauseWay:
    changes = read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
    named = re.compile(rf"(?<![\w-]){re.escape(clause_id)}(?![\w-])", re.IGNORECASE)
    return ClauseWay(
        draft=run.project.policy.clause(clause_id),
        final=final.parts(clause_id),
        changes=tuple(change for change in changes if change.clause_id == clause_id),
        said=tuple(e for e in read_ledger(run.folder) if not e.refused and named.search(e.comment)),
    )


def _gates(run: Run, gates: Sequence[str]) -> tuple[GateSaid, ...]:
    """What stands at these gates, as far as the run has come."""
    found = []
    for gate in gates:
        if all(run.stage_folder(stage).is_dir() for stage in GATES[gate]):
            evidence = evidence_digest(run, gate)
            stands = standing(run, gate, evidence, unattended=run.unattended)
            votes = [e for e in votes_on(run, gate, evidence) if run.unattended or not e.unattended]
            found.append(GateSaid(gate=gate, stands=stands, votes=tuple(votes)))
    return tuple(found)


def _scenario(run: Run, scenario_id: str) -> Scenario | None:
    suite = run.project.suite
    return next((s for s in (*suite.scenarios, *suite.unrelated) if s.id == scenario_id), None)


def _prompt(run: Run, scenario_id: str) -> TrainingPrompt | None:
    """What the generate stage asked under this id; lines that do not hold the id are not even parsed."""
    path = run.stage_folder("generate") / "prompts.jsonl"
    if not path.exists():
        return None
    named = json.dumps(scenario_id, ensure_ascii=False)
    with path.open(encoding="utf-8") as lines:
        prompts = (TrainingPrompt.model_validate_json(line) for line in lines if named in line)
        return next((prompt for prompt in prompts if prompt.scenario.id == scenario_id), None)
