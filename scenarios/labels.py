"""Labels: what people say, without knowing a judge's verdict, of whether a response keeps a clause.

They are not precedents: no judging follows them; they tell how far a judge can be believed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.policy import read_text
from prefect_ratify.records import Record

Ruled = Literal["upheld", "violated", "not applicable"]
Key = tuple[str, str, str]  # a scenario's id, a response's words, a clause's id
Row = tuple[int, Any]  # the line that it stands in (from 1), and its fields or (a text) why there are none

OUTCOMES: dict[str, Ruled] = {
    "upheld": "upheld",
    "violated": "violated",
    "not applicable": "not applicable",
    "n/a": "not applicable",
}
COLUMNS = {
    "scenario": "scenario_id",
    "scenario_id": "scenario_id",
    "response": "response",
    "clause": "clause_id",
    "clause_id": "clause_id",
    "verdict": "outcome",
    "outcome": "outcome",
    "by": "by",
    "reason": "reason",
}
REQUIRED = {
    "scenario_id": "scenario or scenario_id",
    "response": "response",
    "clause_id": "clause or clause_id",
    "outcome": "verdict or outcome",
}


class Label(Record):
    """One person's word on one response and clause. `by` is empty where nobody is named."""

    scenario_id: str
    response: str
    clause_id: str
    outcome: Ruled
    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Item:
    """A response and a clause, with the label of each person who gave it one."""

    scenario_id: str
    response: str
    clause_id: str
    labels: tuple[Label, ...]

    @property
    def outcome(self) -> Ruled | None:
        """What more than half of these people say; None where they differ too much."""
        ((outcome, count),) = Counter(label.outcome for label in self.labels).most_common(1)
        return outcome if 2 * count > len(self.labels) else None


def key_of(scenario_id: str, response: str, clause_id: str) -> Key:
    """What makes two labels ones of the same thing: a response's words, however they are spaced."""
    return scenario_id, " ".join(response.split()), clause_id


def items_of(labels: Sequence[Label]) -> list[Item]:
    """The labels of each response and clause together, in the order in which they first come.

    Of a named person the last label counts, since people who label again change their mind. Labels
    without a name are each taken for another person's.
    """
    found = defaultdict[Key, dict[str | int, Label]](dict)
    for number, label in enumerate(labels):
        found[key_of(label.scenario_id, label.response, label.clause_id)][label.by or number] = label
    firsts = [(next(iter(by_person.values())), tuple(by_person.values())) for by_person in found.values()]
    return [Item(first.scenario_id, first.response, first.clause_id, given) for first, given in firsts]


def load_labels(
    path: Path,
    clause_ids: Collection[str],
    scenario_ids: Collection[str],
    problems: list[InputError] | None = None,
) -> list[Label]:
    """Read labels from CSV (with a header) or JSONL; InputError with file and line of what is wrong.

    Columns that no label has are left out. With a list of `problems`, what is wrong with single
    rows is added to it, and they are left out; otherwise the first one is raised.
    """
    text = read_text(path, "name a CSV or JSONL file of labels")
    rows = list(_jsonl(text) if text.lstrip().startswith("{") else _csv(text, path))
    _require_columns(path, rows)
    labels = []
    for line, row in rows:
        try:
            labels.append(_label(row, path, line, clause_ids, scenario_ids))
        except InputError as problem:
            if problems is None:
                raise
            problems.append(problem)
    return labels


def _label(row: Any, path: Path, line: int, clause_ids: Collection[str], scenario_ids: Collection[str]) -> Label:
    if isinstance(row, str):
        raise InputError(row, path=path, line=line)
    fields = _fields(row)
    for name, columns in REQUIRED.items():
        if name not in fields:
            raise InputError(f"this label has no {columns}", path=path, line=line)
    for name, value in fields.items():
        if not isinstance(value, str) or re.search("[\ud800-\udfff]", value):
            raise InputError(f"the {name} of this label is no text that a file can hold", path=path, line=line)
    clause_id, scenario_id = fields["clause_id"].strip(), fields["scenario_id"].strip()
    if clause_id not in clause_ids:
        advice = f"there are: {', '.join(clause_ids)}"
        raise InputError(f"the policy has no clause {clause_id!r}", advice, path=path, line=line)
    if scenario_id not in scenario_ids:
        raise InputError(f"the suite has no scenario {scenario_id!r}", path=path, line=line)
    outcome = OUTCOMES.get(" ".join(re.split(r"[\s_-]+", fields["outcome"].strip().lower())))
    if outcome is None:
        advice = "write upheld, violated or not applicable"
        raise InputError(f"{fields['outcome']!r} is no verdict", advice, path=path, line=line)
    return Label(
        scenario_id=scenario_id,
        response=fields["response"],
        clause_id=clause_id,
        outcome=outcome,
        by=fields.get("by", "").strip(),
        reason=fields.get("reason", "").strip(),
    )


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields by a label's names for them. An empty response is one that a model gave."""
    named = {COLUMNS.get(str(column).strip().lower()): value for column, value in row.items()}
    return {name: value for name, value in named.items() if name and (name == "response" or value not in (None, ""))}


def _require_columns(path: Path, rows: Sequence[Row]) -> None:
    """InputError where there is no row, or no row has a column that labels need."""
    if not rows:
        raise InputError("there is no label", path=path)
    seen = list(dict.fromkeys(str(column).strip() for _, row in rows if isinstance(row, Mapping) for column in row))
    known = {COLUMNS.get(column.lower()) for column in seen}
    for name, columns in REQUIRED.items():
        if seen and name not in known:
            given = ", ".join(seen)
            raise InputError(f"no column is the {columns}; there are: {given}", "name one so", path=path, line=1)


def _csv(text: str, path: Path) -> Iterator[Row]:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) > len(header):
                yield line, f"it has {len(cells)} cells, and the table {len(header)} columns"
            elif any(cell.strip() for cell in cells):
                yield line, dict(zip(header, cells, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"this is not a table ({error})", path=path, line=reader.line_num) from None


def _jsonl(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON ({one_line(str(error), 80)})"
        else:
            if value is not None or line.strip():
                yield number, value if isinstance(value, dict) else "it is no JSON object"
