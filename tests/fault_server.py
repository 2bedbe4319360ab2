"""An OpenAI-compatible model on loopback that fails as it is told to, and remembers every request.

    python -m tests.fault_server '{"delay": 0.05, "faults": {"busy": 0.1}, "seed": 1}'

The first line it prints is its address. What it says depends on the request alone, and whether
it fails on the request, its number among the tries of that call, and the seed: runs can be
compared. Each answer names its call (`#` and 16 digits), so that what a store holds can be
held against what the server saw.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.request import urlopen

JUDGING = b"[[ ## verdict ## ]]"  # what a judge's prompt holds
ANSWERED, UNDER_WAY, LEFT = "answered", "under way", "left"
BUSY, BUSY_FOR, BUSY_UNTIL, BROKEN = "busy", "busy for", "busy until", "broken"
STALLED, EMPTY = "stalled", "empty"  # answers all the same: a late one, and one whose content is null
CUT, GARBAGE, SHAPELESS = "cut", "garbage", "shapeless"
STATUS = {BUSY: 429, BUSY_FOR: 429, BUSY_UNTIL: 429, BROKEN: 500}
ERROR = {
    **dict.fromkeys((BUSY, BUSY_FOR, BUSY_UNTIL), "RateLimitError"),
    BROKEN: "ServerError",
    **dict.fromkeys((CUT, GARBAGE, SHAPELESS), "UnreadableAnswerError"),
}


@dataclass
class Request:
    """One request: whose key it bore, which call it tried for which time, and what became of it.

    It is `left` where the client went away before the answer.
    """

    asker: str
    call: str
    judging: bool
    attempt: int
    began: float
    outcome: str = UNDER_WAY

    @property
    def given(self) -> bool:
        """Whether there was an answer that can be used."""
        return self.outcome in (ANSWERED, STALLED, EMPTY)


@dataclass
class FaultServer:
    """Where a server listens."""

    url: str

    def requests(self) -> list[Request]:
        """All that it was sent, in order."""
        return [Request(**request) for request in self._seen()["requests"]]

    def most_at_once(self) -> int:
        return int(self._seen()["most_at_once"])

    def _seen(self) -> dict[str, Any]:
        with urlopen(f"{self.url}/seen", timeout=30) as reply:
            return dict(json.load(reply))


@contextmanager
def fault_server(**settings: Any) -> Iterator[FaultServer]:
    """A server in a process of its own until the block ends; the settings are those of `Scripted`."""
    command = [sys.executable, "-m", "tests.fault_server", json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FaultServer(process.stdout.readline().strip())
        finally:
            process.kill()


@dataclass
class Scripted:
    """What the server does: `faults` are shares of all tries, of which the first `failing` of a call may fail."""

    delay: float = 0.0
    faults: dict[str, float] = field(default_factory=dict)
    failing: int = 1_000_000
    seed: int = 0
    wait: float = 0.1  # seconds that a busy server asks for
    stall: float = 10.0
    requests: list[Request] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    now: int = 0
    most_at_once: int = 0

    async def handle(self, http: Any) -> Any:
        from aiohttp import web

        if http.path.endswith("/seen"):
            seen = {"requests": [asdict(request) for request in self.requests], "most_at_once": self.most_at_once}
            return web.json_response(seen)
        body = await http.read()
        call = hashlib.sha256(body).hexdigest()[:16]
        self.tries[call] += 1
        asker = http.headers.get("Authorization", "").removeprefix("Bearer ")
        request = Request(asker, call, JUDGING in body, self.tries[call], time.time())
        self.requests.append(request)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self._answer(http, request)
        except asyncio.CancelledError:
            request.outcome = LEFT
            raise
        finally:
            self.now -= 1

    async def _answer(self, http: Any, request: Request) -> Any:
        from aiohttp import web

        fault = self._fault(request)
        await asyncio.sleep(self.stall if fault == STALLED else self.delay * (0.5 + _share(request.call)))
        request.outcome = fault or ANSWERED
        if fault in STATUS:
            return web.Response(status=STATUS[fault], headers=self._retry_after(fault), text="scripted fault")
        answer = json.dumps(_completion(None if fault == EMPTY else said(request))).encode()
        if fault == CUT:
            return await _cut(http, answer)
        if fault in (GARBAGE, SHAPELESS):
            answer = b"<html>Bad gateway</html>" if fault == GARBAGE else b'{"choices": [{"delta": "x"}]}'
        return web.Response(body=answer, content_type="application/json")

    def _fault(self, request: Request) -> str:
        if request.attempt > self.failing:
            return ""
        left = random.Random(f"{self.seed} {request.call} {request.attempt}").random()
        for fault, share in self.faults.items():
            left -= share
            if left < 0:
                return fault
        return ""

    def _retry_after(self, fault: str) -> dict[str, str]:
        if fault == BUSY_FOR:
            return {"Retry-After": str(self.wait)}
        if fault == BUSY_UNTIL:
            return {"Retry-After": formatdate(math.ceil(time.time() + self.wait), usegmt=True)}
        return {}


def said(request: Request) -> str:
    """The answer to a request, or the verdict in the form that the judge reads."""
    if not request.judging:
        return f"I am sorry. #{request.call}"
    verdict = "upheld" if _share(request.call) < 0.7 else "violated"
    values = {"verdict": verdict, "confidence": "0.9", "reason": f"#{request.call}"}
    return "\n\n".join([*(f"[[ ## {key} ## ]]\n{value}" for key, value in values.items()), "[[ ## completed ## ]]"])


def _share(call: str) -> float:
    return int(call[:8], 16) / 2**32


def _completion(text: str | None) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 64, "completion_tokens": 16, "total_tokens": 80},
    }


async def _cut(http: Any, answer: bytes) -> Any:
    from aiohttp import web

    reply = web.StreamResponse(headers={"Content-Type": "application/json"})
    reply.content_length = len(answer) + 1000
    await reply.prepare(http)
    await reply.write(answer)
    http.transport.close()  # it sends what was written first
    return reply


async def serve(scripted: Scripted) -> None:
    """Serve on a free port until the process is ended."""
    from aiohttp import web

    runner = web.ServerRunner(web.Server(scripted.handle, access_log=None, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Scripted(**json.loads(sys.argv[1]))))
