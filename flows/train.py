"""Train: supervised finetuning on the demonstrations, then DPO on pairs of the tuned model's own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.finetune.dataset import SUPERVISED, shard_name, stream_rows, write_rows
from prefect_ratify.finetune.leaks import require_no_leak
from prefect_ratify.finetune.preferences import prefer, turned_round
from prefect_ratify.finetune.training import merge, train_dpo, train_sft
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.local_models import LocalModel, checkpoint_digest
from prefect_ratify.progress import say
from prefect_ratify.records import PreferencePair, Response, Scenario
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import write_json, write_records


def train(run: Run, folder: Path) -> None:
    """Leave the merged model and the adapter; each step that is done is not done again."""
    student, settings = run.student(), run.settings
    shutil.rmtree(folder / "sft-model.old", ignore_errors=True)
    tuned = folder / "sft-model"
    rows = list(stream_rows(run.stage_folder("generate") / SUPERVISED))
    adapter = train_sft(student.folder, rows, folder / "sft", settings.training, run.seed("train"))
    if not tuned.exists():
        merge(student.folder, adapter, tuned, student.name)
    pairs = _sample_pairs(run, LocalModel("tuned", tuned, checkpoint_digest(tuned)))
    write_records(folder / "pairs.jsonl", pairs)
    if len(pairs) >= settings.fewest_pairs:
        write_rows(pairs, folder / "preferences" / shard_name(0))
        pair_rows = list(stream_rows(folder / "preferences"))
        adapter = train_dpo(student.folder, adapter, pair_rows, folder / "dpo", settings.training, run.seed("train"))
    else:
        say(f"  preference training left out: {len(pairs)} pairs, at least {settings.fewest_pairs} are needed")
    merge(student.folder, adapter, folder / "model", student.name)
    # Half a gigabyte that only the pairs were sampled from. Renamed first: a folder that lost half
    # of its files would be taken for the model after a kill.
    shutil.rmtree(tuned.rename(folder / "sft-model.old"), ignore_errors=True)
    write_json(
        folder / "training.json", {"pairs": len(pairs), "preference_training": len(pairs) >= settings.fewest_pairs}
    )


def tuned_model(run: Run) -> LocalModel:
    """The model that the train stage left."""
    folder = run.stage_folder("train") / "model"
    return LocalModel("finetuned", folder, checkpoint_digest(folder))


def _sample_pairs(run: Run, tuned: LocalModel) -> list[PreferencePair]:
    """Pairs of the tuned model's own answers: to scenarios, which should uphold the clauses, and
    to unrelated requests, which should not show them."""
    draft, policy, suite, settings = run.project.policy, refined_policy(run), run.project.suite, run.settings

    def answer(scenarios: Sequence[Scenario]) -> list[Response]:
        samples = settings.preference_samples
        return run.answer(scenarios, Condition("tuned", tuned), samples=samples, seed=settings.seed + 1)

    most = settings.preference_prompts
    scenarios, unrelated = suite.split("develop")[:most], suite.unrelated_split("develop")[:most]
    answers, off_topic = answer(scenarios), answer(unrelated)
    # A length limit, say, has no worked examples: any short answer keeps it, and may.
    shown = [v for v in run.judge_everywhere(draft, unrelated, off_topic) if suite.guide(v.clause_id).examples]
    pairs = prefer(scenarios, answers, run.judge(draft, scenarios, answers), policy, settings.seed)
    pairs += prefer(unrelated, off_topic, turned_round(shown), policy, settings.seed)
    require_no_leak(pairs, suite.split("held_out") + suite.unrelated_split("held_out"))
    return pairs
