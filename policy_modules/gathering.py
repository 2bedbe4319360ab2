"""Handing work on in batches, where many ask at the same time for a little each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
Batch = tuple[list[T], "asyncio.Task[None]"]


class Gathered(Generic[T]):
    """What is asked for while one batch is under way is the next batch; nobody waits for a batch to be full.

    `work` is done in a thread. What it raises, all of its batch are given. Each event loop has
    batches of its own, since shards are made in several.
    """

    def __init__(self, work: Callable[[list[T]], object]) -> None:
        self._work = work
        self._next: WeakKeyDictionary[asyncio.AbstractEventLoop, Batch[T]] = WeakKeyDictionary()
        self._under_way: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()

    async def __call__(self, item: T) -> None:
        """Return once the work is done on this item, and others that came meanwhile."""
        loop = asyncio.get_running_loop()
        if loop not in self._next:
            self._next[loop] = [], loop.create_task(self._do(loop, self._under_way.get(loop)))
        items, done = self._next[loop]
        items.append(item)
        await asyncio.shield(done)  # who gives up ends nobody else's

    async def _do(self, loop: asyncio.AbstractEventLoop, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        items, self._under_way[loop] = self._next.pop(loop)
        await asyncio.to_thread(self._work, items)
