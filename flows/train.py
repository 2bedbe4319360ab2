"""Train: supervised finetuning on the demonstrations, then DPO on pairs of the tuned model's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect_ratify.finetune.dataset import read_rows, require_no_leak, write_dataset
from prefect_ratify.finetune.preferences import prefer
from prefect_ratify.finetune.training import merge, train_dpo, train_sft
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.local_models import LocalModel, checkpoint_digest
from prefect_ratify.progress import say
from prefect_ratify.records import PreferencePair
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.running import run as run_suite
from prefect_ratify.store import write_json, write_records


def train(run: Run, folder: Path) -> None:
    """Leave the merged model and the adapter; each step that is done is not done again."""
    student, settings = run.student(), run.settings
    tuned = folder / "sft-model"
    adapter = folder / "sft" / "adapter"
    if not tuned.exists():
        rows = read_rows(run.stage_folder("generate") / "sft")
        adapter = train_sft(student.folder, rows, folder / "sft", settings.training, settings.seed)
        merge(student.folder, adapter, tuned, student.name)
    pairs = _sample_pairs(run, LocalModel("tuned", tuned, checkpoint_digest(tuned)))
    write_records(folder / "pairs.jsonl", pairs)
    if len(pairs) >= settings.fewest_pairs:
        write_dataset(pairs, folder / "preferences")
        pair_rows = read_rows(folder / "preferences")
        adapter = train_dpo(student.folder, adapter, pair_rows, folder / "dpo", settings.training, settings.seed)
    else:
        say(f"  preference training left out: {len(pairs)} pairs, at least {settings.fewest_pairs} are needed")
    merge(student.folder, adapter, folder / "model", student.name)
    shutil.rmtree(tuned)  # half a gigabyte that only the pairs were sampled from
    write_json(
        folder / "training.json", {"pairs": len(pairs), "preference_training": len(pairs) >= settings.fewest_pairs}
    )


def tuned_model(run: Run) -> LocalModel:
    """The model that the train stage left."""
    folder = run.stage_folder("train") / "model"
    return LocalModel("finetuned", folder, checkpoint_digest(folder))


def _sample_pairs(run: Run, tuned: LocalModel) -> list[PreferencePair]:
    policy, scenarios = refined_policy(run), run.project.suite.split("develop")
    responses = run_suite(
        scenarios,
        Condition("tuned", tuned),
        run.store,
        sampling=run.settings.sampling,
        samples=run.settings.preference_samples,
        seed=run.settings.seed + 1,
    )
    pairs = prefer(scenarios, responses, run.judge(policy, scenarios, responses), policy, run.settings.seed)
    suite = run.project.suite
    require_no_leak(pairs, suite.split("held_out") + suite.unrelated_split("held_out"))
    return pairs
