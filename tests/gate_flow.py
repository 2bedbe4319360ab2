"""The path with models that answer at once, for tests of the gates; everything else is real.

Run as a program it serves this flow as `ratify serve` does its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from prefect import flow
from prefect.client.schemas.objects import State

from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.dataset import SUPERVISED, shard_name, write_rows
from prefect_ratify.flows import compare, path, run_folder, train
from prefect_ratify.flows.project import Settings
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.records import Call
from prefect_ratify.store import write_json, write_record, write_text
from tests.fake_models import FakeModel
from tests.fake_rows import demonstration

ANSWER = "I'm sorry that this happened to you. How long has it lasted? Please see a licensed attorney."


def quick_model(name: str, *, greet: bool = True) -> LanguageModel:
    """A model that says the same to all, unless it is a remote one."""

    def answer(call: Call) -> str:
        return ANSWER if call.messages[0].role == "system" else "The law is complicated."

    return RemoteModel(name) if name.startswith("openai/") else FakeModel(answer, name=name)  # type: ignore[return-value]


def quick_generate(run: Run, folder: Path) -> None:
    """A row a scenario, with the seed in it, as a stage that is done again has another one."""
    policy, scenarios = refined_policy(run), run.project.suite.split("develop")
    seed = run.seed("generate")
    rows = [demonstration(s, f"{ANSWER} ({seed})", policy, "fake", "quick", seed) for s in scenarios]
    write_rows(rows, folder / SUPERVISED / shard_name(0))
    counts = DataCounts(scenarios=len(rows), demonstrations=len(rows), retained=0, lost={}, sentences={})
    write_record(folder / "counts.json", counts)


def quick_train(run: Run, folder: Path) -> None:
    """Files that stand for a model."""
    write_text(folder / "model" / "weights", f"seed {run.seed('train')}")
    write_json(folder / "training.json", {"pairs": 0, "preference_training": False})


@contextmanager
def stand_ins() -> Iterator[None]:
    """Quick stages and a quick model in the place of the real ones, until the block ends: other tests use those."""
    with ExitStack() as stack:
        finetuned = FakeModel(lambda call: ANSWER, name="finetuned")
        stack.enter_context(patch.object(run_folder, "open_model", quick_model))
        stack.enter_context(patch.object(Run, "student", lambda run: run.model("student")))
        for module in (train, compare):
            stack.enter_context(patch.object(module, "tuned_model", lambda run: finetuned))
        stack.enter_context(patch.dict(path.WORK, generate=quick_generate, train=quick_train))
        yield


@flow(name="policy-to-model", flow_run_name=path.run_name)
def policy_to_model(
    project: str, settings: Settings | None = None, fresh: bool = False, train_on: str = "", until: path.Until = ""
) -> str | State[str]:
    """The path itself."""
    with stand_ins():
        return path.policy_to_model.fn(project, settings, fresh, train_on=train_on, until=until)  # type: ignore[return-value]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ["PREFECT_RUNNER_POLL_FREQUENCY"] = "1"
    policy_to_model.serve(name="policy-to-model", print_starting_message=False, limit=4)
