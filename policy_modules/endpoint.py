"""An OpenAI-compatible endpoint, asked directly.

A call through DSPy's own engine takes 2.4 ms of this process's time, and one of these 0.3 ms
(measured): at 64 calls of 50 ms at once, that decides how long a run takes.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
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

    Nobody knows whether such an endpoint holds answers to a schema, or gives log-probabilities: it
    is asked to, and once it has refused, no more over this connection.
    """
    import aiohttp

    async def answer(call: Call) -> Completion:
        sent = [extra for extra in extras if await extra.asked_for(call)]
        status, body = 0, b""
        try:
            async with session.post(address, json=_request(model, call, sent)) as reply:
                body = await reply.read()
                status = reply.status
        except TimeoutError:
            raise Transient("TimeoutError") from None
        except aiohttp.ClientPayloadError:  # the body was cut short
            raise Transient("UnreadableAnswerError") from None
        except (aiohttp.ClientError, OSError):
            raise Transient("ConnectionError") from None
        finally:
            blamed = _blamed(sent, call, status, body)
            again = [extra for extra in extras if extra.heard(call, status, extra in sent, extra in blamed)]
        if again:
            raise Transient(again[0].refusal, 0.0)  # sent again by the asker, whose budget counts both
        if status in PASSING or status >= 500:
            wait = seconds_asked_for(reply.headers.get("Retry-After", ""))
            raise Transient(PASSING.get(status, "ServerError"), wait)
        if status != 200:
            return Completion(error=REFUSALS.get(status, "RefusedError"), finished=False)
        return _read(body, call.top_logprobs)

    extras = (_Extra("SchemaRefusedError", _format), _Extra("LogprobsRefusedError", _logprobs))
    address = f"{url.rstrip('/')}/chat/completions"
    # How many calls there are at once is the asker's to say.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER, sock_connect=30),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        yield answer


class _Extra:
    """Whether an endpoint takes an extra field of a request, which the first call that has it finds out.

    Where that is refused, it is sent again without, to tell the field from other causes. Other
    calls wait for the refusal, as long as one may take: one call in all is sent twice. `fields`
    gives a call's extra fields of the request, none where it does without.
    """

    def __init__(self, refusal: str, fields: Callable[[Call], dict[str, Any]]) -> None:
        self.refusal, self.fields = refusal, fields
        self.taken: bool | None = None
        self.trial: Call | None = None
        self.refused = False  # the trial, with its field
        self.news = asyncio.Event()

    async def asked_for(self, call: Call) -> bool:
        """Whether to send a call with its field."""
        if not self.fields(call):
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

    def heard(self, call: Call, status: int, sent: bool, blamed: bool) -> bool:
        """Learn from what came of a call (status 0: nothing did); whether to send it again, without its field."""
        again, on_trial = blamed and not self.taken, call == self.trial
        if status == 200 and (sent or on_trial):
            self.taken = sent
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


def _request(model: str, call: Call, sent: Sequence[_Extra]) -> dict[str, Any]:
    request = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in call.messages],
        "temperature": call.sampling.temperature,
        "max_tokens": call.sampling.max_tokens,
        "seed": call.seed % 2**31,  # what every server takes
    }
    for extra in sent:
        request |= extra.fields(call)
    return request


def _blamed(sent: Sequence[_Extra], call: Call, status: int, body: bytes) -> Sequence[_Extra]:
    """The extra fields that a refusal is about: those that it names, or else any that were sent."""
    if status in (0, 200):
        return ()
    named = [extra for extra in sent if any(name.encode() in body for name in extra.fields(call))]
    return named or (sent if status in DISLIKED else ())


def _format(call: Call) -> dict[str, Any]:
    return _held_to(call.response_schema) if call.response_schema else {}


@lru_cache
def _held_to(schema: str) -> dict[str, Any]:
    answer = {"name": "answer", "strict": True, "schema": json.loads(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": answer}}


def _logprobs(call: Call) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": call.top_logprobs} if call.top_logprobs else {}


def _read(body: bytes, top_logprobs: int = 0) -> Completion:
    try:
        answer = json.loads(body)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        return Completion(
            text=storable(choice["message"].get("content")),
            finished=choice.get("finish_reason") != "length",
            tokens_read=int(usage.get("prompt_tokens") or 0),
            tokens_written=int(usage.get("completion_tokens") or 0),
            alternatives=_alternatives(choice.get("logprobs"), top_logprobs),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Transient("UnreadableAnswerError") from None


def _alternatives(logprobs: Any, most: int) -> dict[str, float]:
    """The alternatives to the first token with a letter or digit; none where the answer holds nothing of the kind."""
    try:
        place = next(place for place in logprobs["content"] if any(map(str.isalnum, place["token"])))
        found = [(str(each["token"]), float(each["logprob"])) for each in place["top_logprobs"][:most]]
    except (StopIteration, KeyError, TypeError, ValueError, OverflowError):
        return {}
    # Rounding takes some above 0, and a token may be half of a surrogate pair.
    return {
        token.encode(errors="replace").decode(): round(min(logprob, 0.0), 6)
        for token, logprob in reversed(found)  # of two that look alike, the likelier is kept
        if math.isfinite(logprob)
    }
