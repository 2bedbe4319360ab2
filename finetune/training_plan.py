"""How a student is trained: which of TRL's trainers, in what order, and what each is told.

What stands in a section is TRL's (or peft's) own and passes through as it is. What it leaves out
comes from `training_defaults`, and beneath that TRL's own defaults hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from prefect_ratify.finetune.training_defaults import Number, Stage, by_size, defaults, lora_defaults
from prefect_ratify.records import Record

STAGES: tuple[Stage, ...] = ("sft", "dpo", "kto", "grpo")  # the order in which they may come
# What of a row a stage's trainer is given.
COLUMNS: dict[Stage, tuple[str, ...]] = {
    "sft": ("prompt", "completion"),
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
    "grpo": ("prompt", "checks"),
}
GIVEN = "given"  # the source of a number that people set


class TrainingPlan(Record):
    """What training.yaml says; everything may be left out.

    `stages` train on the rows of the data stage, in this order. After them come `on_policy_rounds`
    of DPO on pairs of the tuned model's own answers. None of either is the default for the
    student's size. The sections are keyword arguments of TRL's SFTConfig, DPOConfig, KTOConfig and
    GRPOConfig; `lora` those of peft's LoraConfig, and None is full finetuning. `report_to` names
    trackers as TRL does.
    """

    stages: tuple[Stage, ...] | None = None
    on_policy_rounds: int | None = Field(default=None, ge=0)
    sft: dict[str, Any] = Field(default_factory=dict)
    dpo: dict[str, Any] = Field(default_factory=dict)
    kto: dict[str, Any] = Field(default_factory=dict)
    grpo: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] | None = Field(default_factory=dict)
    report_to: tuple[str, ...] = ()

    def section(self, stage: Stage) -> dict[str, Any]:
        """What people set for a stage."""
        return dict(getattr(self, stage))

    def steps(self, parameters: int) -> tuple[tuple[Stage, ...], int]:
        """The stages on the data stage's rows, and the rounds of DPO on own answers after them."""
        if self.stages is not None:
            return self.stages, self.on_policy_rounds or 0
        stages, rounds = by_size(parameters).stages
        return stages, rounds if self.on_policy_rounds is None else self.on_policy_rounds

    def settings(self, stage: Stage, parameters: int) -> dict[str, Number]:
        """The keyword arguments of a stage's configuration, each with where it comes from.

        Those that depend on the machine, the folder and the run's seed are not among them.
        """
        given = {key: Number(value, GIVEN) for key, value in self.section(stage).items()}
        return {**defaults(stage, parameters, lora=self.lora is not None), **given}

    def lora_settings(self, parameters: int) -> dict[str, Number] | None:
        """The keyword arguments of peft's LoraConfig; None for full finetuning."""
        if self.lora is None:
            return None
        given = {key: Number(value, GIVEN) for key, value in self.lora.items()}
        return {**lora_defaults(parameters), **given}


def count_parameters(checkpoint: Path) -> int:
    """How many parameters a checkpoint folder holds, from the headers of its files; loads no weight.

    (The first eight bytes of a safetensors file are the length of a JSON header, which gives each
    tensor's shape.)
    """
    return sum(math.prod(shape) for shape in _shapes(checkpoint).values())


def unknown_module(checkpoint: Path, targets: str | Sequence[str]) -> str:
    """The first of LoRA's `target_modules` that no weight of a checkpoint belongs to; '' where there is none.

    As peft reads them: several are ends of modules' names, and a text alone is a pattern.
    """
    modules = [name.rpartition(".")[0] for name in _shapes(checkpoint)]
    patterns = {targets: targets} if isinstance(targets, str) else {target: re.escape(target) for target in targets}
    patterns.pop("all-linear", None)
    unknown = (target for target, pattern in patterns.items() if not _any_is(pattern, modules))
    return next(unknown, "") if modules else ""


def _any_is(pattern: str, modules: Sequence[str]) -> bool:
    try:
        end = re.compile(rf"(.*\.)?({pattern})")
    except re.error:
        return False
    return any(map(end.fullmatch, modules))


def _shapes(checkpoint: Path) -> dict[str, list[int]]:
    """The shape of each tensor by its name."""
    found: dict[str, list[int]] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found |= {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    return found
