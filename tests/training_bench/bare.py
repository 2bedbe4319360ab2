"""What people write who have TRL and nothing else.

python -m tests.training_bench.bare CHECKPOINT ROWS.parquet FOLDER STEPS
"""

from __future__ import annotations

import json
import sys
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from prefect_ratify.finetune.trl_config import bf16_pays
from tests.training_bench.work import LORA, SEED, SETTINGS


def main(checkpoint: str, rows: str, folder: str, steps: str) -> list[dict[str, Any]]:
    """Train, keep the adapter, and print the trainer's log."""
    data = load_dataset("parquet", data_files=[rows], split="train", cache_dir=f"{folder}/cache")
    config = SFTConfig(
        **SETTINGS,
        max_steps=int(steps),
        output_dir=f"{folder}/checkpoints",
        seed=SEED,
        report_to="none",
        use_cpu=True,
        bf16=bf16_pays(),
        activation_checkpointing=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=checkpoint,
        args=config,
        train_dataset=data.select_columns(["prompt", "completion"]),
        peft_config=LoraConfig(**LORA),
    )
    trainer.train()
    trainer.save_model(f"{folder}/adapter")
    log: list[dict[str, Any]] = trainer.state.log_history
    return log


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
