"""Runs that are made to be ended from outside.

    python -m tests.killed_run kills URL STORE COUNT SEED   killed COUNT times at random, then left to finish
    python -m tests.killed_run remote URL STORE             one run with a remote responder and a remote judge
    python -m tests.killed_run notebook URL STORE           the same inside a running event loop
    python -m tests.killed_run batch STORE                  one run with a slow model in process

A run says "asking" when it first needs an answer that the store does not hold, and at its end the
digest of all that it found. `kills` says, for each killed process, which calls the store then held.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import Answer, LanguageModel
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.judge import judge_with, prompt
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Response, Sampling, Scenario, Verdict, digest
from prefect_ratify.scenarios.checks import Check, Finding
from prefect_ratify.scenarios.running import Condition, Evaluation, Heard, evaluate
from prefect_ratify.scenarios.yardstick import Yardstick
from tests.fake_models import FakeModel

ROWS = 1500
SECONDS_TO_KILL = 0.03, 0.4  # after a run began to ask
POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n")
CHECK = Check("has sorry", lambda text, finished: Finding("sorry" in text, (), "by the word"))


class Announcing(RemoteModel):
    """A remote model that says when it is first asked."""

    @asynccontextmanager
    async def connect(self, meter: Meter) -> AsyncIterator[Answer]:
        async with super().connect(meter) as answer:
            said = False

            async def told(call: Call) -> Completion:
                nonlocal said
                if not said:
                    print("asking", flush=True)
                said = True
                return await answer(call)

            yield told


def remote(url: str, asker: str = "") -> RemoteModel:
    """The model behind that address, asked with that key."""
    os.environ["HOSTED_VLLM_API_BASE"], os.environ["HOSTED_VLLM_API_KEY"] = url, asker
    return Announcing("hosted_vllm/scripted")


def scenarios(rows: int) -> list[Scenario]:
    return [
        Scenario(
            id=f"s{number}",
            messages=(Message(role="user", content=f"query {number}"),),
            clause_ids=POLICY.clause_ids,
            split="develop",
        )
        for number in range(rows)
    ]


def silent(response: Response, verdicts: Sequence[Verdict]) -> None:
    pass


def evaluated(
    model: LanguageModel,
    store: Path,
    rows: int = ROWS,
    *,
    judged: bool = True,
    spending: Spending | None = None,
    heard: Heard = silent,
) -> Evaluation:
    """Every row answered by the model, judged by a check and by the same model."""
    by = Yardstick(POLICY, {"sorry": CHECK, "ask": None}, (), (judge_with(model),) if judged else ())
    condition = Condition("draft", model)
    return evaluate(
        scenarios(rows),
        condition,
        by,
        CallStore(store),
        sampling=Sampling(),
        samples=1,
        spending=spending,
        heard=heard,
    )


def result(found: Evaluation) -> str:
    """The digest of all responses and verdicts, in their order."""
    return digest([found.responses, found.verdicts])


def slow(call: Call) -> str:
    """An answer that takes a while; says when there is one."""
    time.sleep(0.02)
    print(time.time(), flush=True)
    return "sorry"


def kept(store: Path) -> list[str]:
    """The calls whose answers the store holds."""
    database = sqlite3.connect(store)
    try:
        answers = [json.loads(row[0]) for row in database.execute("SELECT answer FROM calls")]
    finally:
        database.close()
    return sorted(name for answer in answers if "text" in answer for name in re.findall(r"#(\w{16})", answer["text"]))


def killed(url: str, store: Path, asker: str, seconds: float) -> list[str]:
    """Begin a run in a process of its own, kill it so long after it began to ask; the calls kept by then.

    The process is a copy of this one, which has imported everything: a kill hits work, not imports.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, sys.stdout.fileno())
        evaluated(remote(url, asker), store)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.readline() == "asking\n"
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the run had ended before it was killed"
    return kept(store)


def kills(url: str, store: Path, count: int, seed: int) -> None:
    """Kill run after run, and let the last one finish."""
    import aiohttp  # noqa: F401 - not in each of the processes anew

    moments = random.Random(seed)
    for number in range(count):
        print(json.dumps(killed(url, store, f"killed {number}", moments.uniform(*SECONDS_TO_KILL))), flush=True)
    print(result(evaluated(remote(url, f"killed {count}"), store)), flush=True)


async def in_notebook(url: str, store: Path) -> None:
    """A run where an event loop is running already."""
    print(result(evaluated(remote(url), store)))


def main(mode: str, *arguments: str) -> None:
    if mode == "batch":
        print(result(evaluated(FakeModel(slow), Path(arguments[0]), judged=False)))
        return
    url, store = arguments[0], Path(arguments[1])
    prompt().call({"clause": "", "precedents": "", "conversation": "", "response": ""})  # loads DSPy
    if mode == "kills":
        kills(url, store, int(arguments[2]), int(arguments[3]))
    elif mode == "notebook":
        asyncio.new_event_loop().run_until_complete(in_notebook(url, store))
    else:
        print(result(evaluated(remote(url), store)))


if __name__ == "__main__":
    main(*sys.argv[1:])
