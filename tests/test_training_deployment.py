"""The train stage on a deployment of its own, with a real Prefect server. Its worker is a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify.errors import Collapsed, InputError, NotApproved
from prefect_ratify.flows import training_deployment
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.training_deployment import TRAIN_FLOW, require_deployment, train_model
from prefect_ratify.store import read_json
from tests.gate_flow import quick_train
from tests.gate_server import Case, Phone, Server

pytestmark = pytest.mark.model
QUICK = {"scenario_limit": 2, "samples": 1}
GPU = f"{TRAIN_FLOW}/gpu"
Work = Callable[[Run, Path], None]


class GpuWorker:
    """Takes up what the deployment is asked for, one after the other."""

    def __init__(self, server: Server) -> None:
        self.server, self.ended, self.runs = server, threading.Event(), list[dict[str, Any]]()
        client = server.client
        self.deployment = client.create_deployment(flow_id=client.create_flow(train_model), name="gpu")
        self.thread = threading.Thread(target=copy_context().run, args=(self._work,))
        self.thread.start()

    def _work(self) -> None:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import DeploymentFilter
        from prefect.flow_engine import run_flow

        only = DeploymentFilter.model_validate({"id": {"any_": [self.deployment]}})
        with get_client(sync_client=True) as client:
            while not self.ended.wait(0.1):
                for flow_run in client.read_flow_runs(deployment_filter=only):
                    if flow_run.state is not None and flow_run.state.is_scheduled():
                        self.runs.append(flow_run.parameters)
                        run_flow(train_model, flow_run=flow_run, parameters=flow_run.parameters, return_type="state")

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(timeout=30)


@pytest.fixture
def worker(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuWorker]:
    monkeypatch.setattr(training_deployment, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(training_deployment, "train", quick_train)
    found = GpuWorker(server)
    yield found
    found.stop()


@pytest.fixture
def at_the_data_gate(server: Server, project: Path, worker: GpuWorker) -> tuple[Case, Phone]:
    (project / "stakeholders.yaml").write_text("people: [{name: Ada}]\n")
    case, ada = Case(server, project, settings=QUICK, train_on=GPU), Phone("Ada")
    assert case.work() == "Suspended"
    for gate in ("draft", "policy"):
        assert case.waiting["gate"] == gate and case.answer("Ada", code=ada.code()) == "Suspended"
    assert case.waiting["gate"] == "data"
    return case, ada


def test_a_deployment_trains_what_people_approved_and_nothing_else(
    at_the_data_gate: tuple[Case, Phone], worker: GpuWorker
) -> None:
    case, ada = at_the_data_gate
    with pytest.raises(NotApproved, match="gate data"):
        train_model.fn(str(case.run.folder))
    assert not worker.runs
    assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "release"
    assert worker.runs == [{"run": str(case.run.folder.resolve())}]
    assert (case.run.stage_folder("train") / "model" / "weights").exists()
    assert "train_on" not in read_json(case.run.folder / "settings.json"), "where it trains is no part of what a run is"


def test_a_model_that_falls_apart_there_ends_the_run_here(
    at_the_data_gate: tuple[Case, Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_apart(run: Run, folder: Path) -> None:
        raise Collapsed("sft: the model fell apart by step 10 of 40")

    monkeypatch.setattr(training_deployment, "train", fall_apart)
    case, ada = at_the_data_gate
    assert case.answer("Ada", code=ada.code()) == "Collapsed"
    assert "by step 10 of 40" in case.state.message
    assert not case.run.stage_folder("train").exists()


def test_a_path_that_ends_after_a_gate_goes_on_from_there(server: Server, project: Path) -> None:
    (project / "stakeholders.yaml").write_text("people: [{name: Ada}]\n")
    case, ada = Case(server, project, settings=QUICK, until="data"), Phone("Ada")
    states = [case.work(), *(case.answer("Ada", code=ada.code()) for _ in ("draft", "policy", "data"))]
    assert states == ["Suspended", "Suspended", "Suspended", "Completed"]
    assert not case.run.stage_folder("train").exists()
    later = Case(server, project, settings=QUICK)
    assert later.work() == "Suspended" and later.waiting["gate"] == "release"
    assert later.run.id == case.run.id and later.run.stage_folder("train").exists()


@pytest.mark.parametrize("name", ["train-model/nowhere", "nothing"])
def test_a_deployment_that_is_not_there_is_named_before_anything(server: Server, name: str) -> None:
    with pytest.raises(InputError, match=f"there is no deployment '{name}'"):
        require_deployment(name)
