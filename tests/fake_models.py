"""Models that answer as a test says, and count what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from prefect_ratify.language_models import ANY_NUMBER, Answer, TokenCounter, batched
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion


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
