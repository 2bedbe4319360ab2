"""The handoff folder: training data and TRL's configurations, to be run where only TRL is installed.

What is handed off is what was approved, byte for byte, and nothing else of the run. handoff.json
says what it was, so that a model which comes back can be held against it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.finetune.dataset import DATA, stream_rows
from prefect_ratify.finetune.trl_files import OUTPUT, Job, by_adapter
from prefect_ratify.markdown_text import escaped
from prefect_ratify.records import Record, canonical
from prefect_ratify.store import read_json, write_record, write_text

HANDOFF = "handoff.json"
# What of the data folder leaves the run; whatever else lies there stays.
LEAVES = ("README.md", "sft/*.parquet", "preferences/*.parquet")


class Handoff(Record):
    """What was handed off: the run and its digests, and those of the files.

    `evidence` is the digest of what the data gate was shown, `ledger` the head of the ledger at
    that time. `base` is the base model's name elsewhere, `base_digest` that of the run's student.
    """

    run: str
    policy: str
    base: str
    base_digest: str
    evidence: str
    ledger: str
    data: dict[str, str]
    configs: dict[str, str]


def data_files(data: Path) -> list[Path]:
    """The files of a data folder that are handed off, in their order."""
    return [path for pattern in LEAVES for path in sorted(data.glob(pattern))]


def data_digests(data: Path) -> dict[str, str]:
    """Their SHA-256 by name, as `sha256sum` prints it."""
    return {path.relative_to(data).as_posix(): sha256(path) for path in data_files(data)}


def sha256(*paths: Path) -> str:
    """The SHA-256 of what files hold, one after another."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: total)
    return total.hexdigest()


def write_handoff(folder: Path, data: Path, handoff: Handoff, texts: Mapping[str, str]) -> None:
    """Write the folder: a copy of the data, the files in `texts`, and handoff.json last.

    `handoff` comes without digests of files, which are taken of what was written.
    """
    for path in data_files(data):
        target = folder / DATA / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for name, text in texts.items():
        write_text(folder / name, text)
    configs = {name: sha256(folder / name) for name in sorted(texts)}
    written = handoff.model_copy(update={"data": data_digests(folder / DATA), "configs": configs})
    write_record(folder / HANDOFF, written)


def read_handoff(folder: Path) -> Handoff:
    """What was handed off in a folder; InputError where it is no handoff folder."""
    path = folder / HANDOFF
    if not path.is_file():
        raise InputError("this is no handoff folder", "ratify handoff makes one", path=path)
    try:
        return Handoff.model_validate(read_json(path))
    except Exception:
        raise InputError("this is not what ratify handoff wrote", path=path) from None


def first_difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What became of the first file that is another one now, in words; '' where all are the same."""
    for name in sorted({*then, *now}):
        if name not in now:
            return f"{name} is missing"
        if name not in then:
            return f"{name} was added"
        if then[name] != now[name]:
            return f"{name} was changed"
    return ""


def require_nothing_private(data: Path, private: Mapping[str, str]) -> None:
    """InputError, naming the row, where the data holds one of these texts; `private` says what each is."""
    written = {canonical(text)[1:-1]: words for text, words in private.items()}  # as JSON writes it
    for place, line in _lines(data):
        for text, words in written.items():
            if text in line:
                raise InputError(f"{place} holds {words}: it would leave with the data", path=data)


def readme(title: str, job: Job, versions: Mapping[str, str], approved_by: str) -> str:
    """What to do with the folder: a heading and five lines. `approved_by` is Markdown."""
    runs = [f"trl {stage} --config {stage}" for stage in job.stages]
    gpu, cpu = (" && ".join(run + ending for run in runs) for ending in (".yaml", "-cpu.yaml"))
    last = job.stages[-1]
    lines = [
        f"Install `{' '.join(f'{name}=={version}' for name, version in versions.items())}`; then, in this folder: "
        f"`{gpu}`. On a CPU: `{cpu}`.",
        "More GPUs: add `--accelerate_config accelerate/fsdp2.yaml --num_processes 8`, or `accelerate/zero3.yaml`; "
        "CPU processes: `torchrun --nproc_per_node 2 -m trl.scripts.sft --config sft-cpu.yaml "
        "--ddp_backend gloo`.",
        f"The base model is `{one_line(job.base)}` (`model_name_or_path`; a folder needs its whole path). "
        + (
            f"By LoRA alone: `{by_adapter(job)} && python merge.py`, then `trl dpo` as above."
            if by_adapter(job)
            else f"{'A LoRA adapter' if job.uses_lora(last) else 'All weights'} will be in {OUTPUT}/{last}."
        ),
        f"The data was approved by {approved_by}. "
        + (
            "`trl dpo` goes on from what `trl sft` leaves."
            if len(job.stages) > 1
            else f"There is no {_other(last)}.yaml: the run trains without it, or has too few rows."
        )
        + (f" Left out, since they need the run itself: {', '.join(job.left_out)}." if job.left_out else ""),
        f"Afterwards bring this folder back, with `{OUTPUT}/`: `ratify adopt PROJECT FOLDER`. "
        f"Leave `{DATA}/` and `{HANDOFF}` as they are; the other files may be edited.",
    ]
    return f"# Training for “{escaped(title)}”\n\n" + "".join(f"{n}. {line}\n" for n, line in enumerate(lines, 1))


def _other(stage: str) -> str:
    return "dpo" if stage == "sft" else "sft"


def _lines(data: Path) -> Iterator[tuple[str, str]]:
    """Everything in the data as text, each with its place; some hundred rows in memory at a time."""
    if (data / "README.md").is_file():
        yield "README.md", canonical((data / "README.md").read_text(encoding="utf-8"))
    folders = sorted({path.parent for path in data_files(data)} - {data})
    for folder in folders:
        for row in stream_rows(folder):
            yield f"row {row['id']}", canonical(row)
