"""The task's model: an OpenAI-compatible server on loopback that responds, and proposes wordings.

    python -m tests.refine_bench.server

The first line it prints is its address. What it says depends on the request alone: the model's
name (each run has its own, so that runs differ), the messages and the seed. It counts requests
by the model's name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

from aiohttp import web

from tests.refine_bench.task import respond, reworded, reworded_whole

FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]\n(.*?)(?=\n\n\[\[ ## |\n\nRespond with |\Z)", re.DOTALL)
ATTEMPT = re.compile(r"Instruction #\d+: ")
LIKE_THE_BEST = 0.5  # the share of clauses that are reworded in a proposal made from scored attempts


@contextmanager
def scripted_model() -> Iterator[str]:
    """The server's address, in a process of its own until the block ends."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def calls_counted(url: str) -> Counter[str]:
    """How many requests the server had, by the model's name."""
    with urlopen(f"{url}/calls", timeout=30) as reply:
        return Counter(json.load(reply))


def answer(body: dict[str, Any]) -> str:
    """What the model says to a request."""
    chance = random.Random(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest())
    system = body["messages"][0]["content"]
    wanted = re.findall(r"^\d+\. `(\w+)`", system.partition("Your output fields are:")[2], re.MULTILINE)
    if not wanted:
        return respond(system, chance)
    given = dict(FIELD.findall(body["messages"][-1]["content"]))
    return "\n\n".join(f"[[ ## {name} ## ]]\n{_said(name, given, chance)}" for name in [*wanted, "completed"])


def _said(name: str, given: dict[str, str], chance: random.Random) -> str:
    """One field of an answer to a request in DSPy's form.

    Who is shown attempts and their scores goes on from the best, which stands last, and rewords
    half of it; who is shown the draft alone rewords it all.
    """
    if name == "clause":
        return reworded(given["current"], chance)
    if name == "proposed_instruction" and "attempted_instructions" in given:
        return reworded_whole(ATTEMPT.split(given["attempted_instructions"])[-1], LIKE_THE_BEST, chance)
    if name == "proposed_instruction":
        return reworded_whole(given["basic_instruction"], 1.0, chance)
    return {"observations": "People rent.", "summary": "People rent.", "completed": ""}.get(name, "none")


class _Server:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path.endswith("/calls"):
            return web.json_response(self.calls)
        body = await request.json()
        self.calls[body["model"]] += 1
        message = {"role": "assistant", "content": answer(body)}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


async def serve() -> None:
    """Serve on a free port until the process is ended."""
    runner = web.ServerRunner(web.Server(_Server().handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=256).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
