"""An OpenAI-compatible model on loopback that answers after a delay, and knows which calls it was asked before.

    python -m tests.data_bench.server --delay 0.05

The first line it prints is its address. Bodies are made once and requests are not parsed, so that
the server is not what is measured. Each answer of the first kind ends in a number of its request, so
that several answers to one question are different.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from zlib import crc32

from aiohttp import web

from tests.calls_bench.server import completion, main
from tests.data_bench.work import ANSWERS, HELLO, NUMBER

PLACE = NUMBER.encode()
BODIES = [(mark.encode(), completion(answer)) for mark, answer in ANSWERS]


@dataclass
class Server:
    """Answers each request, and counts since the last reset; greetings apart, which every process makes."""

    delay: float
    calls: int = 0
    greetings: int = 0
    now: int = 0
    most_at_once: int = 0
    different: set[int] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/v1/chat/completions":
            return await self._complete(await request.read())
        if request.path == "/reset":
            self.calls = self.greetings = self.most_at_once = 0
            self.different.clear()
        counts = {"calls": self.calls, "different": len(self.different), "greetings": self.greetings}
        return web.json_response({**counts, "now": self.now, "most_at_once": self.most_at_once})

    async def _complete(self, asked: bytes) -> web.Response:
        if HELLO.encode() in asked:
            self.greetings += 1
        else:
            self.calls += 1
            self.different.add(hash(asked))
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.now -= 1
        body = next(body for mark, body in BODIES if mark in asked).replace(PLACE, b"%010d" % crc32(asked))
        return web.Response(body=body, content_type="application/json")


if __name__ == "__main__":
    main(lambda delay: Server(delay).handle)
