"""Files of a run: records one a line, values as JSON, each written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from prefect_ratify.errors import InputError, RatifyError, one_line
from prefect_ratify.records import Record

R = TypeVar("R", bound=Record)


def write_text(path: Path, text: str) -> None:
    """Write a file by way of a temporary one, so that a crash leaves the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def require_writable(*paths: Path | None) -> None:
    """InputError for a report that could not be written there: to be asked before anything is paid for."""
    for path in (path for path in paths if path is not None):
        if path.is_dir():
            raise InputError("the report cannot be written: this is a folder", "name a file in it", path=path)
        if not path.parent.is_dir():
            raise InputError("the report cannot be written: there is no such folder", "make it first", path=path.parent)
        if not os.access(path.parent, os.W_OK):
            raise InputError("the report cannot be written: nothing can be written here", path=path.parent)


def write_for_people(path: Path, text: str) -> None:
    """Write what a person asked for; InputError where that cannot be done."""
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"the report cannot be written ({error.strerror})", path=path) from None


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, and see it on the disk before going on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def private_folder() -> Path:
    """This worker's own folder, readable by its user alone: code seeds, ledger heads, served reports.

    `RATIFY_PRIVATE` moves it. It never lies in a project, nor anywhere that Prefect can see.
    """
    folder = Path(os.environ.get("RATIFY_PRIVATE") or Path.home() / ".config" / "prefect-ratify").absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_private(path: Path, value: Any) -> None:
    """Write a JSON value into a file that its user alone may read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented for people."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON value; RatifyError where the file is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one JSON object a line."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Read records that `write_records` wrote; RatifyError where the file is missing or broken."""
    try:
        return [kind.model_validate_json(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise RatifyError(f"{path}: cannot be read ({one_line(str(error), 200)}); run again with --fresh") from None


def write_record(path: Path, record: Record) -> None:
    """Write one record as JSON."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path, kind: type[R]) -> R:
    """Read one record that `write_record` wrote; RatifyError where it is of another shape."""
    value = read_json(path)
    try:
        return kind.model_validate(value)
    except ValueError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> RatifyError:
    return RatifyError(one_line(f"{path}: cannot be read ({error}); run again with --fresh"))
