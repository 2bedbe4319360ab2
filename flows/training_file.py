"""training.yaml: which of TRL's trainers run, and what people tell them.

    stages: [sft, dpo]            # any of sft, dpo, kto, grpo, in this order
    on_policy_rounds: 1           # then so many rounds of DPO on the tuned model's own answers
    report_to: [tensorboard]      # trackers, by TRL's names
    sft: {num_train_epochs: 3, learning_rate: 1.0e-4}    # TRL's SFTConfig, as it is
    dpo: {beta: 0.2}                                     # TRL's DPOConfig
    lora: {r: 32}                 # peft's LoraConfig; or none, for full finetuning

Everything may be left out, the file too. Its form is checked whenever it is read; names and values
of TRL's only before a run (and by `ratify check`), since importing TRL takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect_ratify.finetune.training_defaults import Stage
from prefect_ratify.finetune.training_plan import STAGES, TrainingPlan, count_parameters, unknown_module
from prefect_ratify.finetune.trl_config import (
    LORA,
    machine_settings,
    make_config,
    why_no_key,
    why_no_tracker,
    why_no_value,
)
from prefect_ratify.scenarios.located_yaml import Located, load_yaml

TRAINING = "training.yaml"
KEYS = ("stages", "on_policy_rounds", *STAGES, LORA, "report_to")


def load_training(path: Path) -> TrainingPlan:
    """Read the file; the defaults where there is none, InputError with the line of what is wrong."""
    if not path.exists():
        return TrainingPlan()
    top = load_yaml(path).mapping(*KEYS)
    stages = _stages(top["stages"]) if "stages" in top else None
    rounds = top["on_policy_rounds"].number() if "on_policy_rounds" in top else None
    if rounds is not None and rounds < 0:
        raise top["on_policy_rounds"].error("there cannot be fewer rounds than none")
    sections = {key: _plain(top[key]) or {} for key in STAGES if key in top and top[key].mapping() is not None}
    for key in sections:
        _require_used(top[key], key, stages, rounds)
    return TrainingPlan(
        stages=stages,
        on_policy_rounds=rounds,
        lora=_lora(top[LORA]) if LORA in top else {},
        report_to=tuple(name for name in top["report_to"].texts() if name != "none") if "report_to" in top else (),
        **sections,
    )


def require_trainable(path: Path, plan: TrainingPlan, student: Callable[[], Path] | None = None) -> None:
    """InputError, with its line, for what TRL, peft or a tracker would refuse once everything is paid for.

    `student` finds the checkpoint, by whose size defaults stand beside what the file says. Without
    one, what GRPO's batches come to is not looked at: they depend on it.
    """
    if not path.exists():
        return
    top = load_yaml(path).mapping(*KEYS)
    for tracker in top["report_to"].texts() if "report_to" in top else ():
        if tracker != "none" and (wrong := why_no_tracker(tracker)):
            raise top["report_to"].error(wrong)
    sections = {key: node for key, node in top.items() if key in (*STAGES, LORA) and isinstance(node.value, dict)}
    for section, node in sections.items():
        _require_known(section, node)
    parameters = count_parameters(student()) if student is not None and sections else 0
    for section, node in sections.items():
        if section != "grpo" or student is not None:
            _require_taken(section, node, _told(section, plan, parameters))
    if student is not None and LORA in sections:
        _require_modules(sections[LORA], student())


def _told(section: str, plan: TrainingPlan, parameters: int) -> dict[str, Any]:
    """All that the section's configuration will be told."""
    if section == LORA:
        settings = plan.lora_settings(parameters) or {}
        return {key: number.value for key, number in settings.items()}
    settings = plan.settings(section, parameters)  # type: ignore[arg-type]
    own = {**machine_settings(), "output_dir": "unused", "report_to": "none"}
    return {**own, **{key: number.value for key, number in settings.items()}}


def _require_known(section: str, node: Located) -> None:
    for key, item in node.mapping().items():
        seen, advice = why_no_key(section, key)
        if seen:
            raise item.error(seen, advice)
        wrong = why_no_value(section, key, _plain(item))
        if wrong:
            raise item.error(wrong)


def _require_taken(section: str, node: Located, told: dict[str, Any]) -> None:
    try:
        make_config(section, told)
    except Exception as error:  # of whatever class the library has for it
        named = (item for key, item in node.mapping().items() if _names(str(error), key, item.value))
        raise next(named, node).error(f"{section}: {error}") from None


def _require_modules(node: Located, student: Path) -> None:
    targets = node.mapping().get("target_modules")
    unknown = unknown_module(student, _plain(targets)) if targets and targets.value else ""
    if targets and unknown:
        raise targets.error(f"the student has no module {unknown!r}", "'all-linear' stands for all that LoRA can train")


def _names(message: str, key: str, value: Any) -> bool:
    """Whether a library's message is about this setting."""
    return key in message or (isinstance(value, str) and value in message)


def _stages(node: Located) -> tuple[Stage, ...]:
    found: list[Stage] = []
    for item in node.sequence():
        stage = item.text()
        if stage not in STAGES:
            raise item.error(f"there is no stage {stage!r}", f"there are: {', '.join(STAGES)}")
        if found and STAGES.index(stage) <= STAGES.index(found[-1]):
            raise item.error(f"{stage} cannot come after {found[-1]}", f"the order is {', '.join(STAGES)}, each once")
        found.append(stage)
    if "grpo" in found and "sft" not in found:
        raise node.error("grpo without sft would learn nothing", "sampled from its base, a model keeps no rare clause")
    if not found:
        raise node.error("nothing is trained", f"name some of {', '.join(STAGES)}")
    return tuple(found)


def _require_used(node: Located, key: str, stages: tuple[Stage, ...] | None, rounds: int | None) -> None:
    if stages is None or key in stages or (key == "dpo" and rounds):
        return
    raise node.error(f"{key} is not among the stages ({', '.join(stages)})", "add it there, or leave this out")


def _lora(node: Located) -> dict[str, Any] | None:
    if node.value == "none":
        return None
    if node.value is not None and not isinstance(node.value, dict):
        raise node.error("lora is a mapping, or 'none' for full finetuning")
    return _plain(node) or {}


def _plain(node: Located) -> Any:
    """A value without its places."""
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value
