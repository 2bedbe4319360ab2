"""The least that anyone can do: asyncio and aiohttp, 64 workers, each row's three calls in turn, nothing stored.

    python -m tests.data_bench.bare URL COUNT

The prompts are as long as those that DSPy makes of this package's critic and reviser.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp

from tests.data_bench.work import AT_ONCE, CALLS, CLAUSE, CRITIQUE_MARK, MAX_TOKENS, MODEL, REVISION_MARK, question

CRITIC = "Say how a response falls short of one clause. " + (
    "Your input fields are the clause, the definitions, the conversation and the response; all come with a heading. "
    * 8
)
REVISER = "Rewrite a response so that it heeds a critique. " + (
    "Your input fields are the conversation, the response and the critique; all come with a heading. " * 7
)


async def make_all(url: str, count: int) -> float:
    """Make `count` rows; the seconds that it took."""
    questions = iter([question(number) for number in range(count)])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(_work(session, f"{url}/chat/completions", questions) for _ in range(AT_ONCE)))
        return time.perf_counter() - started


async def _work(session: aiohttp.ClientSession, url: str, questions: Iterator[str]) -> None:
    for asked in questions:
        response = await _ask(session, url, asked)
        critique = await _ask(session, url, f"{CRITIQUE_MARK}\n{CLAUSE}\n\nuser: {asked}\n\n{response}", CRITIC)
        revision = await _ask(session, url, f"{REVISION_MARK}\nuser: {asked}\n\n{response}\n\n{critique}", REVISER)
        if "sorry" not in revision:
            raise RuntimeError(f"not a revision: {revision}")


async def _ask(session: aiohttp.ClientSession, url: str, user: str, system: str = "") -> str:
    before = [{"role": "system", "content": system}] if system else []
    messages = [*before, {"role": "user", "content": user}]
    asked = {"model": MODEL, "messages": messages, "temperature": 0.7, "max_tokens": MAX_TOKENS, "seed": 0}
    async with session.post(url, json=asked) as answer:
        answer.raise_for_status()
        return str((await answer.json())["choices"][0]["message"]["content"])


def main(url: str, count: int) -> None:
    print(json.dumps({"seconds": asyncio.run(make_all(url, count)), "calls": CALLS * count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
