"""Models that answer as a test says, and count what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from prefect_ratify.call_store import Asking, CallStore
from prefect_ratify.event_loop import run
from prefect_ratify.language_models import ANY_NUMBER, Answer, TokenCounter, batched
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion

T = TypeVar("T")


class FakeModel:
    """Answers each call by a function, and keeps every call."""

    at_once = ANY_NUMBER

    def __init__(self, answer: Callable[[Call], Completion | str], digest: str = "weights", name: str = "fake") -> None:
        self.name, self.digest, self.answer = name, digest, answer
        self.endpoint = digest
        self.asked: list[Call] = []

    def connect(self, meter: Meter) -> AbstractAsyncContextManager[Answer]:
        return batched(self.complete, meter)

    def complete(self, calls: Sequence[Call], meter: TokenCounter) -> Iterator[tuple[int, Completion]]:
        for index, call in enumerate(calls):
            self.asked.append(call)
            given = self.answer(call)
            yield index, Completion(text=given) if isinstance(given, str) else given


def asked_of(store: CallStore, work: Callable[[Asking], Coroutine[Any, Any, T]]) -> T:
    """What a piece of work comes to that asks models by the store."""

    async def working() -> T:
        async with Asking(store, Meter("", 0)) as asking:
            return await work(asking)

    return run(working())
