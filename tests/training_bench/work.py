"""What both sides train on, and how: rows of some length, settings in TRL's own names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect_ratify.finetune.dataset import shard_name, write_rows
from prefect_ratify.records import Message
from prefect_ratify.training_rows import Demonstration, PreferencePair, Provenance

SEED = 7
LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_length": 384,
    "logging_steps": 1,
    "save_steps": 20,
    "save_total_limit": 2,
    "completion_only_loss": True,
    "train_sampling_strategy": "group_by_length",
}
ORIGIN = Provenance(scenario_id="s", clause_ids=(), policy="p", model="m", method="bench", seed=0)
CASES = (
    "the lease",
    "a fine",
    "my wages",
    "the custody of our son",
    "a contract",
    "noise at night",
    "a debt",
    "a will",
)
BEFORE = ["The law of that is complicated, and it depends on where you live."] * 8  # as the prototype stage leaves some
ASKS = ("What can I do about {}?", "Somebody took me to court over {}, and I do not know what comes next.")


def write_demonstrations(folder: Path, count: int) -> Path:
    """So many rows in one shard: requests, with answers of two or three sentences."""
    rows = []
    for number in range(count):
        case, ask = CASES[number % len(CASES)], ASKS[number // len(CASES) % len(ASKS)]
        said = f"I'm sorry that you have to deal with {case}. How long has this gone on? "
        more = "Whether the law helps depends on where you live and on what was written down. " * (1 + number % 3)
        rows.append(
            Demonstration(prompt=_chat("user", ask.format(case)), completion=_answer(said + more), provenance=ORIGIN)
        )
    write_rows(rows, folder / shard_name(0))
    return folder / shard_name(0)


def write_pairs(folder: Path, count: int) -> Path:
    """So many pairs in one shard."""
    rows = [
        PreferencePair(
            prompt=_chat("user", ASKS[0].format(case)),
            chosen=_answer(f"I'm sorry about {case}. How long has this gone on?"),
            rejected=_answer(f"The law of {case} is complicated."),
            provenance=ORIGIN,
        )
        for case in (CASES[number % len(CASES)] for number in range(count))
    ]
    write_rows(rows, folder / shard_name(0))
    return folder / shard_name(0)


def chats() -> list[list[dict[str, str]]]:
    """Requests by which a model in training is watched."""
    return [[{"role": "user", "content": ASKS[0].format(case)}] for case in CASES]


def _chat(role: str, text: str) -> tuple[Message, ...]:
    return (Message.model_validate({"role": role, "content": text}),)


def _answer(text: str) -> tuple[Message, ...]:
    return _chat("assistant", text)
