"""The same work by this package: the whole stage that makes training rows, outside Prefect.

    python -m tests.data_bench.ours URL FOLDER SCENARIOS ANSWERS

Prints `{"seconds": …, "calls": …, "peak_mb": …}` as the last line. The project is made in the folder
unless it is there; neither that nor reading it and importing is timed. All of the stage is:
planning, rows and their provenance in shards of 250, leak check, lint, every call stored, the card.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

from prefect_ratify.command_line import ENVIRONMENT
from prefect_ratify.finetune.data_settings import DataSettings
from prefect_ratify.flows.generate import generate
from prefect_ratify.flows.project import Models, Settings
from prefect_ratify.flows.run_folder import Run, open_run
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.policy_modules.signatures import CritiqueResponse, ReviseResponse, fenced
from prefect_ratify.records import Sampling
from prefect_ratify.store import write_record
from tests.data_bench.work import CALLS, CLAUSE, MAX_TOKENS, MODEL, question

HELD_OUT = 100


def write_project(folder: Path, scenarios: int) -> None:
    """A project of one clause, which every scenario touches; no check or judge decides on it."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / "policy.md").write_text(f"# Law\n\n## Clauses\n- [empathy] {CLAUSE}\n")
    asked = [(f"d{n}", question(n), "develop") for n in range(scenarios)]
    asked += [(f"h{n}", f"May employer number {n} read what I write at work?", "held_out") for n in range(HELD_OUT)]
    lines = [f'  - {{id: {id_}, query: "{query}", split: {split}}}' for id_, query, split in asked]
    (folder / "scenarios.yaml").write_text("scenarios:\n" + "\n".join(lines) + "\n")
    (folder / "stakeholders.yaml").write_text("people: []\n")


def opened(folder: Path, answers: int) -> Run:
    """The run, as it is after the stages before this one."""
    model = f"hosted_vllm/{MODEL}"
    settings = Settings(
        models=Models(responder=model, critic=model),
        sampling=Sampling(temperature=0.7, max_tokens=MAX_TOKENS),
        data=DataSettings(answers=answers, rounds=1),
    )
    run = open_run(folder, settings)
    write_record(run.stage_folder("refine") / "policy.json", run.project.policy)
    return run


def main(url: str, folder: Path, scenarios: int, answers: int) -> None:
    """Make the rows, or what is missing of them."""
    os.environ.update({"HOSTED_VLLM_API_BASE": url, **ENVIRONMENT})
    write_project(folder, scenarios)
    run = opened(folder, answers)
    _load()
    started = time.perf_counter()
    run_stage(run, "generate", generate)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "calls": CALLS * scenarios * answers, "peak_mb": peak}))


def _load() -> None:
    """Import what the stage imports when it comes to it."""
    for name in ("aiohttp", "pandas", "pyarrow.parquet"):
        import_module(name)
    for signature in (CritiqueResponse, ReviseResponse):
        Prompt(signature, Sampling()).call(dict.fromkeys(signature.input_fields, fenced("")))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
