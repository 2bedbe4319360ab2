"""The same work by inspect_ai; runs in its own environment.

    .bench/inspect/bin/python -m tests.calls_bench.inspect_task URL COUNT FOLDER

A task with COUNT samples: the policy as system message, `generate()`, and a scorer that makes
one call a sample. The results are its log, in its own (fastest) format, with every sample.

Its fastest sensible settings: `max_connections` fixed at 64 (by default it would begin with
20), more samples at once than connections so that no connection waits for a sample to be
scored, no display, no live log, no log of the API's own requests, no server beside it, chat
completions in place of the responses API. Only eval() is timed: neither import nor making the
samples, and one sample goes before, because the first eval() of a process imports more.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any

from inspect_ai import Task, eval  # type: ignore[import-not-found]
from inspect_ai.dataset import MemoryDataset, Sample  # type: ignore[import-not-found]
from inspect_ai.model import get_model  # type: ignore[import-not-found]
from inspect_ai.scorer import Score, accuracy, scorer  # type: ignore[import-not-found]
from inspect_ai.solver import generate, system_message  # type: ignore[import-not-found]

from tests.calls_bench.work import AT_ONCE, CLAUSE, GRADE_MARK, MAX_TOKENS, MODEL, POLICY, question

SAMPLES_AT_ONCE = 2 * AT_ONCE


@scorer(metrics=[accuracy()])
def judged() -> Any:
    """One call to the same model for each sample, as its own graders do it."""

    async def score(state: Any, target: Any) -> Any:
        asked = f"{GRADE_MARK}: does the answer keep the clause?\n\n{target.text}\n\n{state.input_text}\n\n"
        verdict = await get_model().generate(f"{asked}{state.output.completion}\n\nEnd with GRADE: C or GRADE: I.")
        return Score(value="C" if "GRADE: C" in verdict.completion else "I", explanation=verdict.completion)

    return score


def task(count: int) -> Any:
    """The work as inspect_ai wants it."""
    samples = [Sample(id=number, input=question(number), target=CLAUSE) for number in range(count)]
    return Task(MemoryDataset(samples), solver=[system_message(POLICY), generate()], scorer=judged())


def run(url: str, count: int, folder: str) -> float:
    """The seconds of one eval() of the work; RuntimeError unless all of it was done."""
    work = task(count)
    started = time.perf_counter()
    (log,) = eval(
        work,
        model=f"openai/{MODEL}",
        model_base_url=url,
        model_args={"api_key": "none", "responses_api": False},
        max_connections=AT_ONCE,
        max_samples=SAMPLES_AT_ONCE,
        temperature=0.0,
        max_tokens=MAX_TOKENS,
        display="none",
        log_dir=folder,
        log_level="error",
        log_realtime=False,
        log_model_api=False,
        log_samples=True,
        acp_server=False,
        ctl_server=False,
        score_display=False,
        fail_on_error=False,
    )
    seconds = time.perf_counter() - started
    right = log.results and log.results.scores[0].metrics["accuracy"].value
    if log.status != "success" or right != 1.0:
        raise RuntimeError(f"inspect_ai ended as {log.status}, accuracy {right}")
    return seconds


def main(url: str, count: int, folder: str) -> None:
    run(url, 1, folder)
    urllib.request.urlopen(f"{url.removesuffix('/v1')}/reset", data=b"").close()
    seconds = run(url, count, folder)
    print(json.dumps({"seconds": seconds, "calls": 2 * count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
