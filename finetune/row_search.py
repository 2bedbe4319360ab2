"""Finding training rows among very many, by id or by clause: reads no column that is not asked for."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefect_ratify.finetune.dataset import ROWS_AT_ONCE, open_rows, row_files, rows_in
from prefect_ratify.finetune.origins import WRITTEN
from prefect_ratify.records import Record
from prefect_ratify.training_rows import Demonstration, JudgedCompletion, PreferencePair

AnyRow = Demonstration | PreferencePair | JudgedCompletion
NEAR = 3  # ids named where none is found
_OF_CLAUSES = (
    "id",
    "provenance.scenario_id",
    "provenance.how",
    "provenance.method",
    "provenance.clause_ids.list.element",
    "provenance.revisions.list.element.critique.clause_id",
    "provenance.votes.list.element.clause_id",
)


class FoundId(Record):
    """A row's id, the shard that holds it, and its number there (from 0)."""

    id: str
    path: Path
    number: int


class RowName(Record):
    """A row's id and the scenario that it was asked."""

    id: str
    scenario_id: str


class ClauseRows(Record):
    """The rows of a folder in which a clause had a part: `counts` by origin, then by method.

    Its part is that the request touches it, that a critique by it led to a revision (`revised`), or
    that a feedback model voted by it (`voted`). `shown` are the first of them.
    """

    folder: str
    rows: int
    revised: int
    voted: int
    counts: dict[str, dict[str, int]]
    shown: tuple[RowName, ...]


def ids_beginning(folders: Sequence[Path], beginning: str) -> Iterator[FoundId]:
    """The rows whose ids begin so."""
    import pyarrow.compute as pc

    for path, ids in _ids(folders):
        for number in pc.indices_nonzero(pc.starts_with(ids, beginning)).to_pylist():
            yield FoundId(id=ids[number].as_py(), path=path, number=number)


def ids_near(folders: Sequence[Path], wanted: str) -> list[str]:
    """The ids that differ from what was wanted in the fewest places; the places that it has not do not count."""
    asked = np.frombuffer(wanted.encode(), np.uint8)
    near: list[tuple[int, str]] = []
    for _, ids in _ids(folders):
        found = [name for name in ids.to_pylist() if len(name) >= len(asked)]
        letters = np.array([list(name[: len(asked)].encode()) for name in found], np.uint8).reshape(-1, len(asked))
        wrong = (letters != asked).sum(axis=1)
        best = np.argsort(wrong, kind="stable")[:NEAR]
        near = heapq.nsmallest(NEAR, [*near, *((int(wrong[place]), found[place]) for place in best)])
    return [name for _, name in near]


def read_row(found: FoundId) -> AnyRow:
    """A row, as it was written."""
    return _rows_at(found.path, [found.number])[0][1]


def spread_rows(folder: Path, count: int) -> list[tuple[str, AnyRow]]:
    """`count` rows with their ids, evenly spaced from the first to the last (all, where there are no more).

    Only the shards that hold them are read.
    """
    sizes = [(path, rows_in(path)) for path in row_files(folder)]
    total = sum(size for _, size in sizes)
    wanted = sorted({round(place) for place in np.linspace(0, total - 1, min(count, total))})
    rows: list[tuple[str, AnyRow]] = []
    before = 0
    for path, size in sizes:
        here = [number - before for number in wanted if before <= number < before + size]
        rows += _rows_at(path, here) if here else []
        before += size
    return rows


def _rows_at(path: Path, numbers: Sequence[int]) -> list[tuple[str, AnyRow]]:
    """The rows of a shard with these numbers, in ascending order."""
    rows: list[tuple[str, AnyRow]] = []
    before = 0
    with open_rows(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            here = [number - before for number in numbers if before <= number < before + batch.num_rows]
            for row in batch.take(here).to_pylist() if here else ():
                id = row.pop("id")
                rows.append((id, _kind(row).model_validate(row)))
            before += batch.num_rows
    return rows


def _kind(row: dict[str, Any]) -> type[AnyRow]:
    """What a row is, by its columns."""
    return PreferencePair if "chosen" in row else JudgedCompletion if "label" in row else Demonstration


def rows_of_clause(folder: Path, clause_id: str, most: int, name: str = "") -> ClauseRows:
    """Count the rows in which a clause (with what it was put in, `clause/2`) had a part; name the first `most`.

    `name` is what the folder is called to people; its own name, where none is given.
    """
    counts: Counter[tuple[str, str]] = Counter()
    shown: list[RowName] = []
    revised = voted = 0
    for path in row_files(folder):
        with open_rows(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE * 16, columns=list(_OF_CLAUSES)):
                touched, by_critique, by_vote = _parts_of(batch.column("provenance"), clause_id)
                found = batch.take(np.unique(np.concatenate([touched, by_critique, by_vote])))
                revised, voted = revised + len(np.unique(by_critique)), voted + len(np.unique(by_vote))
                counts.update(zip(_texts(found, "how"), _texts(found, "method"), strict=True))
                shown += _named(found.slice(0, most - len(shown)))
    return ClauseRows(
        folder=name or folder.name,
        rows=counts.total(),
        revised=revised,
        voted=voted,
        counts=_by_origin(counts),
        shown=tuple(shown),
    )


def _by_origin(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (how, method), count in sorted(counts.items()):
        found.setdefault(how or WRITTEN, {})[method] = count
    return found


def _named(rows: Any) -> list[RowName]:
    ids = rows.column("id").to_pylist()
    return [RowName(id=id, scenario_id=asked) for id, asked in zip(ids, _texts(rows, "scenario_id"), strict=True)]


def _parts_of(provenance: Any, clause_id: str) -> tuple[Any, Any, Any]:
    """The numbers of the rows whose request touches the clause, that were revised by it, and that were voted by it."""
    import pyarrow.compute as pc

    critiques = pc.struct_field(provenance, "revisions")
    votes = pc.struct_field(provenance, "votes")
    return (
        _rows_with(pc.struct_field(provenance, "clause_ids"), (), clause_id),
        _rows_with(critiques, ("critique", "clause_id"), clause_id),
        _rows_with(votes, ("clause_id",), clause_id),
    )


def _rows_with(lists: Any, names: tuple[str, ...], clause_id: str) -> Any:
    import pyarrow.compute as pc

    values = pc.list_flatten(lists)
    for name in names:
        values = pc.struct_field(values, name)
    is_it = pc.or_(pc.equal(values, clause_id), pc.starts_with(values, f"{clause_id}/"))
    return pc.list_parent_indices(lists).filter(is_it).to_numpy(zero_copy_only=False)


def _texts(rows: Any, name: str) -> list[str]:
    import pyarrow.compute as pc

    texts: list[str] = pc.struct_field(rows.column("provenance"), name).to_pylist()
    return texts


def _ids(folders: Sequence[Path]) -> Iterator[tuple[Path, Any]]:
    """Each shard's ids."""
    for folder in folders:
        for path in row_files(folder):
            with open_rows(path) as file:
                yield path, file.read(columns=["id"]).column("id").combine_chunks()
