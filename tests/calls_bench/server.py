"""An OpenAI-compatible model on loopback that answers after a delay, and counts.

    python -m tests.calls_bench.server --delay 0.05

The first line it prints is its address. Bodies are made once and requests are not parsed, so
that the server is not what is measured. Requests under way are counted to tell whether an
asker keeps to the number at once that it was given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from tests.calls_bench.work import (
    DSPY_MARK,
    DSPY_VERDICT,
    GRADE_MARK,
    GRADE_VERDICT,
    JSON_MARK,
    JSON_VERDICT,
    MODEL,
    RESPONSE,
)


def completion(text: str) -> bytes:
    """A chat completion with that text, as it goes over the wire."""
    message = {"role": "assistant", "content": text, "refusal": None}
    tokens = len(text.split())
    return json.dumps(
        {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 64, "completion_tokens": tokens, "total_tokens": 64 + tokens},
        }
    ).encode()


ANSWER = completion(RESPONSE)
VERDICTS = [
    (mark.encode(), completion(verdict))
    for mark, verdict in ((DSPY_MARK, DSPY_VERDICT), (GRADE_MARK, GRADE_VERDICT), (JSON_MARK, JSON_VERDICT))
]


Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Answers each request, and keeps the counts since the last reset."""

    delay: float
    calls: int = 0
    now: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/v1/chat/completions":
            return await self._complete(await request.read())
        if request.path == "/reset":
            self.calls = self.most_at_once = 0
        return web.json_response({"calls": self.calls, "most_at_once": self.most_at_once})

    async def _complete(self, asked: bytes) -> web.Response:
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.now -= 1
        self.calls += 1
        answer = next((verdict for mark, verdict in VERDICTS if mark in asked), ANSWER)
        return web.Response(body=answer, content_type="application/json")


async def serve(handle: Handle) -> None:
    """Serve on a free port until the process is ended."""
    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


def main(handler: Callable[[float], Handle]) -> None:
    """Serve what answers after a delay, as the command line has it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    asyncio.run(serve(handler(parser.parse_args().delay)))


if __name__ == "__main__":
    main(lambda delay: Server(delay).handle)
