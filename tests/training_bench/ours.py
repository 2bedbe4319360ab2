"""The same through this package.

python -m tests.training_bench.ours CHECKPOINT ROWS.parquet FOLDER STEPS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prefect_ratify.finetune.training import Weights, train_stage
from prefect_ratify.finetune.training_plan import TrainingPlan
from tests.training_bench.work import BEFORE, LORA, SEED, SETTINGS, chats


def main(checkpoint: str, rows: str, folder: str, steps: str) -> list[dict[str, Any]]:
    """Train as the train stage does, watched for collapse; print the trainer's log."""
    plan = TrainingPlan(sft={**SETTINGS, "max_steps": int(steps)}, lora=LORA)
    start, into = Weights(Path(checkpoint)), Path(folder) / "sft"
    train_stage("sft", start, [Path(rows)], into, plan, SEED, prompts=chats(), before=BEFORE)
    log: list[dict[str, Any]] = json.loads((into / "log.json").read_text())
    return log


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
