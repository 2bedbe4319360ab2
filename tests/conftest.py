"""What the tests share: a cache for the unpacked model, a quiet Prefect, small projects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefect_ratify import embedded
from prefect_ratify.command_line import ENVIRONMENT, main
from prefect_ratify.local_models import LocalModel, load_local

if TYPE_CHECKING:
    from tests.gate_server import Server

for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
# Two processes test on two cores: torch's threads that spin while they wait would slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# In the order in which two processes take them up: what computes then runs beside what waits for servers.
SLOWEST = (
    *("test_faults", "test_gates", "test_path", "test_browser", "test_training", "test_refining", "test_serving"),
    *("test_handoff", "test_exporting", "test_sharding", "test_plugin", "test_whole_policy", "test_generation"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: two processes that share them out file by file then end at about the same time."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: (places.get(item.path.stem, len(places)), item.get_closest_marker("model") is None))


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home of the tests' own, so that they leave nobody's database behind."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session", autouse=True)
def private_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private folder of the tests' own: no test touches the seeds of the person who runs it."""
    folder = tmp_path_factory.mktemp("private")
    os.environ["RATIFY_PRIVATE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def server(prefect_home: Path) -> Iterator[Server]:
    """One Prefect server for all tests that need one and do not kill it."""
    from tests.gate_server import Server, connected

    with connected(Server(prefect_home)) as found:
        yield found


@pytest.fixture(scope="session")
def student() -> LocalModel:
    """The embedded model, loaded once."""
    model = load_local("embedded")
    model.load()
    return model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with the embedded model's tokenizer, untrained: six query heads, three key heads."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder, source = tmp_path_factory.mktemp("base") / "tiny-llama", embedded.checkpoint()[0]
    shape = {"hidden_size": 48, "intermediate_size": 96, "head_dim": 8, "num_hidden_layers": 2}
    config = LlamaConfig.from_pretrained(source, **shape, num_attention_heads=6, num_key_value_heads=3)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the shipped legal-advice project."""
    folder = tmp_path / "project"
    assert main(["init", str(folder), "--example", "legal-advice"]) == 0
    yield folder
