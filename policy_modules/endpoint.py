"""An OpenAI-compatible endpoint, asked directly.

A call through DSPy's own engine takes 2.4 ms of this process's time, and one of these 0.3 ms
(measured): at 64 calls of 50 ms at once, that decides how long a run takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from prefect_ratify.language_models import Answer, Transient
from prefect_ratify.records import Call, Completion

SECONDS_TO_ANSWER = 600.0
PASSING = {408: "TimeoutError", 409: "ConflictError", 425: "TooEarlyError", 429: "RateLimitError"}
REFUSALS = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionError", 404: "NotFoundError"}


@asynccontextmanager
async def connect(url: str, model: str, key: str) -> AsyncIterator[Answer]:
    """Answers of the model `model` at `<url>/chat/completions`."""
    import aiohttp

    async def answer(call: Call) -> Completion:
        try:
            async with session.post(address, json=_request(model, call)) as reply:
                body = await reply.read()
        except TimeoutError:
            raise Transient("TimeoutError") from None
        except aiohttp.ClientPayloadError:  # the body was cut short
            raise Transient("UnreadableAnswerError") from None
        except (aiohttp.ClientError, OSError):
            raise Transient("ConnectionError") from None
        if reply.status in PASSING or reply.status >= 500:
            wait = seconds_asked_for(reply.headers.get("Retry-After", ""))
            raise Transient(PASSING.get(reply.status, "ServerError"), wait)
        if reply.status != 200:
            return Completion(error=REFUSALS.get(reply.status, "RefusedError"), finished=False)
        return _read(body)

    address = f"{url.rstrip('/')}/chat/completions"
    # How many calls there are at once is the asker's to say.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER, sock_connect=30),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        yield answer


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


def _request(model: str, call: Call) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in call.messages],
        "temperature": call.sampling.temperature,
        "max_tokens": call.sampling.max_tokens,
        "seed": call.seed % 2**31,  # what every server takes
    }


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
