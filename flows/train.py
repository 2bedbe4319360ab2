"""Train: TRL's stages one after another on the rows of the data stage, then on the tuned model's own answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect_ratify.errors import UNWRITABLE, RatifyError, one_line
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, row_files, rows_in, shard_name, write_rows
from prefect_ratify.finetune.rewards import reward_row, write_reward_rows
from prefect_ratify.finetune.training import StageSummary, Weights, stage_summary, train_stage, write_model
from prefect_ratify.finetune.training_defaults import Stage
from prefect_ratify.finetune.training_plan import count_parameters
from prefect_ratify.flows.on_policy import on_policy_judged, on_policy_pairs
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.training_curves import title_of
from prefect_ratify.local_models import LocalModel, checkpoint_digest
from prefect_ratify.progress import say
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import write_json
from prefect_ratify.training_rows import JudgedCompletion, PreferencePair, TrainingPrompt

PROMPTS = "prompts.jsonl"  # of the data stage
OWN_PAIRS = "preferences"  # of this stage: a folder for each round
JUDGED = "judged"  # the same of KTO's rows
REWARDED = "prompts"  # the same of what GRPO is given
OWN_MODELS = "own-models"  # that answers are sampled from; removed at the end
DONE = "training.json"


@dataclass(frozen=True)
class Training:
    """A train stage at work: its run, its folder, and how far the weights are."""

    run: Run
    folder: Path
    weights: Weights

    def own_model(self, name: str) -> LocalModel:
        """The model as it is now, as one checkpoint."""
        checkpoint = self.weights.checkpoint
        if self.weights.adapter is not None:
            checkpoint = self.folder / OWN_MODELS / name / "model"
            if not checkpoint.exists():
                write_model(self.weights, checkpoint, self.run.student().name)
        return LocalModel("tuned", checkpoint, checkpoint_digest(checkpoint))


MakeRows = Callable[[Training, Path], None]  # into that folder, where they are not there yet


def train(run: Run, folder: Path) -> None:
    """Leave the trained model (of LoRA, the adapter too); each step that is done is not done again.

    Collapsed where a model in training falls apart, RatifyError where there is nothing to train on.
    """
    if not (folder / DONE).exists():
        try:
            _train(run, folder)
        except Exception as error:
            if not _is_of_the_disk(error):
                raise
            advice = "make room, and run the same command again: what is trained is not trained again"
            raise RatifyError(
                f"{folder}: training cannot write its files ({one_line(str(error))}); {advice}"
            ) from error
    shutil.rmtree(folder / OWN_MODELS, ignore_errors=True)
    for trained in folder.glob("*/trained"):
        if not (trained / "adapter_config.json").exists():
            shutil.rmtree(trained)  # a whole model on the way to the last one


def _is_of_the_disk(error: Exception) -> bool:
    """Whether a file could not be written; safetensors has a class of its own for that."""
    from safetensors import SafetensorError

    return isinstance(error, SafetensorError) or (isinstance(error, OSError) and error.errno in UNWRITABLE)


def tuned_model(run: Run) -> LocalModel:
    """The model that the train stage left."""
    folder = run.stage_folder("train") / "model"
    return LocalModel("finetuned", folder, checkpoint_digest(folder))


def rows_of(run: Run, step: str, train: Path | None = None) -> Path:
    """The folder of the rows that a step is trained on; `train` is the stage's own, where it is not yet finished."""
    data, train = run.stage_folder("generate"), train or run.stage_folder("train")
    folders = {"sft": data / SUPERVISED, "dpo": data / PREFERENCES, "kto": train / JUDGED, "grpo": train / REWARDED}
    return folders.get(step) or train / OWN_PAIRS / f"round-{step.rpartition('-')[2]}"


def _train(run: Run, folder: Path) -> None:
    student, plan = run.student(), run.training
    at, done, left_out = Training(run, folder, Weights(student.folder)), dict[str, StageSummary](), dict[str, int]()
    for name, stage, make_rows in _steps(run):
        place = rows_of(run, name, folder)
        make_rows(at, place)
        files = row_files(place)
        rows, fewest = sum(map(rows_in, files)), _fewest(run, stage)
        if rows < fewest:
            say(f"  left out: {title_of(name)}: {rows} rows, at least {fewest} are needed")
            left_out[name] = rows
            continue
        trained = train_stage(
            stage,
            at.weights,
            files,
            folder / name,
            plan,
            run.seed("train"),
            prompts=_prompts(run),
            before=_answers_before(run),
        )
        at, done[name] = Training(run, folder, trained), stage_summary(folder / name)
    if not done:
        raise RatifyError("nothing was trained, for want of rows: make more of them, or change the stages")
    write_model(at.weights, folder / "model", student.name)
    dpo = [summary for summary in done.values() if summary.stage == "dpo"]
    account = {
        "steps": {name: summary.model_dump(mode="json") for name, summary in done.items()},
        "left_out": left_out,
        "pairs": sum(summary.rows for summary in dpo),
        "preference_training": bool(dpo),
    }
    write_json(folder / DONE, account)


def _fewest(run: Run, stage: Stage) -> int:
    """How many rows a stage needs."""
    return run.settings.fewest_pairs if stage in ("dpo", "kto") else 1


def _steps(run: Run) -> list[tuple[str, Stage, MakeRows]]:
    """What is trained, in order: a name, the stage, and what makes its rows."""
    stages, rounds = run.training.steps(count_parameters(run.student().folder))
    own = [(f"own-answers-{number}", number) for number in range(1, rounds + 1)]
    return [
        *((stage, stage, _ROWS[stage]) for stage in stages),
        *((name, "dpo", partial(_own_pairs, number=number)) for name, number in own),
    ]


def _prompts(run: Run) -> list[list[dict[str, str]]]:
    """The chats by which a model in training is watched."""
    return [[m.model_dump() for m in scenario.messages] for scenario in run.project.suite.split("develop")]


def _answers_before(run: Run) -> list[str]:
    """The student's plain answers, where the prototype stage has paid for them; else the training asks for some."""
    if run.settings.models.responder != run.settings.models.student:
        return []
    return [found.text for found in run.answer(run.project.suite.split("develop"), Condition("base", run.student()))]


def _there_already(at: Training, folder: Path) -> None:
    """Rows of the data stage."""


def _own_pairs(at: Training, folder: Path, number: int) -> None:
    """Pairs of the model's own answers as it is now."""
    _once(folder, lambda: on_policy_pairs(at.run, at.own_model(f"round-{number}"), number))


def _judged(at: Training, folder: Path) -> None:
    """The model's own answers as it is now, with whether each keeps its clauses."""
    _once(folder, lambda: on_policy_judged(at.run, at.own_model(JUDGED), 1))


def _rewarded(at: Training, folder: Path) -> None:
    """The data stage's prompts with the checks that answers should meet."""
    path = folder / shard_name(0)
    if not path.exists() and not write_reward_rows(_reward_rows(at.run), path):
        raise RatifyError("grpo has nothing to reward: no scenario touches a clause that has a check")


_ROWS: dict[Stage, MakeRows] = {"sft": _there_already, "dpo": _there_already, "kto": _judged, "grpo": _rewarded}


def _reward_rows(run: Run) -> Iterator[dict[str, Any]]:
    suite = run.project.suite
    checks = {clause_id: guide.check for clause_id, guide in suite.guides.items() if guide.check is not None}
    shown = [clause_id for clause_id in checks if suite.guide(clause_id).examples]
    with (run.stage_folder("generate") / PROMPTS).open(encoding="utf-8") as lines:
        for line in lines:
            row = reward_row(TrainingPrompt.model_validate_json(line), checks, shown)
            if row is not None:
                yield row


def _once(folder: Path, make: Callable[[], Sequence[PreferencePair | JudgedCompletion]]) -> None:
    """Write rows that are not there yet."""
    if not folder.exists():
        write_rows(make(), folder / shard_name(0))
