"""Ballots: participants-votes.csv, a row a person and a column a statement, read fast and checked whole.

Tens of thousands of people on hundreds of statements are read by Arrow, which names no line of what it
cannot read. Where anything is wrong the file is read once more, slowly, to say where.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.policy import read_text

PERSON, GROUP = "participant", "group-id"
VOTES = (-1.0, 0.0, 1.0)


@dataclass(frozen=True)
class Ballots:
    """`matrix[person, column]` is −1, 0, 1 or NaN, as the file has it; `columns` are ids of statements."""

    people: tuple[str, ...]
    groups: tuple[str, ...]
    columns: tuple[int, ...]
    matrix: NDArray[np.float32]


def read_ballots(path: Path) -> Ballots:
    """Read a table of votes; InputError with file and line of the first thing that is wrong."""
    header = _header(path)
    columns = [name for name in header if name.isdecimal()]
    table = _table(path, [PERSON, *columns, *([GROUP] if GROUP in header else [])], columns)
    people = tuple(table[PERSON].to_pylist())
    matrix = np.empty((len(people), len(columns)), dtype=np.float32)
    for place, name in enumerate(columns):
        matrix[:, place] = table[name].to_numpy()
    whole = np.isnan(matrix)
    for vote in VOTES:
        whole |= matrix == vote
    if not whole.all() or len(set(people)) < len(people) or not all(people):
        raise fault(path, "a vote or a participant cannot be read")
    if not people:
        raise InputError("there is no participant", path=path)
    groups = tuple(_group(value) for value in table[GROUP].to_pylist()) if GROUP in header else ("",) * len(people)
    return Ballots(people, groups, tuple(int(name) for name in columns), matrix)


def _group(value: str) -> str:
    """A group's name: some exports write a number as 0, others as 0.0."""
    name = value.strip()
    return name.removesuffix(".0")


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader(file), [])
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from None
    if not header:
        raise InputError("the file is empty", path=path)
    if PERSON not in header:
        raise InputError(f"there is no column {PERSON!r}", "export it again from Polis", path=path, line=1)
    votes = [int(name) for name in header if name.isdecimal()]
    if not votes:
        raise InputError("no column is a statement's number", "export it again from Polis", path=path, line=1)
    if twice := [name for name, count in Counter(votes).items() if count > 1]:
        raise InputError(f"the statement {twice[0]} has two columns", path=path, line=1)
    return header


def _table(path: Path, names: list[str], votes: list[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    types = {name: pa.float32() for name in votes} | {PERSON: pa.string(), GROUP: pa.string()}
    try:
        return arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(block_size=1 << 24),
            parse_options=arrow.ParseOptions(newlines_in_values=True),
            convert_options=arrow.ConvertOptions(column_types=types, include_columns=names, null_values=[""]),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise fault(path, str(error)) from None


def fault(path: Path, otherwise: str) -> InputError:
    """What is first wrong with a table of votes, and where; `otherwise` where reading it slowly finds nothing."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        found = next(_faults(reader), None)
    except csv.Error as error:
        return InputError(f"this is not a table ({error})", path=path, line=reader.line_num)
    line, seen = found or (None, f"this table cannot be read ({one_line(otherwise, 200)})")
    return InputError(seen, path=path, line=line)


def _faults(reader: Any) -> Iterator[tuple[int, str]]:
    header = next(reader)
    person, seen = header.index(PERSON), dict[str, int]()
    votes = [(place, name) for place, name in enumerate(header) if name.isdecimal()]
    line = reader.line_num + 1
    for row in reader:
        if len(row) != len(header) and row:
            yield line, f"this row has {len(row)} cells, and the first {len(header)}"
        elif row:
            yield from ((line, reason) for reason in _wrong(row, person, votes))
            if row[person] in seen:
                yield line, f"the participant {row[person]!r} is here again (first in line {seen[row[person]]})"
            seen[row[person]] = line
        line = reader.line_num + 1


def _wrong(row: list[str], person: int, votes: list[tuple[int, str]]) -> Iterator[str]:
    if not row[person]:
        yield "this row names no participant"
    for place, name in votes:
        if row[place] and not _is_vote(row[place]):
            yield f"the vote on statement {name} is {one_line(row[place], 40)!r}, and not −1, 0 or 1"


def _is_vote(cell: str) -> bool:
    try:
        return float(cell) in VOTES
    except ValueError:
        return False
