"""Files of training rows: Parquet shards that `datasets.load_dataset` reads, written once and whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect_ratify.errors import InputError
from prefect_ratify.records import digest
from prefect_ratify.training_rows import Demonstration, JudgedCompletion, PreferencePair

Row = Demonstration | PreferencePair
DATA = "data"  # in the generate stage's folder: what `load_dataset` reads, with its card
SUPERVISED = f"{DATA}/sft"
PREFERENCES = f"{DATA}/preferences"
ROWS_AT_ONCE = 256  # read into memory, however many there are


def row_id(row: Row | JudgedCompletion) -> str:
    """A row's name, of 12 hexadecimal digits: the same row has the same one in every run."""
    return digest(row)[:12]


def write_rows(rows: Sequence[Row | JudgedCompletion], path: Path) -> None:
    """Write rows of one kind as one Parquet file, whole or not at all; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = type(rows[0]) if rows else Demonstration
    table = pa.Table.from_pylist(
        [{"id": row_id(row), **row.model_dump(mode="json")} for row in rows], schema=_schema(kind)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def shard_name(number: int) -> str:
    """The file of a shard's rows."""
    return f"shard-{number:05d}.parquet"


def row_files(folder: Path) -> list[Path]:
    """The shards in a folder, in their order."""
    return sorted(folder.glob("*.parquet"))


def count_rows(folder: Path) -> int:
    """How many rows a folder holds; reads no row."""
    return sum(rows_in(path) for path in row_files(folder))


def rows_in(path: Path) -> int:
    """How many rows one file holds; reads none of them."""
    with open_rows(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def open_rows(path: Path) -> Iterator[Any]:
    """A shard, open to be read; InputError where it is damaged, also further down."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        advice = "put it back as it was, or start anew with: ratify run --fresh"
        raise InputError(f"these rows cannot be read ({error})", advice, path=path) from None


def stream_rows(folder: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a folder, in their order, some hundred in memory at a time."""
    for path in row_files(folder):
        with open_rows(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
                yield from batch.to_pylist()


def demonstrations(folder: Path) -> Iterator[Demonstration]:
    """The same as records; without their ids."""
    for row in stream_rows(folder):
        del row["id"]
        yield Demonstration.model_validate(row)


def _schema(kind: type[Row | JudgedCompletion]) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    critique = pa.struct([("clause_id", text), ("text", text)])
    judged = pa.list_(pa.struct([("clause_id", text), ("outcome", text), ("judge", text)]))
    provenance = pa.struct(
        [
            ("scenario_id", text),
            ("clause_ids", pa.list_(text)),
            ("policy", text),
            ("model", text),
            ("method", text),
            ("seed", number),
            ("varied_from", text),
            ("how", text),
            ("model_digest", text),
            ("prompts", text),
            ("sample", number),
            ("round", number),
            ("original", text),
            ("revisions", pa.list_(pa.struct([("critique", critique), ("text", text)]))),
            ("before", judged),
            ("after", judged),
            ("votes", pa.list_(pa.struct([("clause_id", text), ("choice", text), ("chosen", pa.float64())]))),
            ("soft_label", pa.float64()),
        ]
    )
    columns = ("prompt", "chosen", "rejected") if kind is PreferencePair else ("prompt", "completion")
    label = [("label", pa.bool_())] if kind is JudgedCompletion else []
    return pa.schema([("id", text), *((column, turns) for column in columns), *label, ("provenance", provenance)])
