"""What comes back from a handoff folder: a whole model, or a LoRA adapter, as TRL's command left it.

It was made elsewhere, so it is read as untrusted: weights as safetensors alone, no pickled file, no
code of its own; and the tokenizer, with its chat template, stays the base model's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.finetune.training_defaults import Stage
from prefect_ratify.finetune.trl_files import OUTPUT
from prefect_ratify.local_models import prepare_torch
from prefect_ratify.store import read_json, write_json

ADAPTER, CONFIG = "adapter_model.safetensors", "config.json"
# What makes a model another one, whatever it learned.
SHAPE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


@dataclass(frozen=True)
class Trained:
    """What was trained, in order: the folder of a whole model, an adapter's, or of both."""

    stages: tuple[str, ...]
    whole: Path | None
    adapter: Path | None


def find_trained(folder: Path, stages: Sequence[Stage]) -> Trained:
    """What the `stages` left in a handoff folder; InputError where it is nothing, or does not fit together."""
    found = {stage: folder / OUTPUT / stage for stage in stages if _is_model(folder / OUTPUT / stage)}
    if not found:
        raise InputError("nothing was trained here", "see README.md there", path=folder / OUTPUT)
    last = found[list(found)[-1]]
    if not (last / ADAPTER).exists():
        return Trained(tuple(found), last, None)
    if last.name == stages[0]:
        return Trained((last.name,), None, last)
    whole = found.get("sft")
    if whole is None or (whole / ADAPTER).exists():
        what = "is an adapter, from which trl dpo cannot start" if whole else "is gone"
        raise InputError(f"the model that it was trained on, output/sft, {what}", "see README.md there", path=last)
    return Trained(tuple(found), whole, last)


def require_same_shape(base: Path, trained: Trained) -> None:
    """InputError where a whole model is not one of the base model's kind and size."""
    if trained.whole is None:
        return
    ours, theirs = read_json(base / CONFIG), read_json(trained.whole / CONFIG)
    for key in SHAPE:
        if ours.get(key) != theirs.get(key):
            seen = f"{key} is {theirs.get(key)!r}, and the base model's is {ours.get(key)!r}"
            raise InputError(seen, "it was trained from another model", path=trained.whole / CONFIG)


def take_back(base: Path, base_name: str, trained: Trained, folder: Path) -> None:
    """Leave in `folder` what the train stage leaves: the model, the adapter where it is the base's, and the logs.

    InputError where the weights cannot be read as what they should be.
    """
    try:
        model, tokenizer = _merged(trained.whole or base, base, trained.adapter)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        place = trained.adapter or trained.whole
        raise InputError(f"the model cannot be taken back ({one_line(str(error), 300)})", path=place) from None
    model.config._name_or_path = ""
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    if trained.adapter is not None and trained.whole is None:
        _keep_adapter(trained.adapter, folder / "adapter", base_name)
    for stage in trained.stages:
        place = trained.adapter if trained.adapter is not None and trained.adapter.name == stage else trained.whole
        if place is not None:
            write_json(folder / stage / "log.json", read_log(place))


def read_log(folder: Path) -> list[dict[str, float]]:
    """What TRL logged, of the last checkpoint that is there; numbers alone. Empty where there is none."""
    states = folder.glob("checkpoint-*/trainer_state.json")
    last = max(states, key=lambda path: int(path.parent.name.rpartition("-")[2]), default=None)
    history = read_json(last).get("log_history", []) if last else []
    return [_numbers(entry) for entry in history if isinstance(entry, dict)]


def _is_model(folder: Path) -> bool:
    return (folder / ADAPTER).exists() or ((folder / CONFIG).exists() and any(folder.glob("*.safetensors")))


def _merged(whole: Path, base: Path, adapter: Path | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare_torch()
    model = AutoModelForCausalLM.from_pretrained(
        whole, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model, AutoTokenizer.from_pretrained(base, local_files_only=True)


def _keep_adapter(adapter: Path, target: Path, base_name: str) -> None:
    """The adapter apart; it names its base by name, not by a path of the machine that it was trained on."""
    target.mkdir(parents=True)
    shutil.copyfile(adapter / ADAPTER, target / ADAPTER)
    config = {**read_json(adapter / "adapter_config.json"), "base_model_name_or_path": base_name}
    write_json(target / "adapter_config.json", dict(sorted(config.items())))


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in entry.items() if isinstance(value, int | float)}
