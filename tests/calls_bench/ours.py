"""The same work by this package: `evaluate`, with a judge model, every answer and judgement stored.

    python -m tests.calls_bench.ours URL COUNT STORE_FOLDER

Prints `{"seconds": …, "calls": …, "peak_mb": …}` as the last line. What is imported, and opening
the store, is not timed; reading suites is not part of the work.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from prefect_ratify.call_store import CallStore
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.judge import judge_with, prompt
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.policy_modules.signatures import fenced
from prefect_ratify.records import Message, Sampling, Scenario
from prefect_ratify.scenarios.running import Condition, account, evaluate
from prefect_ratify.scenarios.yardstick import Yardstick
from tests.calls_bench.work import CLAUSE, MAX_TOKENS, MODEL, POLICY, question


def main(url: str, count: int, folder: Path) -> None:
    """Answer `count` questions under the policy and judge each answer by one clause."""
    os.environ["HOSTED_VLLM_API_BASE"] = url
    model = RemoteModel(f"hosted_vllm/{MODEL}")
    policy = parse_policy(f"# Law\n\n## Clauses\n- [empathy] {CLAUSE}\n")
    by = Yardstick(policy, {}, (), (judge_with(model),))
    condition = Condition("draft", model, (Message(role="system", content=POLICY),))
    store, sampling = CallStore(folder / "calls.sqlite"), Sampling(temperature=0.0, max_tokens=MAX_TOKENS)
    scenarios = [_scenario(number) for number in range(count)]
    # Loads DSPy.
    prompt().call({"clause": CLAUSE, "precedents": "none", "conversation": fenced(""), "response": fenced("")})
    started = time.perf_counter()
    found = account(evaluate(scenarios, condition, by, store, sampling=sampling, samples=1))
    seconds = time.perf_counter() - started
    assert (found.responses, found.verdicts) == ({"answered": count}, {"upheld": count})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "calls": 2 * count, "peak_mb": peak}))


def _scenario(number: int) -> Scenario:
    messages = (Message(role="user", content=question(number)),)
    return Scenario(id=f"q{number}", messages=messages, clause_ids=("empathy",), split="develop")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
