"""Training: TRL's supervised finetuning, then DPO, with LoRA on all linear layers.

Training metrics are written down and never read as success: a model with perfect reward
margins can be broken. Only the comparison on held-out scenarios says what training did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect_ratify.local_models import prepare_torch
from prefect_ratify.progress import say
from prefect_ratify.records import Record


class TrainingSettings(Record):
    """What the two trainings run with; everything else is TRL's default.

    Rates and sizes were found on the embedded 135M model; larger models want lower rates.
    """

    lora_rank: int = 16
    lora_alpha: int = 32
    batch_size: int = 4
    max_length: int = 384
    sft_epochs: float = 2.0
    sft_rate: float = 2e-3
    sft_max_steps: int = -1
    dpo_epochs: float = 1.0
    dpo_rate: float = 2e-4
    dpo_beta: float = 0.1
    dpo_max_steps: int = -1


def train_sft(base: Path, rows: Sequence[dict[str, Any]], folder: Path, settings: TrainingSettings, seed: int) -> Path:
    """Finetune on prompt–completion rows; returns the folder of the adapter.

    A training that was cut off goes on from its last checkpoint; one that is done is not done again.
    """
    if (folder / "adapter").exists():
        return folder / "adapter"
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _load_base(base)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=_dataset(rows, ("prompt", "completion")),
        peft_config=LoraConfig(
            r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=SFTConfig(
            **_shared(folder, settings, seed),
            num_train_epochs=settings.sft_epochs,
            max_steps=settings.sft_max_steps,
            learning_rate=settings.sft_rate,
            completion_only_loss=True,
            train_sampling_strategy="group_by_length",
        ),
        callbacks=[_progress_callback("supervised finetuning")],
    )
    return _train(trainer, folder)


def train_dpo(
    base: Path, adapter: Path, pairs: Sequence[dict[str, Any]], folder: Path, settings: TrainingSettings, seed: int
) -> Path:
    """Train the adapter on, with DPO against a frozen copy of itself; returns the new adapter."""
    if (folder / "adapter").exists():
        return folder / "adapter"
    from peft import PeftModel
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = _load_base(base)
    trainer = DPOTrainer(
        model=PeftModel.from_pretrained(model, str(adapter), is_trainable=True),
        processing_class=tokenizer,
        train_dataset=_dataset(pairs, ("prompt", "chosen", "rejected")),
        args=DPOConfig(
            **_shared(folder, settings, seed),
            num_train_epochs=settings.dpo_epochs,
            max_steps=settings.dpo_max_steps,
            learning_rate=settings.dpo_rate,
            beta=settings.dpo_beta,
        ),
        callbacks=[_progress_callback("preference training")],
    )
    return _train(trainer, folder)


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


def bf16_pays() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()


def _shared(folder: Path, settings: TrainingSettings, seed: int) -> dict[str, Any]:
    import torch

    return {
        "output_dir": str(folder / "checkpoints"),
        "per_device_train_batch_size": settings.batch_size,
        "max_length": settings.max_length,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_steps": 20,
        "save_total_limit": 2,  # one whole, where the newer is cut off
        "report_to": "none",
        "seed": seed % 2**31,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": bf16_pays(),
        "activation_checkpointing": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def _load_base(base: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare_torch()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(base, local_files_only=True)


def _dataset(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{column: row[column] for column in columns} for row in rows])


def _train(trainer: Any, folder: Path) -> Path:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it prints every step; log.json keeps them
    checkpoints = whole_checkpoints(folder / "checkpoints")
    if checkpoints:
        say(f"  going on from {checkpoints[-1].name}")
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    part = folder / "adapter.part"
    trainer.model.save_pretrained(str(part), selected_adapters=["default"])
    (folder / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    part.rename(folder / "adapter")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return folder / "adapter"


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a training, oldest first; one that was cut off while written is removed.

    The trainer writes its state last, so that a checkpoint without it is not whole.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in found:
        if not (path / "trainer_state.json").exists():
            shutil.rmtree(path)
    return [path for path in found if path.exists()]


def _progress_callback(label: str) -> Any:
    import time

    from transformers import TrainerCallback

    from prefect_ratify.progress import duration

    class Progress(TrainerCallback):  # the library's only way to hear of steps
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started = self.shown = time.monotonic()
            self.first = state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            now, done = time.monotonic(), state.global_step - self.first
            if logs and "loss" in logs and done and (now - self.shown > 10 or state.global_step == state.max_steps):
                self.shown = now
                left = (now - self.started) / done * (state.max_steps - state.global_step)
                step = f"step {state.global_step}/{state.max_steps}"
                say(f"  {label}: {step} · loss {logs['loss']:.3f} · about {duration(left)} left")

    return Progress()
