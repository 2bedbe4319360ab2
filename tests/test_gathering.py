"""Many who ask for a little at a time are served in batches, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.policy_modules.gathering import Gathered
from prefect_ratify.records import Clause, Message, Precedent, Scenario
from prefect_ratify.scenarios.precedents import cases_from
from prefect_ratify.scenarios.similarity import Embed
from tests.fake_models import FakeModel


class Work:
    """Notes its batches; the one that holds `bad` fails."""

    def __init__(self, bad: int = -1, seconds: float = 0.0) -> None:
        self.bad, self.seconds = bad, seconds
        self.batches: list[list[int]] = []
        self.now = self.most = 0

    def __call__(self, items: list[int]) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.batches.append(items)
        time.sleep(self.seconds)
        self.now -= 1
        if self.bad in items:
            raise ValueError(f"of {items}")


def asked(gathered: Gathered[int], turns: list[int]) -> list[BaseException | None]:
    """Ask for 0, 1, 2 …, each after so many turns of an event loop; what became of each."""

    async def one(item: int) -> None:
        for _ in range(turns[item]):
            await asyncio.sleep(0)
        await gathered(item)

    async def all_() -> list[BaseException | None]:
        return await asyncio.gather(*map(one, range(len(turns))), return_exceptions=True)

    return asyncio.run(all_())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_everything_is_done_once_one_batch_after_another(turns: list[int]) -> None:
    work = Work()
    assert asked(Gathered(work), turns) == [None] * len(turns)
    assert sorted(item for batch in work.batches for item in batch) == list(range(len(turns))) and work.most == 1


def test_those_who_come_meanwhile_are_the_next_batch() -> None:
    work = Work(seconds=0.05)
    asked(Gathered(work), [0, 0, 3, 4, 5])
    assert [sorted(batch) for batch in work.batches] == [[0, 1], [2, 3, 4]]


def test_what_fails_fails_for_its_batch_alone() -> None:
    found = asked(Gathered(Work(bad=1, seconds=0.05)), [0, 0, 3])
    assert [str(error) if error else "" for error in found] == ["of [0, 1]", "of [0, 1]", ""]


def test_each_event_loop_has_its_own() -> None:
    work = Work(seconds=0.02)
    gathered = Gathered(work)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: asked(gathered, [0] * 3), range(2))) == [[None] * 3] * 2
    assert [sorted(batch) for batch in work.batches] == [[0, 1, 2]] * 2


def test_critiques_that_are_written_together_are_embedded_together() -> None:
    requests: list[list[str]] = []
    kept, lock = set[str](), threading.Lock()

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        with lock:
            new = [text for text in texts if text not in kept]
            requests.extend([new] if new else [])
            kept.update(new)
        return np.ones((len(texts), 2), np.float32)

    clause = Clause(id="sorry", text="Say sorry.", polarity="must")
    scenarios = [
        Scenario(id=f"s{n}", messages=(Message(role="user", content=f"q{n}"),), clause_ids=("sorry",), split="develop")
        for n in range(20)
    ]
    ruling = Precedent(scenario_id="s0", clause_id="sorry", response="No.", outcome="violated", by="Ada")
    embed = Embed(vectors, lambda texts: kept.issuperset(texts))
    critic = ModelCritic(FakeModel(lambda call: ""), cases=cases_from([ruling], scenarios, embed))

    async def work() -> None:
        found = await asyncio.gather(*(critic._rulings(scenario, "Hello.", clause) for scenario in scenarios))
        assert all([each.response for each in rulings] == ["No."] for rulings in found)

    asyncio.run(work())
    assert [len(texts) for texts in requests] == [20, 1], "the answers, then the ruling"
