"""Training by TRL: a few real steps of each stage on the embedded model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from prefect_ratify.errors import Collapsed, RatifyError
from prefect_ratify.finetune import training
from prefect_ratify.finetune.dataset import shard_name, write_rows
from prefect_ratify.finetune.rewards import write_reward_rows
from prefect_ratify.finetune.training import (
    Stage,
    Weights,
    count_cut,
    load_rows,
    merge,
    stage_summary,
    train_stage,
    write_model,
)
from prefect_ratify.finetune.training_plan import TrainingPlan
from prefect_ratify.local_models import LocalModel, checkpoint_digest
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Message, Sampling
from prefect_ratify.training_rows import Demonstration, JudgedCompletion, PreferencePair
from tests.training_bench import bare, ours
from tests.training_bench.work import ORIGIN, SETTINGS, chats, write_demonstrations, write_pairs

pytestmark = pytest.mark.model
QUESTION = (Message(role="user", content="What do you say?"),)
FEW, ONE = ({"per_device_train_batch_size": rows} for rows in (2, 1))
PLAN = TrainingPlan(
    sft={**ONE, "max_steps": 12, "learning_rate": 5e-3},
    dpo={**ONE, "max_steps": 2, "max_length": 64},
    kto={**FEW, "max_steps": 1},
    grpo={"per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 6, "max_steps": 1},
)


def said(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def trained(stage: Stage, start: Weights, rows: Path, folder: Path, plan: TrainingPlan = PLAN, **more: Any) -> Weights:
    return train_stage(stage, start, [rows], folder / stage, plan, 1, **more)


@pytest.fixture(scope="module")
def tuned(student: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Weights]:
    """An SFT adapter that learned one sentence, and a DPO adapter after it."""
    folder = tmp_path_factory.mktemp("training")
    row = Demonstration(prompt=QUESTION, completion=said("Bananas are blue today."), provenance=ORIGIN)
    write_rows([row] * 4, folder / "rows.parquet")
    sft = trained("sft", Weights(student.folder), folder / "rows.parquet", folder)
    pair = PreferencePair(
        prompt=QUESTION, chosen=said("Bananas are blue."), rejected=said("No. " * 40), provenance=ORIGIN
    )
    write_rows([pair] * 4, folder / "pairs.parquet")
    return sft, trained("dpo", sft, folder / "pairs.parquet", folder)


def log_of(weights: Weights) -> list[dict[str, Any]]:
    assert weights.adapter is not None
    found: list[dict[str, Any]] = json.loads((weights.adapter.parent / "log.json").read_text())
    return found


def test_the_merged_model_says_what_it_was_taught(
    student: LocalModel, tuned: tuple[Weights, Weights], tmp_path: Path
) -> None:
    write_model(tuned[0], tmp_path / "model", "embedded")
    model = LocalModel("tuned", tmp_path / "model", checkpoint_digest(tmp_path / "model"))
    call = Call(messages=QUESTION, sampling=Sampling(temperature=0.0, max_tokens=12), seed=0)
    ((_, answer),) = model.complete([call], Meter("", 1))
    assert answer.text == "Bananas are blue today." and answer.finished
    assert model.digest != student.digest


def test_the_adapter_names_no_path_of_this_machine(
    student: LocalModel, tuned: tuple[Weights, Weights], tmp_path: Path
) -> None:
    assert tuned[1].adapter is not None
    merge(student.folder, tuned[1].adapter, tmp_path / "model", "embedded")
    for path in (*tmp_path.glob("model/*.json"), *tmp_path.glob("adapter/*.json")):
        assert str(student.folder) not in path.read_text(), path


def test_losses_and_rewards_are_logged(tuned: tuple[Weights, Weights]) -> None:
    sft, dpo = (log_of(weights) for weights in tuned)
    assert sum("loss" in entry for entry in sft) == 12
    assert sum("rewards/margins" in entry for entry in dpo) == 2


def test_rows_that_lose_their_end_are_counted(
    tuned: tuple[Weights, Weights], student: LocalModel, tmp_path: Path
) -> None:
    sft, dpo = (stage_summary(weights.adapter.parent) for weights in tuned if weights.adapter)
    assert (sft.rows, sft.cut, sft.dropped, sft.steps) == (4, 0, 0, 12)
    assert (dpo.rows, dpo.cut, dpo.dropped) == (4, 4, 0)
    assert sft.sources["learning_rate"] == "given" and sft.sources["lora_alpha"].startswith("LoRA Without Regret")
    rows = load_rows([write_demonstrations(tmp_path, 6)], ("prompt", "completion"), tmp_path / "cache")
    _, tokenizer = student.load()
    chats_ = [row["prompt"] + row["completion"] for row in rows]
    lengths = [len(tokenizer.apply_chat_template(chat, return_dict=False)) for chat in chats_]
    for longest in (min(lengths) - 1, min(lengths), max(lengths)):
        assert count_cut(rows, tokenizer, ("completion",), longest) == sum(length > longest for length in lengths)


def test_dpo_starts_from_the_tuned_adapter(tuned: tuple[Weights, Weights]) -> None:
    from safetensors.torch import load_file

    sft, dpo = (load_file(weights.adapter / "adapter_model.safetensors") for weights in tuned if weights.adapter)
    assert sft.keys() == dpo.keys()
    moved = max(float((sft[name] - dpo[name]).abs().max()) for name in sft)
    size = max(float(tensor.abs().max()) for tensor in sft.values())
    assert 0 < moved < 0.2 * size


def test_kto_and_grpo_go_on_from_the_same_adapter(tuned: tuple[Weights, Weights], tmp_path: Path) -> None:
    judged = [
        JudgedCompletion(prompt=QUESTION, completion=said(text), label=good, provenance=ORIGIN)
        for text, good in (("Bananas are blue.", True), ("No.", False))
    ]
    write_rows(judged, tmp_path / "judged.parquet")
    kto = trained("kto", tuned[0], tmp_path / "judged.parquet", tmp_path)
    prompt = {"prompt": [QUESTION[0].model_dump()], "checks": '[{"any_of": ["blue"]}]', "scenario_id": "s"}
    write_reward_rows([prompt] * 2, tmp_path / "prompts.parquet")
    grpo = trained("grpo", kto, tmp_path / "prompts.parquet", tmp_path)
    assert "rewards/margins" in log_of(kto)[0] and log_of(grpo)[0]["rewards/clause_reward/mean"] == 1.0
    assert grpo.checkpoint == tuned[0].checkpoint and stage_summary(tmp_path / "grpo").stage == "grpo"


def test_full_finetuning_leaves_a_whole_model_and_dpo_goes_on_from_it(tiny: Path, tmp_path: Path) -> None:
    step = {**FEW, "max_steps": 1, "save_strategy": "no"}
    plan = TrainingPlan(lora=None, sft=step, dpo=step)
    shown = tmp_path / "sft" / "checkpoints" / "runs" / "today" / "events"  # where TensorBoard has its files
    shown.parent.mkdir(parents=True)
    shown.write_text("a curve")
    sft = trained("sft", Weights(tiny), write_demonstrations(tmp_path / "rows", 2), tmp_path, plan)
    assert (tmp_path / "sft" / "runs" / "today" / "events").read_text() == "a curve" and not shown.exists()
    assert sft.adapter is None and checkpoint_digest(sft.checkpoint) != checkpoint_digest(tiny)
    dpo = trained("dpo", sft, write_pairs(tmp_path / "pairs", 2), tmp_path, plan)
    write_model(dpo, tmp_path / "model", "embedded")
    assert log_of(Weights(tmp_path, dpo.checkpoint))[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert (tmp_path / "model" / "tokenizer.json").exists() and not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("stage", "steps", "said"),
    [("sft", 3, "by step 2 of 3: a loss of .* is worse than a blind guess"), ("dpo", 5, "by step 5 of 5: .*answer")],
)
def test_a_wrecked_training_stops_clearly_and_stays_stopped(
    student: LocalModel, tmp_path: Path, stage: Stage, steps: int, said: str
) -> None:
    write = {"sft": write_demonstrations, "dpo": write_pairs}[stage]
    rows = write(tmp_path / "rows", 6)
    wrecking = {**FEW, "max_steps": steps, "learning_rate": 0.5}
    for _ in range(2):
        with pytest.raises(Collapsed, match=rf"^{stage}: the model fell apart {said}.* \(it was 0.5\)"):
            plan = TrainingPlan(sft=wrecking, dpo=wrecking)
            trained(stage, Weights(student.folder), rows, tmp_path, plan, prompts=chats())
    assert not list(tmp_path.glob(f"{stage}/checkpoints")) and not (tmp_path / stage / "trained").exists()


def test_what_trl_refuses_once_it_sees_the_model_is_one_line(tiny: Path, tmp_path: Path) -> None:
    plan = TrainingPlan(sft={**ONE, "eos_token": "<nonsense>"})
    rows = write_demonstrations(tmp_path / "rows", 2)
    with pytest.raises(RatifyError, match=r"^training.yaml: TRL does not train sft so: .*<nonsense>.*") as caught:
        trained("sft", Weights(tiny), rows, tmp_path, plan)
    assert "\n" not in str(caught.value)


def test_the_loss_is_that_of_a_bare_script(
    student: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched for collapse, counted and resumable: none of it may move a number."""
    monkeypatch.setitem(SETTINGS, "per_device_train_batch_size", 2)
    rows = write_demonstrations(tmp_path, 4)
    logs = [side.main(str(student.folder), str(rows), str(tmp_path / side.__name__), "2") for side in (bare, ours)]
    losses = [[entry["loss"] for entry in log if "loss" in entry] for log in logs]
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_killed_training_goes_on_from_its_last_checkpoint(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_demonstrations(tmp_path, 8)
    program = (
        "import sys; from pathlib import Path; from tests.test_training import killed; killed(*map(Path, sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, str(tiny), str(rows), str(tmp_path / "killed")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = [path.name for path in (tmp_path / "killed" / "sft" / "checkpoints").glob("checkpoint-*")]
    assert kept == ["checkpoint-1"] and not (tmp_path / "killed" / "sft" / "trained").exists()
    state = tmp_path / "killed" / "sft" / "checkpoints" / "checkpoint-1" / "trainer_state.json"
    found = json.loads(state.read_text())
    state.write_text(json.dumps({**found, "log_history": [{**found["log_history"][0], "kept": True}]}))
    again = resumable(tiny, rows, tmp_path / "killed")
    assert "going on from checkpoint-1" in capsys.readouterr().err
    assert log_of(again)[0]["kept"], "the first step is not done again"
    whole = resumable(tiny, rows, tmp_path / "whole")
    losses = [[entry["loss"] for entry in log_of(weights)[:3]] for weights in (again, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[1][2] < losses[1][0] - 0.01


def resumable(base: Path, rows: Path, folder: Path) -> Weights:
    plan = TrainingPlan(sft={**FEW, "max_steps": 3, "save_steps": 1, "learning_rate": 0.01})
    return train_stage("sft", Weights(base), [rows], folder / "sft", plan, 1)


def killed(base: Path, rows: Path, folder: Path) -> None:
    """The same in a process that is killed as its second step ends, before that is saved."""
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(training, "progress_callback", lambda label: Kill()):
        resumable(base, rows, folder)


def test_shards_are_read_in_order_and_not_into_memory(tmp_path: Path) -> None:
    for number in (0, 1):
        row = Demonstration(prompt=QUESTION, completion=said(f"shard {number}"), provenance=ORIGIN)
        write_rows([row], tmp_path / shard_name(number))
    rows = load_rows(sorted(tmp_path.glob("*.parquet")), ("prompt", "completion"), tmp_path / "cache")
    assert [row["completion"][0]["content"] for row in rows] == ["shard 0", "shard 1"]
    assert rows.column_names == ["prompt", "completion"] and rows.cache_files
