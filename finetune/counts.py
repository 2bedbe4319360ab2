"""What became of every row that was asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from prefect_ratify.errors import ShortOfRows
from prefect_ratify.finetune.origins import UNRELATED, origin
from prefect_ratify.records import Record
from prefect_ratify.training_rows import Demonstration, Judged, PreferencePair

FEWEST_DEMONSTRATIONS = 2
ByName = dict[str, int]
ByClause = dict[str, dict[str, int]]


class DataCounts(Record):
    """Every row accounted for: `asked` is `demonstrations`, `retained` and `lost` by reason, added up.

    `prompts` are all requests, `scenarios` those of them that people wrote and the policy is about.
    `retained` are own answers to unrelated requests, of which there should be `to_retain`.
    `unanswered` of the lost rows got no answer to a call. What follows is of the rows that are
    there, retained ones included, by clause ids of the draft: `revised` are revisions by a critique
    of the clause, `before` and `after` verdicts by outcome, `lint` findings that lose no row.
    `pairs_lost` says why a row made no pair. `sentences` tallies what rows were composed of.
    """

    scenarios: int = 0
    demonstrations: int = 0
    retained: int = 0
    lost: ByName = Field(default_factory=dict)
    sentences: ByClause = Field(default_factory=dict)
    prompts: int = 0
    asked: int = 0
    to_retain: int = 0
    unanswered: int = 0
    by_origin: ByName = Field(default_factory=dict)
    by_method: ByName = Field(default_factory=dict)
    by_clause: ByClause = Field(default_factory=dict)
    revised: ByName = Field(default_factory=dict)
    before: ByClause = Field(default_factory=dict)
    after: ByClause = Field(default_factory=dict)
    lint: ByName = Field(default_factory=dict)
    pairs: int = 0
    pairs_by_clause: ByName = Field(default_factory=dict)
    pairs_by_method: ByName = Field(default_factory=dict)
    pairs_lost: ByName = Field(default_factory=dict)


ShardCounts = DataCounts  # the same of one shard


def counted(rows: Sequence[Demonstration], pairs: Sequence[PreferencePair]) -> DataCounts:
    """The counts that rows themselves give."""
    origins = [(origin(row.provenance), row.provenance) for row in rows]
    retained = sum(kind == UNRELATED for kind, _ in origins)
    return DataCounts(
        demonstrations=len(rows) - retained,
        retained=retained,
        by_origin=_sorted(kind for kind, _ in origins),
        by_method=_sorted(found.method for _, found in origins),
        by_clause=_by_clause((clause_id, kind) for kind, found in origins for clause_id in _drafts(found.clause_ids)),
        revised=_sorted(r.critique.clause_id for _, found in origins for r in found.revisions),
        before=_outcomes(found.before for _, found in origins),
        after=_outcomes(found.after for _, found in origins),
        pairs=len(pairs),
        pairs_by_clause=_sorted(clause_id for pair in pairs for clause_id in _drafts(pair.provenance.clause_ids)),
        pairs_by_method=_sorted(pair.provenance.method for pair in pairs),
    )


def summed(parts: Iterable[DataCounts]) -> DataCounts:
    """The counts of several shards as one."""
    total = DataCounts().model_dump()
    for part in parts:
        total = _added(total, part.model_dump())
    return DataCounts(**total)


def require_rows(counts: DataCounts) -> None:
    """ShortOfRows, with every count, where there is too little to train on.

    At least half of the rows for requests that the policy is about have to be there.
    """
    wanted = counts.asked - counts.to_retain
    if counts.demonstrations < max(FEWEST_DEMONSTRATIONS, wanted // 2):
        raise ShortOfRows(
            f"only {counts.demonstrations} of {wanted} training rows could be made ({reasons(counts.lost)}): "
            + _advice(counts)
        )


def reasons(lost: dict[str, int]) -> str:
    """Counts by reason as a person reads them, the most first."""
    return "; ".join(f"{count} × {reason}" for reason, count in sorted(lost.items(), key=lambda each: (-each[1], each)))


def _advice(counts: DataCounts) -> str:
    if counts.unanswered:
        return f"run the same command again, and the {counts.unanswered} that got no answer are asked for once more"
    if counts.sentences:
        return "give these clauses an 'opening', simpler worked examples or a wider check in scenarios.yaml"
    return "see what the models answered, and try others or clearer clauses"


def _drafts(clause_ids: Iterable[str]) -> Iterable[str]:
    """The ids of the draft's clauses, of which these may be parts."""
    return dict.fromkeys(clause_id.partition("/")[0] for clause_id in clause_ids)


def _sorted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _by_clause(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found = defaultdict[str, list[str]](list)
    for clause_id, value in pairs:
        found[clause_id].append(value)
    return {clause_id: _sorted(values) for clause_id, values in sorted(found.items())}


def _outcomes(rows: Iterable[Sequence[Judged]]) -> dict[str, dict[str, int]]:
    return _by_clause((verdict.clause_id, verdict.outcome) for verdicts in rows for verdict in verdicts)


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two dictionaries of numbers, or of such dictionaries, added up key by key; the keys are sorted."""
    return {
        key: _added(one.get(key, {}), other.get(key, {}))
        if isinstance(one.get(key, other.get(key)), dict)
        else one.get(key, 0) + other.get(key, 0)
        for key in sorted({*one, *other})
    }
