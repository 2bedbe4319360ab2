"""Each optimiser on the task, with the same number of calls, as the server counts them.

3,000 calls are 120 policies tried on 24 scenarios each. COPRO takes 750 at its own settings (10
wordings in each of 3 rounds); it gets four times as many wordings a round. MIPROv2 gets as many
candidates as the calls allow, and half as many trials again, which is what DSPy recommends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.policy_modules.clause_search import refine
from prefect_ratify.policy_modules.gepa_search import refine_by_gepa
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.policy_modules.refiner import Search, SearchTask
from prefect_ratify.policy_modules.responder import instructions, preamble
from prefect_ratify.policy_modules.rewording import Refiner, reword
from prefect_ratify.policy_modules.whole_policy import Optimiser, refine_whole
from prefect_ratify.records import Policy, Response, Sampling, Scenario, Verdict
from prefect_ratify.scenarios.running import Condition, evaluate
from prefect_ratify.scenarios.yardstick import Yardstick
from tests.refine_bench.server import calls_counted
from tests.refine_bench.task import CHECKS, DRAFT, SCENARIOS, best_score, expected_score

CALLS = 3000
SUMMARY = 4  # what MIPROv2 asks about 24 scenarios before it proposes
SAMPLING = Sampling(temperature=0.8, max_tokens=200)


@dataclass(frozen=True)
class Reached:
    """The true score of the wording that an optimiser chose, as a share of the best; and the calls that it took."""

    share: float
    calls: int


@dataclass(frozen=True)
class Bench:
    """The task's model under one name, with a store and a budget of its own."""

    model: RemoteModel
    store: CallStore
    spending: Spending
    seed: int

    def follow(self, policy: Policy, scenarios: Sequence[Scenario]) -> tuple[list[Response], list[Verdict]]:
        """Answers under a policy, and what the checks say of them."""
        found = evaluate(
            scenarios,
            Condition("refined", self.model, preamble(policy)),
            Yardstick(DRAFT, CHECKS),
            self.store,
            sampling=SAMPLING,
            samples=1,
            seed=self.seed,
            spending=self.spending,
            label="",
        )
        return found.responses, found.verdicts

    def has_room(self) -> bool:
        """Whether a proposal and its trial fit into the budget."""
        return CALLS - self.spending.calls > len(SCENARIOS)


Optimise = Callable[[Bench], str]


def clause_by_clause(search: Callable[..., Search]) -> Optimise:
    """Clause by clause, as `ratify run` does."""
    return lambda bench: _refined(bench, search)


def _refined(bench: Bench, search: Callable[..., Search]) -> str:
    task = SearchTask(
        DRAFT,
        DRAFT,
        SCENARIOS,
        bench.follow,
        reword(Refiner(bench.model, bench.store, SCENARIOS, spending=bench.spending)),
        budget=CALLS,
        selection=len(SCENARIOS),
        room=bench.has_room,
        seed=bench.seed,
    )
    found = search(task)
    return instructions(found.candidates[0].policy)


def whole(optimiser: Optimiser, trials: int) -> Optimise:
    """The policy as one instruction, by one of DSPy's optimisers."""

    def optimise(bench: Bench) -> str:
        wording, _ = refine_whole(
            DRAFT,
            SCENARIOS,
            bench.follow,
            bench.model,
            bench.store,
            trials=trials,
            optimiser=optimiser,
            spending=bench.spending,
            seed=bench.seed,
        )
        return wording

    return optimise


OPTIMISERS: dict[str, Optimise] = {
    "ours": clause_by_clause(refine),
    "GEPA": clause_by_clause(refine_by_gepa),
    "MIPROv2": whole("miprov2", (CALLS - SUMMARY) // (len(SCENARIOS) + 1)),
    "COPRO": whole("copro", CALLS // (len(SCENARIOS) + 1)),
}


def reached(name: str, seed: int, url: str) -> Reached:
    """Run an optimiser once. The seed is in the model's name too: other answers, other proposals."""
    os.environ["HOSTED_VLLM_API_BASE"] = url
    model = RemoteModel(f"hosted_vllm/{name}-{seed}")
    with tempfile.TemporaryDirectory() as folder:
        store = CallStore(Path(folder) / "calls.sqlite")
        wording = OPTIMISERS[name](Bench(model, store, Spending(Budget(calls=CALLS)), seed))
    return Reached(expected_score(wording) / best_score(), calls_counted(url)[model.model])
