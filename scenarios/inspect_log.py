"""Inspect AI's logs, read as files: JSON, or a zip archive with a JSON file a sample."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text

LARGEST_MEMBER = 512 * 1024 * 1024  # bytes of one sample
_ZSTANDARD = 93  # how Inspect packs, and what Python 3.11 cannot unpack


def samples_in(source: Path) -> list[tuple[str, Any]]:
    """The samples of an Inspect log: the first epoch's, and the others as rows that say so."""
    rows: list[tuple[str, Any]] = []
    for sample in raw_samples(source):
        if not isinstance(sample, dict) or "input" not in sample:
            rows.append((f"{source.name}, sample {len(rows) + 1}", "it has no input"))
            continue
        place = f"{source.name}, sample {sample.get('id', len(rows) + 1)}"
        if sample.get("epoch", 1) != 1:
            rows.append((f"{place}, epoch {sample['epoch']}", "it is another epoch of the same sample"))
            continue
        metadata = sample["metadata"] if isinstance(sample.get("metadata"), dict) else {}
        more = {f"metadata.{key}": value for key, value in metadata.items() if key != "tags"}
        row = {"id": sample.get("id"), "messages": sample["input"], "tags": metadata.get("tags"), **more}
        rows.append((place, row | {key: sample[key] for key in ("target", "choices") if sample.get(key)}))
    return rows


def raw_samples(source: Path) -> Iterator[Any]:
    """Each sample as the log has it; InputError where it is no log, or cannot be read."""
    if not zipfile.is_zipfile(source):
        log = json_file(source)
        samples = log.get("samples") if isinstance(log, dict) else None
        if not isinstance(samples, list):
            raise InputError("this is no Inspect log with samples", "give a .eval or .json log", path=source)
        yield from samples
        return
    with zipfile.ZipFile(source) as log:
        members = [m for m in log.infolist() if m.filename.startswith("samples/") and m.filename.endswith(".json")]
        if not members:
            raise InputError("this is no Inspect log with samples", "give a .eval or .json log", path=source)
        for member in members:
            try:
                yield json.loads(unpacked(log, member, source))
            except (OSError, ValueError, zipfile.BadZipFile, RecursionError) as error:
                raise InputError(f"{member.filename} cannot be read ({error})", path=source) from None


def unpacked(log: zipfile.ZipFile, member: zipfile.ZipInfo, source: Path) -> bytes:
    """A file of a packed log."""
    if member.file_size > LARGEST_MEMBER:
        raise InputError(f"{member.filename} has {member.file_size} bytes", "that is too large", path=source)
    if member.compress_type != _ZSTANDARD:
        return log.read(member)
    import pyarrow

    with source.open("rb") as file:
        file.seek(member.header_offset + 26)  # a member's own header ends with its name and extra fields
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        file.seek(name + extra, io.SEEK_CUR)
        packed = io.BytesIO(file.read(member.compress_size))
    with pyarrow.CompressedInputStream(packed, "zstd") as stream:
        return bytes(stream.read(member.file_size))


def json_file(source: Path) -> Any:
    """A JSON file's value; InputError with the line where it is none."""
    try:
        return json.loads(read_text(source))
    except RecursionError:
        raise InputError("this is nested too deep", path=source) from None
    except ValueError as error:
        raise InputError(f"this is not JSON ({error})", path=source, line=getattr(error, "lineno", None)) from None
