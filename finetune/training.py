"""Training: TRL's own trainers on the rows as they lie in their Parquet shards.

Training metrics are written down and never read as success: a model with perfect reward
margins can be broken. Only the comparison on held-out scenarios says what training did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect_ratify.errors import Collapsed, RatifyError, one_line
from prefect_ratify.finetune.collapse import Watch, watching
from prefect_ratify.finetune.training_defaults import Number, Stage
from prefect_ratify.finetune.training_plan import COLUMNS, TrainingPlan, count_parameters
from prefect_ratify.finetune.training_progress import progress_callback
from prefect_ratify.finetune.trl_config import LORA, make_config, stage_config
from prefect_ratify.local_models import prepare_torch
from prefect_ratify.progress import say
from prefect_ratify.records import Record
from prefect_ratify.store import read_record, write_json, write_record, write_text

# What a row of a stage teaches to say: its length is counted, and a collapse is measured against the first of it.
ANSWERS: dict[Stage, tuple[str, ...]] = {
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "kto": ("completion",),
    "grpo": (),
}
LABELS = {
    "sft": "supervised finetuning",
    "dpo": "preference training",
    "kto": "training on verdicts",
    "grpo": "reinforcement",
}


@dataclass(frozen=True)
class Weights:
    """A model on disk: a checkpoint folder, and the adapter on it where LoRA trained one."""

    checkpoint: Path
    adapter: Path | None = None


class StageSummary(Record):
    """What one stage of training came to.

    `cut` rows were longer than `max_length` tokens and lost their end; `dropped` ones had no room
    for any answer, and TRL left them out (None where rows were packed). `settings` are what TRL and
    peft were told, `sources` where each number comes from.
    """

    stage: Stage
    rows: int
    cut: int
    dropped: int | None
    steps: int
    parameters: int
    settings: dict[str, Any]
    lora: dict[str, Any] | None
    sources: dict[str, str]


def train_stage(
    stage: Stage,
    start: Weights,
    files: Sequence[Path],
    folder: Path,
    plan: TrainingPlan,
    seed: int,
    *,
    prompts: Sequence[Any] = (),
    before: Sequence[str] = (),
) -> Weights:
    """Train on the rows of Parquet files; returns where the trained weights lie.

    A training that was cut off goes on from its last checkpoint; one that is done is not done again.
    `prompts` are chats to which the model is asked for short answers on the way: Collapsed where they
    fall apart, now and each time that the same training is asked for. `before` are answers that it
    gave before any training, where they are there.
    """
    trained = folder / "trained"
    if not trained.exists():
        _refuse_again(folder)
        watched = partial(Watch, folder.name, prompts, path=folder.parent / "looks.json", before=before)
        _train(stage, start, files, folder, plan, seed, watched)
    return Weights(start.checkpoint, trained) if plan.lora is not None else Weights(trained)


def stage_summary(folder: Path) -> StageSummary:
    """What a finished stage came to."""
    return read_record(folder / "summary.json", StageSummary)


def load_rows(files: Sequence[Path], columns: Sequence[str], cache: Path) -> Any:
    """Rows as TRL takes them, memory-mapped from `cache` however many there are."""
    from datasets import load_dataset

    paths = [str(path) for path in files]
    return load_dataset("parquet", data_files=paths, split="train", columns=list(columns), cache_dir=str(cache))


def count_cut(rows: Any, tokenizer: Any, answers: Sequence[str], longest: int | None) -> int:
    """How many rows are longer than `longest` tokens, in any of their answers, and so lose an end."""
    cut = 0
    if longest is None or not answers:
        return 0
    for batch in rows.iter(batch_size=256):
        too_long: set[int] = set()
        for column in answers:
            chats = [prompt + answer for prompt, answer in zip(batch["prompt"], batch[column], strict=True)]
            texts = tokenizer.apply_chat_template(chats, tokenize=False)
            lengths = map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])
            too_long |= {place for place, length in enumerate(lengths) if length > longest}
        cut += len(too_long)
    return cut


def write_model(weights: Weights, folder: Path, base_name: str) -> None:
    """Write trained weights as one ordinary checkpoint; of LoRA's, the adapter beside it."""
    if weights.adapter is not None:
        return merge(weights.checkpoint, weights.adapter, folder, base_name)
    scratch = folder.with_name(folder.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(weights.checkpoint, scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def merge(base: Path, adapter: Path, folder: Path, base_name: str) -> None:
    """Write base and adapter as one ordinary checkpoint, and the adapter beside it.

    The adapter names its base by name, not by this machine's path.
    """
    from peft import PeftModel

    model, tokenizer = _load_base(base)
    scratch = folder.with_name(folder.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.config._name_or_path = ""
    merged.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    target = folder.with_name("adapter")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    shutil.copy(adapter / "adapter_model.safetensors", target)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base_name
    (target / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a training, oldest first; one that was cut off while written is removed.

    The trainer writes its state last, so that a checkpoint without it is not whole.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in found:
        if not (path / "trainer_state.json").exists():
            shutil.rmtree(path)
    return [path for path in found if path.exists()]


def _train(
    stage: Stage,
    start: Weights,
    files: Sequence[Path],
    folder: Path,
    plan: TrainingPlan,
    seed: int,
    watched: Callable[..., Watch],
) -> None:
    from transformers import AutoTokenizer, PrinterCallback

    prepare_torch()
    parameters = count_parameters(start.checkpoint)
    settings, lora = plan.settings(stage, parameters), plan.lora_settings(parameters)
    config = stage_config(stage, _values(settings), str(folder / "checkpoints"), seed, plan.report_to)
    tokenizer = AutoTokenizer.from_pretrained(start.checkpoint, local_files_only=True)
    rows = load_rows(files, COLUMNS[stage], folder / "cache")
    watch = watched(taught=_taught(rows, ANSWERS[stage][:1]))
    try:
        trainer = _trainer(stage, start, config, rows, tokenizer, None if lora is None else _values(lora))
    except ValueError as error:  # what it can only tell from the model and the rows
        raise RatifyError(f"training.yaml: TRL does not train {stage} so: {one_line(str(error), 300)}") from error
    trainer.remove_callback(PrinterCallback)  # it prints every step; log.json keeps them
    trainer.add_callback(progress_callback(LABELS[stage]))
    trainer.add_callback(watching(watch, tokenizer, supervised=stage == "sft"))
    cut = count_cut(rows, tokenizer, ANSWERS[stage], getattr(config, "max_length", None))
    if cut:
        say(f"  {cut} of {len(rows)} rows are longer than {config.max_length} tokens, and lose their end")
    _run(stage, trainer, folder, watch)
    summary = StageSummary(
        stage=stage,
        rows=len(rows),
        cut=cut,
        dropped=None if getattr(config, "packing", False) else len(rows) - len(trainer.train_dataset),
        steps=trainer.state.global_step,
        parameters=parameters,
        settings=_values(settings),
        lora=None if lora is None else _values(lora),
        sources={key: number.source for key, number in (settings | (lora or {})).items()},
    )
    write_record(folder / "summary.json", summary)
    (folder / "part").rename(folder / "trained")
    _clear(folder)


def _trainer(
    stage: Stage, start: Weights, config: Any, rows: Any, tokenizer: Any, lora: Mapping[str, Any] | None
) -> Any:
    """TRL's trainer of a stage. LoRA goes on with the adapter that there is; DPO and KTO then hold it
    against a frozen copy of itself."""
    import trl

    kind = getattr(trl, f"{stage.upper()}Trainer")
    more: dict[str, Any] = {}
    if stage == "grpo":
        from prefect_ratify.finetune.rewards import clause_reward

        more["reward_funcs"] = clause_reward
    model: Any = str(start.checkpoint)
    if start.adapter is not None:
        from peft import PeftModel

        model, _ = _load_base(start.checkpoint, config.model_init_kwargs)
        model = PeftModel.from_pretrained(model, str(start.adapter), is_trainable=True)
        config.model_init_kwargs = None  # used up
    elif lora is not None:
        more["peft_config"] = make_config(LORA, lora)
    return kind(model=model, args=config, train_dataset=rows, processing_class=tokenizer, **more)


def _run(stage: Stage, trainer: Any, folder: Path, watch: Watch) -> None:
    checkpoints = whole_checkpoints(folder / "checkpoints")
    if checkpoints:
        say(f"  going on from {checkpoints[-1].name}")
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    state = trainer.state
    write_json(folder / "log.json", state.log_history)
    if watch.broke:
        error = watch.collapse(stage, state.global_step, state.max_steps, trainer.args.learning_rate)
        write_text(folder / "collapsed.txt", f"{error}\n")
        _clear(folder)
        raise error
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "peft_config"):
        model.save_pretrained(str(part), selected_adapters=["default"])
    else:
        model.config._name_or_path = ""
        model.save_pretrained(str(part))
        trainer.processing_class.save_pretrained(str(part))


def _clear(folder: Path) -> None:
    """Remove what only a training under way needs. What TensorBoard has to show stands among it, and stays."""
    shown = folder / "checkpoints" / "runs"
    if shown.exists():
        shutil.copytree(shown, folder / "runs", dirs_exist_ok=True)
    for scratch in ("checkpoints", "cache"):
        shutil.rmtree(folder / scratch, ignore_errors=True)


def _refuse_again(folder: Path) -> None:
    """The same training would end in the same way: say so at once."""
    found = folder / "collapsed.txt"
    if found.exists():
        raise Collapsed(found.read_text(encoding="utf-8").strip())


def _load_base(base: Path, told: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare_torch()
    usual = {"dtype": torch.float32, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(base, **{**usual, **(told or {})})
    return model, AutoTokenizer.from_pretrained(base, local_files_only=True)


def _taught(rows: Any, columns: Sequence[str]) -> Iterator[str]:
    for column in columns:
        for row in rows.select_columns([column]):
            yield row[column][-1]["content"]


def _values(settings: Mapping[str, Number]) -> dict[str, Any]:
    return {key: number.value for key, number in settings.items()}
