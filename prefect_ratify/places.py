"""How many calls may wait for an endpoint at a time: a limit of this process, whatever its threads and event loops."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import cache

_sharers = 1


def share_endpoints(processes: int) -> None:
    """From now on this process is one of so many that ask the same endpoints: each takes its part of the places."""
    global _sharers
    _sharers = processes


def places_at(endpoint: str, at_once: int) -> Places:
    """The places of an endpoint: the same ones wherever they are asked for."""
    return _places(endpoint, max(1, at_once // _sharers))


class Places:
    """A semaphore that several event loops share.

    Who gives a place back passes it on in its own event loop first: of two pieces of work in two
    threads one goes on at full speed, and the other fills what it leaves over.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: dict[asyncio.AbstractEventLoop, deque[asyncio.Future[None]]] = {}
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            place: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(loop, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given in the same moment
                self._give_back()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        here = asyncio.get_running_loop()
        with self._lock:
            loop, place = self._next(here)
        if place is None:
            return
        if loop is here:
            place.set_result(None)
            return
        try:
            loop.call_soon_threadsafe(self._give, place)
        except RuntimeError:  # that loop is closed
            self._give_back()

    def _next(self, here: asyncio.AbstractEventLoop) -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None] | None]:
        """Who is to have a place; where nobody waits, it is free."""
        for loop in [here, *self._waiting]:
            queue = self._waiting.get(loop, ())
            while queue:
                place = queue.popleft()
                if not place.done():  # else it was cancelled
                    return loop, place
            self._waiting.pop(loop, None)
        self._free += 1
        return here, None

    def _give(self, place: asyncio.Future[None]) -> None:
        if place.done():
            self._give_back()
        else:
            place.set_result(None)


@cache
def _places(endpoint: str, count: int) -> Places:
    return Places(count)
