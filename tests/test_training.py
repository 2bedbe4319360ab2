"""Training by TRL: a few real steps of SFT and DPO on the embedded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify.finetune.training import TrainingSettings, merge, train_dpo, train_sft
from prefect_ratify.local_models import LocalModel, checkpoint_digest
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Message, Sampling

pytestmark = pytest.mark.model
QUESTION = [{"role": "user", "content": "What do you say?"}]
SETTINGS = TrainingSettings(batch_size=2, sft_max_steps=12, sft_rate=5e-3, dpo_max_steps=2)


def answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture(scope="module")
def trained(student: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of an SFT adapter that learned one sentence, and of a DPO adapter after it."""
    folder = tmp_path_factory.mktemp("training")
    rows = [{"prompt": QUESTION, "completion": answer("Bananas are blue today.")}] * 4
    sft = train_sft(student.folder, rows, folder / "sft", SETTINGS, seed=1)
    pairs = [{"prompt": QUESTION, "chosen": answer("Bananas are blue."), "rejected": answer("No.")}] * 4
    return sft, train_dpo(student.folder, sft, pairs, folder / "dpo", SETTINGS, seed=1)


def test_the_merged_model_says_what_it_was_taught(
    student: LocalModel, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    merge(student.folder, trained[0], tmp_path / "model", "embedded")
    model = LocalModel("tuned", tmp_path / "model", checkpoint_digest(tmp_path / "model"))
    messages = (Message(role="user", content="What do you say?"),)
    call = Call(messages=messages, sampling=Sampling(temperature=0.0, max_tokens=12), seed=0)
    ((_, said),) = model.complete([call], Meter("", 1))
    assert said.text == "Bananas are blue today." and said.finished
    assert model.digest != student.digest


def test_the_adapter_names_no_path_of_this_machine(
    student: LocalModel, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    merge(student.folder, trained[1], tmp_path / "model", "embedded")
    for path in (*tmp_path.glob("model/*.json"), *tmp_path.glob("adapter/*.json")):
        assert str(student.folder) not in path.read_text(), path


def test_losses_and_rewards_are_logged(trained: tuple[Path, Path]) -> None:
    sft, dpo = (json.loads((adapter.parent / "log.json").read_text()) for adapter in trained)
    assert sum("loss" in entry for entry in sft) == 12
    assert sum("rewards/margins" in entry for entry in dpo) == 2


def test_dpo_starts_from_the_tuned_adapter(trained: tuple[Path, Path]) -> None:
    from safetensors.torch import load_file

    sft, dpo = (load_file(adapter / "adapter_model.safetensors") for adapter in trained)
    assert sft.keys() == dpo.keys()
    moved = max(float((sft[name] - dpo[name]).abs().max()) for name in sft)
    size = max(float(tensor.abs().max()) for tensor in sft.values())
    assert 0 < moved < 0.2 * size
