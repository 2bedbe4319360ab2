"""What the training did, for the report: a step at a time, its counts and its curves. None of it is a success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from prefect_ratify.finetune.collapse import Look, Looks
from prefect_ratify.finetune.training import StageSummary
from prefect_ratify.flows.pictures import curve
from prefect_ratify.store import read_json, read_record

TITLES = {
    "sft": "Supervised finetuning",
    "dpo": "Preference training (DPO) on the data stage’s pairs",
    "kto": "Training on verdicts on own answers (KTO)",
    "grpo": "Reinforcement by the clauses’ checks (GRPO)",
}
CURVES = {
    "loss": "Loss",
    "rewards/margins": "Reward margin",
    "rewards/accuracies": "Reward accuracy",
    "rewards/chosen": "Reward of what is chosen",
    "reward": "Reward",
}
MOST_POINTS = 400


@dataclass(frozen=True)
class TrainingStep:
    """One step of the training, as the report shows it; without a summary where it was trained elsewhere.

    Of a step that was left out for want of rows, `left_out` is how many there were.
    """

    title: str
    summary: StageSummary | None = None
    curves: Sequence[Markup] = ()
    looks: tuple[Look, ...] = ()
    left_out: int | None = None

    @property
    def settings(self) -> list[tuple[str, Any, str]]:
        """Each setting with its value and where it comes from."""
        if self.summary is None:
            return []
        told = {**self.summary.settings, **(self.summary.lora or {})}
        return [(key, value, self.summary.sources.get(key, "")) for key, value in told.items()]


def title_of(name: str) -> str:
    """What a step is called to people; those that are no stage are rounds on own answers."""
    return TITLES.get(name) or f"Preference training (DPO) on the model’s own answers, round {name.rpartition('-')[2]}"


def training_steps(folder: Path) -> list[TrainingStep]:
    """The steps that the train stage in `folder` took, in order, then those that were left out for want of rows.

    Of an adopted model, those that it brought logs of.
    """
    looks = read_record(folder / "looks.json", Looks) if (folder / "looks.json").exists() else Looks()
    training = read_json(folder / "training.json")
    done = {name: StageSummary.model_validate(summary) for name, summary in training.get("steps", {}).items()}
    adopted = dict.fromkeys(training.get("adopted", {}).get("stages", ()))
    took = [_step(name, summary, folder, looks) for name, summary in {**done, **adopted}.items()]
    left_out = training.get("left_out", {}).items()
    return took + [TrainingStep(title_of(name), left_out=rows) for name, rows in left_out]


def _step(name: str, summary: StageSummary | None, folder: Path, looks: Looks) -> TrainingStep:
    log: list[dict[str, Any]] = read_json(folder / name / "log.json")
    before = () if looks.before is None or summary is None else (looks.before,)
    seen = tuple(look for look in looks.seen if look.of == name)
    drawn = [_curve(log, key, label) for key, label in CURVES.items()]
    return TrainingStep(title_of(name), summary, [each for each in drawn if each], before + seen)


def _curve(log: Sequence[dict[str, Any]], key: str, label: str) -> Markup:
    points = [(float(entry["step"]), float(entry[key])) for entry in log if key in entry]
    every = max(1, -(-len(points) // MOST_POINTS))
    return curve(label, points[::every])
