"""What a language model is to this package.

`LocalModel` (in process) and `RemoteModel` (LiteLLM names, in `policy_modules`) are the two that
are shipped; any object with these five names will do. Calls reach a model by `call_store.Asking`,
which keeps its answers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol

from prefect_ratify.event_loop import in_caller
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion

Answer = Callable[[Call], Awaitable[Completion]]
Complete = Callable[[Sequence[Call], "TokenCounter"], Iterator[tuple[int, Completion]]]
WINDOW = 0.01  # seconds in which calls to a model in process gather to a batch
ANY_NUMBER = 1_000_000


class LanguageModel(Protocol):
    """A model that answers calls.

    `digest` identifies the weights (or, for a remote model, its name and endpoint). At most
    `at_once` calls wait for an `endpoint` at a time, whichever models stand behind it. `connect`
    opens what answering needs; the answer to a call that cannot be answered is a Completion with
    an `error`, or Transient is raised where another try may help.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def at_once(self) -> int: ...

    def connect(self, meter: Meter) -> AbstractAsyncContextManager[Answer]: ...


class TokenCounter(Protocol):
    """Where a model that works in batches counts the tokens that it made."""

    def add(self, *, tokens: int) -> None: ...


class Transient(Exception):
    """A failure that may pass: `kind` is its class, `wait` the seconds that the endpoint asked for."""

    def __init__(self, kind: str, wait: float | None = None) -> None:
        super().__init__(kind)
        self.kind, self.wait = kind, wait


@asynccontextmanager
async def batched(complete: Complete, meter: Meter) -> AsyncIterator[Answer]:
    """Single answers from a model that works in batches; the calls of one moment form a batch.

    `complete` yields `(index, completion)` in any order, each index once. It works in the thread
    that called `event_loop.run`, so that answers can be judged while others are still written.
    """
    batcher = _Batcher(complete, meter)
    try:
        yield batcher.answer
    finally:
        batcher.stopped.set()
        if batcher.batches is not None:  # the event loop must not end before the work in another thread has
            await asyncio.gather(batcher.batches, return_exceptions=True)


class _Batcher:
    working = threading.Lock()  # two models on the same cores would each be slower than in turn

    def __init__(self, complete: Complete, meter: Meter) -> None:
        self.complete, self.meter = complete, meter
        self.waiting: list[tuple[Call, asyncio.Future[Completion]]] = []
        self.batches: asyncio.Task[None] | None = None
        self.stopped = threading.Event()

    async def answer(self, call: Call) -> Completion:
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.waiting.append((call, answer))
        if self.batches is None or self.batches.done():
            self.batches = asyncio.create_task(self._work())
        return await answer

    def add(self, *, tokens: int) -> None:
        """Count tokens; the place at which a model's work can be ended."""
        if self.stopped.is_set():
            raise InterruptedError
        self.meter.add(tokens=tokens)

    async def _work(self) -> None:
        while self.waiting:
            await asyncio.sleep(WINDOW)
            batch, self.waiting = self.waiting, []
            await in_caller(partial(self._complete, batch, asyncio.get_running_loop()))

    def _complete(self, batch: list[tuple[Call, asyncio.Future[Completion]]], loop: asyncio.AbstractEventLoop) -> None:
        failure: BaseException = RuntimeError("a model in process gave no answer to a call")
        try:
            with self.working:
                self.add(tokens=0)  # it may have been stopped while it waited
                for index, completion in self.complete([call for call, _ in batch], self):
                    loop.call_soon_threadsafe(_settle, batch[index][1], completion)
                    self.add(tokens=0)
        except Exception as error:
            failure = error
        for _, answer in batch:
            loop.call_soon_threadsafe(_settle, answer, failure)


def _settle(answer: asyncio.Future[Completion], outcome: Completion | BaseException) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
