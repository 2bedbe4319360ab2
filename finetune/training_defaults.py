"""What training is told where nobody says: a small table by model size, each number with its source.

Rates of full finetuning are a tenth of LoRA's where a source gives only one of them, and LoRA's
alpha is 32 whatever the rank, so that the best rate does not depend on the rank: both after
Schulman and Thinking Machines Lab 2025 (*LoRA Without Regret*, on setting LoRA's hyperparameters).
Everything that is not here is TRL's own default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["sft", "dpo", "kto", "grpo"]

OURS = "found on SmolLM2-135M-Instruct with the shipped example"
TRL = "TRL's default"
REGRET = "LoRA Without Regret (Schulman and Thinking Machines Lab 2025)"
TRL_LORA = "TRL's guide to LoRA Without Regret"
TENTH = f"a tenth of LoRA's rate: {REGRET}"
TENFOLD = f"ten times the rate of full finetuning: {REGRET}"
SMOLLM = "alignment-handbook, recipes/smollm2"
ZEPHYR = "alignment-handbook, recipes/zephyr-7b-beta"
QLORA = "QLoRA (Dettmers et al. 2023, arXiv 2305.14314)"
TULU = "Tülu 3 (Lambert et al. 2024, arXiv 2411.15124; open-instruct, docs/tulu3.md)"
UNTRIED = "not tuned; as for larger models"
DPO_S = "DPO's, not tuned for KTO"


@dataclass(frozen=True)
class Number:
    """A setting's value, and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Size:
    """The defaults for models of at most so many parameters.

    Rates are LoRA's and those of full finetuning; `per_device` rows at a time, gradients of
    `accumulate` of them together; lengths in tokens. `stages` are what is trained where nobody
    says, and the number of rounds on own answers.
    """

    most: float
    stages: tuple[tuple[Stage, ...], int]
    sft_rates: tuple[Number, Number]
    dpo_rates: tuple[Number, Number]
    rank: Number
    sft_epochs: Number
    warmup: Number
    per_device: Number
    accumulate: Number
    sft_length: Number
    dpo_length: Number
    save_steps: Number
    logging_steps: Number


TABLE = (
    Size(
        most=200e6,
        # Pairs in which the untuned model's answer is rejected were tried and broke this student:
        # its answers lie too far from the chosen ones. Pairs of its own, tuned, answers do not.
        stages=(("sft",), 1),
        sft_rates=(Number(2e-3, OURS), Number(2e-4, TENTH)),
        dpo_rates=(Number(2e-4, OURS), Number(2e-5, TENTH)),
        rank=Number(16, OURS),
        sft_epochs=Number(2, OURS),
        warmup=Number(0, OURS),
        per_device=Number(4, OURS),
        accumulate=Number(1, OURS),
        sft_length=Number(384, OURS),
        dpo_length=Number(384, OURS),
        save_steps=Number(20, OURS),
        logging_steps=Number(1, OURS),
    ),
    Size(
        most=1.5e9,
        stages=(("sft", "dpo"), 0),
        sft_rates=(Number(2e-4, TRL_LORA), Number(2e-5, TRL)),
        dpo_rates=(Number(1e-5, TENFOLD), Number(1e-6, SMOLLM)),
        rank=Number(16, ZEPHYR),
        sft_epochs=Number(2, SMOLLM),
        warmup=Number(0.1, SMOLLM),
        per_device=Number(4, SMOLLM),
        accumulate=Number(4, f"16 rows a step, under the 32 of {REGRET}"),
        sft_length=Number(1024, TRL),
        dpo_length=Number(1024, SMOLLM),
        save_steps=Number(100, ZEPHYR),
        logging_steps=Number(10, TRL),
    ),
    Size(
        most=8.5e9,  # "8B" models have up to 8.2 billion
        stages=(("sft", "dpo"), 0),
        sft_rates=(Number(2e-4, ZEPHYR), Number(5e-6, TULU)),
        dpo_rates=(Number(5e-6, ZEPHYR), Number(5e-7, ZEPHYR)),
        rank=Number(16, ZEPHYR),
        sft_epochs=Number(2, TULU),
        warmup=Number(0.1, ZEPHYR),
        per_device=Number(4, ZEPHYR),
        accumulate=Number(4, f"16 rows a step, under the 32 of {REGRET}"),
        sft_length=Number(2048, ZEPHYR),
        dpo_length=Number(1024, ZEPHYR),
        save_steps=Number(100, ZEPHYR),
        logging_steps=Number(10, TRL),
    ),
    Size(
        most=float("inf"),
        stages=(("sft", "dpo"), 0),
        sft_rates=(Number(1e-4, QLORA), Number(2e-6, TULU)),
        dpo_rates=(Number(2e-6, TENFOLD), Number(2e-7, TULU)),
        rank=Number(64, QLORA),
        sft_epochs=Number(2, TULU),
        warmup=Number(0.1, ZEPHYR),
        per_device=Number(1, TULU),
        accumulate=Number(16, f"16 rows a step, under the 32 of {REGRET}"),
        sft_length=Number(4096, TULU),
        dpo_length=Number(2048, TULU),
        save_steps=Number(100, ZEPHYR),
        logging_steps=Number(10, TRL),
    ),
)


def by_size(parameters: int) -> Size:
    """The defaults for a model of so many parameters."""
    return next(size for size in TABLE if parameters <= size.most)


def defaults(stage: Stage, parameters: int, *, lora: bool) -> dict[str, Number]:
    """Keyword arguments of a stage's TRL configuration for a model of this size."""
    size = by_size(parameters)
    found = {
        "lr_scheduler_type": Number("cosine", ZEPHYR),
        "warmup_steps": size.warmup,  # below 1 it is a share of all steps
        "per_device_train_batch_size": size.per_device,
        "gradient_accumulation_steps": size.accumulate,
        "save_steps": size.save_steps,
        "save_total_limit": Number(2, "one whole checkpoint, where the newer is cut off"),
        "logging_steps": size.logging_steps,
    }
    return found | _OF_STAGE[stage](size, 0 if lora else 1)


def lora_defaults(parameters: int) -> dict[str, Number]:
    """Keyword arguments of peft's LoraConfig for a model of this size."""
    return {
        "r": by_size(parameters).rank,
        "lora_alpha": Number(32, REGRET),
        "target_modules": Number("all-linear", REGRET),
        "task_type": Number("CAUSAL_LM", "all that is trained here"),
    }


def _sft(size: Size, method: int) -> dict[str, Number]:
    return {
        "learning_rate": size.sft_rates[method],
        "num_train_epochs": size.sft_epochs,
        "max_length": size.sft_length,
        "completion_only_loss": Number(True, TRL),
        "train_sampling_strategy": Number("group_by_length", "less padding"),
    }


def _dpo(size: Size, method: int) -> dict[str, Number]:
    return {
        "learning_rate": size.dpo_rates[method],
        "num_train_epochs": Number(1, ZEPHYR),
        "max_length": size.dpo_length,
        "beta": Number(0.1, TRL),
    }


def _kto(size: Size, method: int) -> dict[str, Number]:
    """DPO's numbers, which nobody has tuned for this; rows of one batch are each other's measure, so at least two."""
    found = {key: Number(number.value, DPO_S) for key, number in _dpo(size, method).items()}
    if size.per_device.value < 2:
        found["per_device_train_batch_size"] = Number(2, "the fewest that KTO can do")
    return found


def _grpo(size: Size, method: int) -> dict[str, Number]:
    return {
        "learning_rate": (Number(1e-5, TRL_LORA), Number(1e-6, TRL_LORA))[method],
        "num_train_epochs": Number(1, TRL_LORA),
        "num_generations": Number(8, TRL),
        "per_device_train_batch_size": Number(8, "one prompt's answers"),
        "max_completion_length": Number(256, UNTRIED),
        "mask_truncated_completions": Number(True, "a check cannot tell of an answer that was cut off"),
    }


_OF_STAGE = {"sft": _sft, "dpo": _dpo, "kto": _kto, "grpo": _grpo}
