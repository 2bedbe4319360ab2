"""Importing: scenarios out of tables, datasets, Inspect logs and promptfoo configs.

A source is foreign text: nothing in it is run, and a row that cannot be read is named, not fatal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.policy import read_text
from prefect_ratify.scenarios.imported import TEXTS, Imported, from_rows, text_field
from prefect_ratify.scenarios.inspect_log import json_file, samples_in
from prefect_ratify.scenarios.promptfoo import from_promptfoo

Kind = Literal["csv", "jsonl", "dataset", "inspect", "promptfoo"]
KINDS: tuple[str, ...] = get_args(Kind)
_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "dataset",
    ".eval": "inspect",
    ".yaml": "promptfoo",
    ".yml": "promptfoo",
}
Rows = list[tuple[str, Any]]  # place, and the row or (a text) why there is none


def import_from(source: Path, clause_ids: Collection[str], kind: str | None = None) -> Imported:
    """Read a source; InputError where it cannot be read at all, or no row of it can be a scenario."""
    if not source.exists():
        raise InputError("there is no such file or folder", "data sets are read from local folders", path=source)
    kind = kind or kind_of(source)
    if kind == "promptfoo":
        return from_promptfoo(source)
    rows, notes = rows_of(source, kind)
    _require_text(source, rows)
    found = from_rows(rows, clause_ids)
    return found.model_copy(update={"notes": (*found.notes, *notes)})


def rows_of(source: Path, kind: str) -> tuple[Rows, tuple[str, ...]]:
    """The rows of a source of any kind but promptfoo, and notes on how they were read."""
    if kind == "dataset":
        return _dataset(source)
    if kind == "inspect":
        return samples_in(source), ()
    return _csv(source) if kind == "csv" else _jsonl(source), ()


def kind_of(source: Path) -> str:
    """The format of a source, by its ending or, for JSON, by what is in it."""
    if source.is_dir():
        return "dataset"
    kind = _ENDINGS.get(source.suffix.lower())
    if kind is None and source.suffix.lower() == ".json":
        value = json_file(source)
        kind = "jsonl" if isinstance(value, list) else None
        if isinstance(value, dict):
            kind = "inspect" if "eval" in value else "promptfoo" if "tests" in value else None
    if kind is None:
        raise InputError("the format is not known", f"name it: --format {'|'.join(KINDS)}", path=source)
    return kind


def _csv(source: Path) -> Rows:
    text = read_text(source)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Rows = []
    try:
        header = next(reader, [])
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((f"{source.name}:{line}", _row(header, cells)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"this is not a table ({error})", path=source, line=reader.line_num) from None
    return rows


def _row(header: list[str], cells: list[str]) -> Any:
    if len(cells) > len(header):
        return f"it has {len(cells)} cells, and the table {len(header)} columns"
    return dict(zip(header, cells, strict=False))


def _jsonl(source: Path) -> Rows:
    text = read_text(source)
    if text.lstrip().startswith("["):
        value = json_file(source)
        return [(f"{source.name}, row {number}", row) for number, row in enumerate(value, 1)]
    lines = enumerate(text.split("\n"), 1)
    return [(f"{source.name}:{number}", _line(line)) for number, line in lines if line.strip()]


def _line(line: str) -> Any:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON ({one_line(str(error), 80)})"
    return value if isinstance(value, dict) else "it is no JSON object"


def _dataset(source: Path) -> tuple[Rows, tuple[str, ...]]:
    """Rows that the library `datasets` reads: a saved data set, or a folder or file of data files."""
    import tempfile

    import datasets

    folder = source.absolute()
    with tempfile.TemporaryDirectory() as cache:
        try:
            if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
                loaded = datasets.load_from_disk(str(folder), keep_in_memory=True)
            elif folder.is_dir():
                loaded = datasets.load_dataset(str(folder), cache_dir=cache, keep_in_memory=True)
            else:
                files = str(folder)
                loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=cache, keep_in_memory=True)
        except Exception as error:  # whatever the library cannot read, it says so in its own ways
            raise InputError(f"datasets cannot read this ({one_line(str(error), 200)})", path=source) from None
        parts = dict(loaded) if isinstance(loaded, dict) else {"": loaded}
        rows = [
            (f"{source.name}, {f'{name} ' if name else ''}row {number}", row)
            for name, part in parts.items()
            for number, row in enumerate(part, 1)
        ]
    names = ", ".join(f"{name} ({len(part)} rows)" for name, part in parts.items())
    note = f"the data set's own parts are read together: {names}; ids decide what is held out"
    return rows, (note,) if len(parts) > 1 else ()


def _require_text(source: Path, rows: Rows) -> None:
    """InputError where no row has a field for the user's words: then the columns are named otherwise."""
    names = dict.fromkeys(str(key).strip().lower() for _, row in rows if isinstance(row, dict) for key in row)
    if not rows:
        raise InputError("there is no row", path=source)
    if names and not text_field(names):
        seen = ", ".join(names)
        raise InputError(
            f"no column is a query; there are: {seen}", f"name one {', '.join(TEXTS)} or messages", path=source
        )
