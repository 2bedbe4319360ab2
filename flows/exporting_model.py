"""`ratify export gguf`: the finetuned model as one file, for llama.cpp and Ollama."""

from __future__ import annotations

from pathlib import Path

from prefect_ratify import embedded
from prefect_ratify.errors import InputError, one_line
from prefect_ratify.finetune.gguf_file import Weights, write_gguf
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.train import tuned_model


def export_gguf(run: Run, target: Path, source: Path | None, weights: Weights) -> str:
    """Write the run's finetuned model as GGUF; returns a line that says so.

    `source` is a GGUF file of the base model; the embedded one brings its own.
    """
    if not run.stage_folder("train").exists():
        raise InputError("nothing is finetuned yet", f"go on with: ratify run {run.project.folder}", path=run.folder)
    if target.exists():
        raise InputError("a file or folder of that name is there already", "name a new one", path=target)
    if source is None and run.student().name != embedded.NAME:
        raise InputError("the tokenizer of the base model is needed as GGUF", "give --source FILE.gguf")
    write_gguf(tuned_model(run).folder, source or embedded.gguf_file(), target, run.project.policy.title, weights)
    return one_line(f"{target}: {target.stat().st_size / 1e6:.0f} MB, {weights}; for example: ollama create NAME -f …")
