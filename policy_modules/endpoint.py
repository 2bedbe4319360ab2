"""An OpenAI-compatible endpoint, asked directly.

A call through DSPy's own engine takes 2.4 ms of this process's time, and one of these 0.3 ms
(measured): at 64 calls of 50 ms at once, that decides how long a run takes.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from prefect_ratify.language_models import Answer, Transient
from prefect_ratify.records import Call, Completion

SECONDS_TO_ANSWER = 600.0
SECONDS_TO_REFUSE = 1.0  # a request that an endpoint does not take: it is refused before any model works
PASSING = {408: "TimeoutError", 409: "ConflictError", 425: "TooEarlyError", 429: "RateLimitError"}
DISLIKED = (400, 422)  # what endpoints say to a field of the request that they do not know
REFUSALS = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionError", 404: "NotFoundError"}


@asynccontextmanager
async def connect(url: str, model: str, key: str) -> AsyncIterator[Answer]:
    """Answers of the model `model` at `<url>/chat/completions`.

    Nobody knows whether such an endpoint holds answers to a schema: it is asked to, and once it
    has refused, no more over this connection.
    """
    import aiohttp

    async def answer(call: Call) -> Completion:
        with_schema = await schemas.asked_for(call)
        status, body = 0, b""
        try:
            async with session.post(address, json=_request(model, call, with_schema)) as reply:
                body = await reply.read()
                status = reply.status
        except TimeoutError:
            raise Transient("TimeoutError") from None
        except aiohttp.ClientPayloadError:  # the body was cut short
            raise Transient("UnreadableAnswerError") from None
        except (aiohttp.ClientError, OSError):
            raise Transient("ConnectionError") from None
        finally:
            again = schemas.heard(call, status, body, with_schema)
        if again:
            raise Transient("SchemaRefusedError", 0.0)  # sent again by the asker, whose budget counts both
        if status in PASSING or status >= 500:
            wait = seconds_asked_for(reply.headers.get("Retry-After", ""))
            raise Transient(PASSING.get(status, "ServerError"), wait)
        if status != 200:
            return Completion(error=REFUSALS.get(status, "RefusedError"), finished=False)
        return _read(body)

    schemas = _Schemas()
    address = f"{url.rstrip('/')}/chat/completions"
    # How many calls there are at once is the asker's to say.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER, sock_connect=30),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        yield answer


class _Schemas:
    """Whether an endpoint holds answers to a schema, which the first call that has one finds out.

    Where that is refused, it is sent again without, to tell the schema from other causes. Other
    calls wait for the refusal, as long as one may take: one call in all is sent twice.
    """

    def __init__(self) -> None:
        self.taken: bool | None = None
        self.trial: Call | None = None
        self.refused = False  # the trial, with its schema
        self.news = asyncio.Event()

    async def asked_for(self, call: Call) -> bool:
        """Whether to send a call with its schema."""
        if not call.response_schema:
            return False
        while self.taken is None and self.trial not in (None, call) and not self.refused:
            try:
                await asyncio.wait_for(self.news.wait(), SECONDS_TO_REFUSE)
            except TimeoutError:
                return True
        if self.taken is not None:
            return self.taken
        self.trial = self.trial or call
        return not self.refused

    def heard(self, call: Call, status: int, body: bytes, with_schema: bool) -> bool:
        """Learn from what came of a call (status 0: nothing did); whether to send it again, without its schema."""
        disliked = status in DISLIKED or (status not in (0, 200) and b"response_format" in body)
        again, on_trial = with_schema and disliked and not self.taken, call == self.trial
        if status == 200 and (with_schema or on_trial):
            self.taken = with_schema
        if on_trial:
            self.trial, self.refused = (call, True) if again else (None, False)
        self.news.set()  # who waits looks again
        self.news.clear()
        return again


def seconds_asked_for(retry_after: str) -> float | None:
    """What a Retry-After header says, in seconds or as a date; None where it says nothing of use."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            at = parsedate_to_datetime(retry_after)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def storable(text: str | None) -> str:
    """An answer's text as a file can hold it: half of a surrogate pair becomes a question mark."""
    return (text or "").strip().encode(errors="replace").decode()


def _request(model: str, call: Call, with_schema: bool) -> dict[str, Any]:
    held = {"response_format": _format(call.response_schema)} if with_schema else {}
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in call.messages],
        "temperature": call.sampling.temperature,
        "max_tokens": call.sampling.max_tokens,
        "seed": call.seed % 2**31,  # what every server takes
        **held,
    }


@lru_cache
def _format(schema: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json.loads(schema)}}


def _read(body: bytes) -> Completion:
    try:
        answer = json.loads(body)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        return Completion(
            text=storable(choice["message"].get("content")),
            finished=choice.get("finish_reason") != "length",
            tokens_read=int(usage.get("prompt_tokens") or 0),
            tokens_written=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Transient("UnreadableAnswerError") from None
