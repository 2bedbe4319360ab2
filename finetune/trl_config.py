"""TRL's and peft's own configurations, made of what people wrote: nothing is wrapped, all passes through.

What is not passed is refused: what a run decides itself, names that the library does not have, and
values that it does not take. Everything here imports TRL, which takes seconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from prefect_ratify.errors import one_line
from prefect_ratify.finetune.training_defaults import Stage

LORA = "lora"
# What a run decides itself, and why nobody else may.
RESERVED = {
    "output_dir": "a run keeps its checkpoints in its own folder",
    "resume_from_checkpoint": "a run that was cut off goes on by itself",
    "overwrite_output_dir": "a run goes on from its own checkpoints",
    "seed": "it is the run's: give --seed",
    "data_seed": "it is the run's: give --seed",
    "report_to": "it stands beside the sections, and holds for all of them",
    "eval_strategy": "nothing is held out of training for it: held-out scenarios are for the comparison",
    "do_eval": "nothing is held out of training for it: held-out scenarios are for the comparison",
    "load_best_model_at_end": "nothing is held out of training for it: held-out scenarios are for the comparison",
    "push_to_hub": "nothing leaves this machine by itself",
    "hub_model_id": "nothing leaves this machine by itself",
    "hub_token": "secrets are written nowhere",
    "push_to_hub_token": "secrets are written nowhere",
    "reward_weights": "there is one reward function",
}


# What TRL and peft take as it is, and training refuses once it has begun, or goes through without learning anything
# (each tried with TRL 1.16): what is taken in words, and the test of it. Some hold for one section alone.
_ABOVE_NOTHING = ("a number above 0", lambda n: 0 < n < math.inf)
_NOT_NEGATIVE = ("no number below 0", lambda n: 0 <= n < math.inf)
_FROM_ONE = ("a whole number from 1 on", lambda n: n >= 1)
_TRAINS: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("learning_rate", "num_train_epochs", "lora_alpha", "dpo.beta", "kto.beta"), _ABOVE_NOTHING),
    **dict.fromkeys(("per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "r"), _FROM_ONE),
    **dict.fromkeys(("grpo.max_completion_length", "grpo.num_iterations"), _FROM_ONE),
    **dict.fromkeys(("warmup_steps", "adam_epsilon", "weight_decay"), _NOT_NEGATIVE),
    **dict.fromkeys(("neftune_noise_alpha", "dataloader_num_workers"), _NOT_NEGATIVE),
    **dict.fromkeys(("desirable_weight", "undesirable_weight", "grpo.beta", "grpo.epsilon"), _NOT_NEGATIVE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), ("a number from 0 to below 1", lambda n: 0 <= n < 1)),
    "lora_dropout": ("a number from 0 to 1", lambda n: 0 <= n <= 1),
    "max_steps": ("a whole number from 1 on, or -1 for none", lambda n: n >= 1 or n == -1),
    "dpo.label_smoothing": ("a number from 0 to below 0.5", lambda n: 0 <= n < 0.5),
    "kto.per_device_train_batch_size": ("a whole number from 2 on", lambda n: n >= 2),
    "grpo.temperature": _ABOVE_NOTHING,
    "grpo.top_p": ("a number above 0, to 1", lambda n: 0 < n <= 1),
}
# Words that TRL's losses know and its configurations do not declare: any other one fails at the first step.
_WORDS: dict[str, tuple[str, ...]] = {
    "dpo.loss_type": (
        *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
        *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
    ),
    "dpo.f_divergence_type": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    "grpo.loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
}


def config_class(section: str) -> Any:
    """The class whose keyword arguments a section holds."""
    if section == LORA:
        import peft

        return peft.LoraConfig
    import trl

    return getattr(trl, f"{section.upper()}Config")


def why_no_key(section: str, key: str) -> tuple[str, str]:
    """What is wrong with a key and what to do about it; two empty texts where nothing is."""
    if section != LORA and key in RESERVED:
        return f"{key!r} may not be set here", RESERVED[key]
    known = _fields(section)
    if key in known:
        return "", ""
    near = difflib.get_close_matches(key, known, 1)
    name = config_class(section).__name__
    return f"{name} of {_version(section)} has no {key!r}", f"did you mean {near[0]!r}?" if near else ""


def why_no_value(section: str, key: str, value: Any) -> str:
    """What is wrong with a value by the type that the library declares, or for training; '' where nothing is."""
    seen = one_line(repr(value), 60)
    try:
        read = as_declared(section, key, value)
    except ValueError:
        return f"{key} takes {_named(_fields(section)[key])}, not {seen}"
    limit = _TRAINS.get(f"{section}.{key}") or _TRAINS.get(key)
    if limit and isinstance(read, int | float) and not limit[1](read):
        return f"{key} takes {limit[0]}, not {seen}"
    words = _choices(section).get(key, ())
    if words and not {None, *words}.issuperset(value if isinstance(value, list) else [value]):
        return f"{key} takes {', '.join(words)}, not {seen}"
    return ""


def as_declared(section: str, key: str, value: Any) -> Any:
    """The value in the type that the library declares: YAML reads 5e-5 as a text. ValueError where it is none."""
    reader = _reader(section, key)
    if reader is None:
        return value
    try:
        read = reader.validate_python(value)
    except ValueError:
        if get_origin(_fields(section)[key]) is list and not isinstance(value, list):
            return reader.validate_python([value])  # TRL takes one as a list of one
        raise
    return read if isinstance(read, int | float) else value


def make_config(section: str, values: Mapping[str, Any]) -> Any:
    """The configuration itself; ValueError (or what else the library raises) where it takes no such values."""
    return config_class(section)(**{key: as_declared(section, key, value) for key, value in values.items()})


def why_no_tracker(name: str) -> str:
    """Why nothing can be reported there; '' where it can."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if name not in INTEGRATION_TO_CALLBACK:
        return f"there is no tracker {name!r}: TRL reports to {', '.join(INTEGRATION_TO_CALLBACK)}"
    try:
        INTEGRATION_TO_CALLBACK[name]()
    except (RuntimeError, ImportError) as error:
        return one_line(f"nothing can be reported to {name}: {error}", 300)
    return ""


@cache
def _fields(section: str) -> dict[str, Any]:
    """The types of what a configuration takes, by name."""
    kind = config_class(section)
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError):  # an annotation that only a type checker can resolve
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(kind) if field.init}


@cache
def _choices(section: str) -> dict[str, tuple[str, ...]]:
    """The words that a setting takes, where it takes no others."""
    declared = {field.name: field.metadata.get("choices") for field in dataclasses.fields(config_class(section))}
    ours = {key.partition(".")[2]: words for key, words in _WORDS.items() if key.startswith(f"{section}.")}
    return {**{key: tuple(words) for key, words in declared.items() if words}, **ours}


@cache
def _reader(section: str, key: str) -> Any:
    """What reads a value of this type; None where the type is the library's own."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        return TypeAdapter(_fields(section)[key])
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _named(kind: Any) -> str:
    """A type as people say it."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a mapping"}
    parts = [part for part in get_args(kind) if part is not type(None)]
    if kind in names or not parts or get_origin(kind) in (list, dict):
        return names.get(kind) or {list: "a list", dict: "a mapping"}.get(get_origin(kind), str(kind))
    return " or ".join(dict.fromkeys(_named(part) for part in parts))


def _version(section: str) -> str:
    from importlib.metadata import version

    package = "peft" if section == LORA else "trl"
    return f"{'peft' if section == LORA else 'TRL'} {version(package)}"


def machine_settings() -> dict[str, Any]:
    """What a configuration is told about this machine."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "use_cpu": not cuda,
        "bf16": bf16_pays(),
        "activation_checkpointing": cuda,  # memory is short there and plentiful here
        "dataloader_pin_memory": cuda,
        "disable_tqdm": True,
    }


def bf16_pays() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()


def stage_config(stage: Stage, values: Mapping[str, Any], folder: str, seed: int, trackers: Sequence[str]) -> Any:
    """A stage's configuration: what people and the table say, over what this machine needs, in the run's folder."""
    return make_config(stage, {**machine_settings(), **values, **run_settings(folder, seed, trackers)})


def run_settings(folder: str, seed: int, trackers: Sequence[str]) -> dict[str, Any]:
    """What a configuration is told about its run."""
    return {"output_dir": folder, "seed": seed % 2**31, "report_to": list(trackers) or "none"}
