"""A real server: `transformers serve` with a small checkpoint that nobody has trained.

Its answers are nonsense. What counts is that every one of them becomes a
response, a verdict or a refusal, and that each is accounted for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from prefect_ratify.call_store import CallStore
from prefect_ratify.clause_changes import Failure, Refusal
from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows.regressing import Regression
from prefect_ratify.local_models import LocalModel
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules import critic, judge, proposing, rewording
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.policy_modules.models import RemoteModel, open_model
from prefect_ratify.policy_modules.proposing import propose_clauses
from prefect_ratify.policy_modules.rewording import Proposal, Refiner, Task, reword
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Sampling, Scenario
from prefect_ratify.store import read_record
from prefect_ratify.training_rows import Critique
from tests.fake_models import asked_of
from tests.gate_server import free_port, until

pytestmark = pytest.mark.model
NAME = "hosted_vllm/served"
SHORT = Sampling(temperature=0.0, max_tokens=12)
POLICY = """# Tenants

## Clauses
- [sorry] Open with one sentence of empathy.
- [ask] Ask how long it has been going on.
"""
SCENARIOS = """scenarios:
  - {id: rent, query: "My rent is late.", split: develop}
  - {id: heat, query: "The heating is off.", split: develop}
  - {id: more, query: "My landlord is away.", split: develop}
"""


@dataclass(frozen=True)
class Served:
    """Where the server listens, and what it writes about the requests that it had."""

    url: str
    log: Path

    @property
    def requests(self) -> int:
        return self.log.read_text(encoding="utf-8").count("POST /v1/chat/completions")


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, until the tests of this file have run. It is never online."""
    folder = tmp_path_factory.mktemp("server")
    write_model(tiny, folder / "served")
    port, log = free_port(0), folder / "log"
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port), "--continuous-batching"]
    options += ["--cb-block-size", "32", "--cb-num-blocks", "256"]  # else it takes half of the machine's memory
    with log.open("w") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("transformers"), "serve", "served", *options],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=out,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        until(answers, complaint="transformers serve does not start")
        yield Served(f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.terminate()
        process.wait(timeout=30)


def write_model(tiny: Path, folder: Path) -> None:
    """The small model with an output layer of its own: without, it would repeat the line break before its answer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shutil.copytree(tiny, folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig.from_pretrained(tiny, tie_word_embeddings=False)).save_pretrained(folder)


@pytest.fixture(autouse=True)
def named(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server has names of two kinds: one is asked directly, the other through LiteLLM. Answers are short."""
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
    monkeypatch.setenv("LM_STUDIO_API_BASE", server.url)
    for module in (critic, judge, proposing, rewording):
        monkeypatch.setattr(module, "SAMPLING", SHORT)
    judge.prompt.cache_clear()
    yield
    judge.prompt.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


def scenario(name: str, query: str) -> Scenario:
    return Scenario(id=name, messages=(Message(role="user", content=query),), clause_ids=("sorry",), split="develop")


TALKS = [scenario(f"heat-{n}", f"The boiler and the heating are cold {when}.") for n, when in enumerate("abc")]


def asked(query: str) -> Call:
    return Call(messages=(Message(role="user", content=query),), sampling=SHORT, seed=2**40)


def test_a_model_is_asked_directly_and_through_litellm(store: CallStore) -> None:
    calls = [asked("Tell me a story."), asked("Say yes.")]
    direct = store.complete(RemoteModel(NAME), calls)
    assert all(answer.text and not answer.error and answer.tokens_written <= SHORT.max_tokens for answer in direct)
    assert not direct[0].finished and direct[0].tokens_written == SHORT.max_tokens
    assert store.complete(RemoteModel("lm_studio/served"), calls) == direct


def test_through_litellm_it_answers_as_in_process(tiny: Path, store: CallStore, tmp_path: Path) -> None:
    write_model(tiny, tmp_path / "served")  # as the server has it
    calls = [asked(query) for query in ("Tell me a story.", "Say yes.", "My landlord is away. What now?")]
    here = dict(LocalModel("served", tmp_path / "served", "digest").complete(calls, Meter("", len(calls))))
    there = store.complete(RemoteModel("lm_studio/served"), calls)
    assert [answer.text for answer in there] == [here[place].text for place in range(len(calls))]
    assert all(answer.text for answer in there)


def test_a_name_that_the_server_does_not_have_is_one_line_of_error(store: CallStore) -> None:
    open_model(NAME)
    with pytest.raises(InputError, match=r"'hosted_vllm/other' does not answer at .* \(BadRequestError\)"):
        open_model("hosted_vllm/other")
    (lost,) = store.complete(RemoteModel("lm_studio/other"), [asked("Say yes.")])
    assert lost.error and lost == Completion(error=lost.error, finished=False)


def test_a_suite_is_answered_judged_and_compared_and_nothing_is_asked_twice(server: Served, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    assert main(["init", str(folder)]) == 0
    (folder / "policy.md").write_text(POLICY)
    (folder / "scenarios.yaml").write_text(SCENARIOS)
    command = ["regress", str(folder), "draft", "--against", "base", "--responder", NAME, "--judge", NAME]
    command += ["--limit", "2", "--samples", "2", "--max-tokens", "8"]
    assert main(command) == 0
    (path,) = folder.glob(".ratify/regressions/*/regression.json")
    regression, before = read_record(path, Regression), server.requests
    for measured in regression.conditions:
        assert measured.account.responses == {"answered": 4}
        assert sum(measured.account.verdicts.values()) == 4 * 2
    assert main(command) == 0
    assert server.requests == before > 0
    assert read_record(path, Regression) == regression


def test_critic_refiner_and_proposer_get_something_or_nothing_and_say_which(store: CallStore) -> None:
    policy, model = parse_policy(POLICY), RemoteModel(NAME)
    clause = policy.clause("sorry")
    by, rude = ModelCritic(model), Critique(clause_id="sorry", text="Rude.")
    criticised = asked_of(store, lambda asking: by.critique(TALKS[0], "No.", clause, asking))
    revised = asked_of(store, lambda asking: by.revise(TALKS[0], "No.", rude, asking))
    assert all(isinstance(found, str) or found.text for found in (criticised, revised))
    failure = Failure(scenario_id="heat-0", query="It is cold.", response="No.", reason="no empathy")
    found = reword(Refiner(model, store, TALKS))(Task(clause, (clause,), [failure]))
    assert found is None or isinstance(found, Refusal | Proposal)
    (proposed,) = propose_clauses(policy, TALKS, [], model, store)
    assert proposed.why and len(proposed.scenario_ids) == 3
