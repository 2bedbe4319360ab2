"""Running asynchronous work from plain functions, while models in process work in the caller's thread.

Torch is up to a fifth slower in a thread of its own (measured): glibc gives such a thread an arena that
hands large blocks back at every free, and the pools of two threads crowd each other's cores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

SECONDS_TO_KEEP = 0.1
T = TypeVar("T")
Jobs = SimpleQueue[Callable[[], None] | None]
_jobs: ContextVar[Jobs] = ContextVar("jobs")
Running = tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]
_running: set[Running] = set()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread beside this one, which does the jobs of `in_caller` meanwhile."""
    jobs: Jobs = SimpleQueue()
    begun: Future[Running] = Future()

    async def watched() -> T:
        current = asyncio.current_task()
        assert current is not None
        running = asyncio.get_running_loop(), current
        _running.add(running)
        begun.set_result(running)
        _jobs.set(jobs)
        try:
            return await work
        finally:
            _running.discard(running)
            jobs.put(None)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(copy_context().run, asyncio.run, watched())
        try:
            while (job := jobs.get()) is not None:
                job()
        except BaseException:  # Ctrl-C, or Prefect's signal: they reach this thread alone, and the other waits for it
            _end(begun.result())
            raise
        return done.result()


def end_all() -> None:
    """End what `run` does for other threads: Ctrl-C does not reach them."""
    for running in list(_running):
        _end(running)


def _end(running: Running) -> None:
    loop, current = running
    # Not at once: answers that are on their way to be kept shall be.
    loop.call_soon_threadsafe(lambda: loop.call_later(SECONDS_TO_KEEP, current.cancel))


async def in_caller(job: Callable[[], None]) -> None:
    """Have a job done by the thread that called `run`, and wait until it is.

    A job raises nothing but what ends the process. In an event loop that somebody else runs, a
    thread of its own does it.
    """
    jobs = _jobs.get(None)
    if jobs is None:
        return await asyncio.to_thread(job)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        try:
            job()
        finally:
            loop.call_soon_threadsafe(_set, done)

    jobs.put(work)
    await done


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
