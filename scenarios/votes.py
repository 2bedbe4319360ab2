"""Votes: what many people said to many statements, read from an export of a Polis conversation.

    comments.csv              comment-id, comment-body, moderated; optionally agrees, disagrees, group_0_consensus …
    participants-votes.csv    participant, a column for each statement; optionally group-id

or `clean_comments.csv` and `clean_votes.csv`, as Collective Constitutional AI names them (Huang et
al. 2024, arXiv 2406.07814). `moderated` is −1 for a statement that the moderators rejected, 0 for one
that they did not look at, 1 for one that they accepted.

In these files 1 means agree and −1 disagree; in Polis' own tables it is the other way round. Where
comments.csv counts who agrees, those counts decide which of the two it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text
from prefect_ratify.records import Record
from prefect_ratify.scenarios.ballots import Ballots, read_ballots

NAMES = (("comments.csv", "participants-votes.csv"), ("clean_comments.csv", "clean_votes.csv"))
MODERATED = {"-1": -1, "0": 0, "1": 1}
REJECTED = -1
_PUBLISHED = re.compile(r"^group_(\d+)_consensus$")


class Statement(Record):
    """What somebody said, for others to vote on. `same` are the ids of statements that say the same.

    `published` is what the file itself says of its agreement, by group; empty in most exports.
    """

    id: int
    text: str
    moderated: int
    line: int
    agrees: int | None = None
    disagrees: int | None = None
    published: dict[str, float] = Field(default_factory=dict)
    same: tuple[int, ...] = ()


@dataclass(frozen=True)
class Votes:
    """A conversation: `matrix[person, statement]` is 1 (agree), 0 (pass), −1 (disagree) or NaN (no vote).

    `groups` are the opinion groups that the file names, "" where it names none. `turned` says that
    the file's signs are those of Polis' tables, and were turned; `miscounted` in how many statements
    comments.csv counts otherwise than the votes do.
    """

    topic: str
    statements: tuple[Statement, ...]
    people: tuple[str, ...]
    matrix: NDArray[np.float32]
    groups: tuple[str, ...]
    turned: bool = False
    miscounted: int = 0

    def only(self, kept: NDArray[np.bool_]) -> Votes:
        """The conversation about those statements alone."""
        statements = tuple(s for s, keep in zip(self.statements, kept, strict=True) if keep)
        return replace(self, statements=statements, matrix=self.matrix[:, kept])


def load_votes(folder: Path) -> Votes:
    """Read an export; InputError names file and line of what is wrong with it.

    A statement without a column has no votes; a column without a statement is left out.
    """
    comments, participants = _files(folder)
    statements = _statements(comments)
    ballots = read_ballots(participants)
    if not set(ballots.columns) & {statement.id for statement in statements}:
        raise InputError(f"no column is a statement of {comments.name}", path=participants, line=1)
    matrix = _columns(ballots, statements)
    turned, miscounted = _signs(matrix, statements)
    matrix = -matrix if turned else matrix
    return Votes(_topic(folder), statements, ballots.people, matrix, ballots.groups, turned, miscounted)


def _files(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise InputError("there is no such folder", "name the folder of a Polis export", path=folder)
    for names in NAMES:
        comments, participants = (folder / name for name in names)
        if comments.exists() or participants.exists():
            for path in (comments, participants):
                if not path.is_file():
                    raise InputError("there is no such file", "an export has both files", path=path)
            return comments, participants
    raise InputError(f"no {NAMES[0][0]} and {NAMES[0][1]} are in it", "name the folder of a Polis export", path=folder)


def _topic(folder: Path) -> str:
    """What the conversation is about, where summary.csv says it."""
    path = folder / "summary.csv"
    rows = csv.reader(io.StringIO(read_text(path), newline="")) if path.is_file() else ()
    return next((row[1].strip() for row in rows if len(row) > 1 and row[0] == "topic"), "")


def _statements(path: Path) -> tuple[Statement, ...]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    found: dict[int, Statement] = {}
    try:
        for name in ("comment-id", "comment-body", "moderated"):
            if name not in (reader.fieldnames or ()):
                raise InputError(f"there is no column {name!r}", "export it again from Polis", path=path, line=1)
        line = reader.line_num + 1
        for row in reader:
            statement = _statement(row, path, line)
            if statement.id in found:
                seen = f"the statement {statement.id} is here again (first in line {found[statement.id].line})"
                raise InputError(seen, path=path, line=line)
            found[statement.id] = statement
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"this is not a table ({error})", path=path, line=reader.line_num) from None
    if not found:
        raise InputError("there is no statement", path=path)
    return tuple(found.values())


def _statement(row: Mapping[str, str | None], path: Path, line: int) -> Statement:
    if None in row or None in row.values():
        raise InputError("this row has not as many cells as the first", path=path, line=line)
    cells = {name: (value or "").strip() for name, value in row.items()}
    if not cells["comment-id"].isdecimal():
        raise InputError(f"the comment-id {cells['comment-id']!r} is no whole number", path=path, line=line)
    if cells["moderated"] not in MODERATED:
        raise InputError(f"moderated is {cells['moderated']!r}, and not −1, 0 or 1", path=path, line=line)
    published = {name[1]: value for key, value in cells.items() if (name := _PUBLISHED.match(key)) and value}
    try:
        return Statement(
            id=int(cells["comment-id"]),
            text=cells["comment-body"],
            moderated=MODERATED[cells["moderated"]],
            line=line,
            agrees=int(cells["agrees"]) if cells.get("agrees") else None,
            disagrees=int(cells["disagrees"]) if cells.get("disagrees") else None,
            published={group: float(value) for group, value in published.items()},
        )
    except ValueError as error:
        raise InputError(f"a count is no number ({error})", path=path, line=line) from None


def _columns(ballots: Ballots, statements: tuple[Statement, ...]) -> NDArray[np.float32]:
    """The votes in the order of the statements."""
    place = {statement_id: column for column, statement_id in enumerate(ballots.columns)}
    there = np.array([statement.id in place for statement in statements])
    matrix = np.full((len(ballots.people), len(statements)), np.nan, dtype=np.float32)
    matrix[:, there] = ballots.matrix[:, [place[s.id] for s in statements if s.id in place]]
    return matrix


def _signs(matrix: NDArray[np.float32], statements: tuple[Statement, ...]) -> tuple[bool, int]:
    """Whether the signs are turned, and how many statements' counts differ from the votes then."""
    counted = np.array([s.agrees is not None and s.disagrees is not None for s in statements])
    if not counted.any():
        return False, 0
    said = np.array([(s.agrees or 0, s.disagrees or 0) for s in statements])
    seen = np.stack([(matrix == 1).sum(axis=0), (matrix == -1).sum(axis=0)], axis=1)
    straight, turned = (np.abs(said - each)[counted].sum(axis=1) for each in (seen, seen[:, ::-1]))
    flip = bool(turned.sum() < straight.sum())
    return flip, int(((turned if flip else straight) > 0).sum())
