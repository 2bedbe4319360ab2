"""The store of what was paid for, and asking models through it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from prefect_ratify.budget import Budget, Payment, Spending
from prefect_ratify.event_loop import run
from prefect_ratify.language_models import Answer, LanguageModel, Transient
from prefect_ratify.places import places_at
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Record, digest

T = TypeVar("T")
R = TypeVar("R", bound=Record)
SECONDS_LOCKED = 60.0  # for which another process may hold the store's file
SECONDS_BETWEEN_LOOKS = 0.01  # at a budget that has no room before a call under way has ended
ATTEMPTS = 5
LONGEST_WAIT = 120.0  # seconds before another try, whatever an endpoint asks for
HOPELESS = 100  # calls that failed in a row, with all their tries: the endpoint is taken to be down
# Failures that are about the request itself: the same request would meet them at any time.
OF_THE_REQUEST = ("BadRequestError", "ContextWindowExceededError", "ContentPolicyViolationError", "PromptTooLong")
NOT_RUN = "NotRun"  # the error of a call that was not sent: there was no budget, or no endpoint, for it


class CallStore:
    """Records by the digest of all that they depend on: nothing is paid for twice.

    Each is written when it comes, so that a crash loses only what was in flight. Several threads
    and processes may use one file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        # Without an isolation level every statement is a transaction of its own.
        self._database = sqlite3.connect(path, timeout=SECONDS_LOCKED, isolation_level=None, check_same_thread=False)
        _write_ahead(self._database)
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS payments (account TEXT, key TEXT, tries INTEGER, answered INTEGER, "
            "tokens INTEGER, dollars REAL, PRIMARY KEY (account, key))"
        )

    def find(self, key: str, kind: type[R]) -> R | None:
        """What was kept under this key, if anything was."""
        with self._lock:
            row = self._database.execute("SELECT answer FROM calls WHERE key = ?", (key,)).fetchone()
        return kind.model_validate_json(row[0]) if row else None

    def keep(self, key: str, record: Record) -> None:
        """Write a record; once this returns, no end of the process loses it."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?)", (key, record.model_dump_json()))

    def begin(self, key: str, account: str) -> None:
        """Write down that an account is about to send a call: a kill must not make it forget."""
        with self._lock:
            self._database.execute(
                "INSERT INTO payments VALUES (?, ?, 1, 0, 0, 0) ON CONFLICT DO UPDATE SET tries = tries + 1",
                (account, key),
            )

    def pay(self, key: str, answer: Completion, account: str, payment: Payment) -> None:
        """Keep an answer together with what an account paid for it: both or neither survive a kill."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?)", (key, answer.model_dump_json()))
            self._database.execute(
                "UPDATE payments SET answered = 1, tokens = ?, dollars = ? WHERE account = ? AND key = ?",
                (payment.tokens, payment.dollars, account, key),
            )

    def spending(self, account: str, budget: Budget) -> Spending:
        """What is left of a budget to work that may have been killed before."""
        with self._lock:
            columns = "key, tries, answered, tokens, dollars"
            rows = list(self._database.execute(f"SELECT {columns} FROM payments WHERE account = ?", (account,)))
        paid = {key: Payment(calls=1, tokens=tokens, dollars=dollars) for key, _, done, tokens, dollars in rows if done}
        return Spending(budget=budget, account=account, paid=paid, wasted=sum(row[1] for row in rows) - len(paid))

    def complete(
        self, model: LanguageModel, calls: Sequence[Call], label: str = "", spending: Spending | None = None
    ) -> list[Completion]:
        """The completions of `calls`, in their order; only those not known yet are made."""
        found: dict[int, Completion] = {}

        async def work() -> None:
            with Meter(label, len(calls), spending) as meter:
                async with Asking(self, meter) as asking:

                    async def one(place: int) -> None:
                        found[place] = await asking.ask(model, calls[place])

                    await pooled(one, range(len(calls)), model.at_once)

        run(work())
        return [found[place] for place in range(len(calls))]


class Asking:
    """Calls to models in one event loop: from the store, or else within the budget and kept.

    At most `at_once` calls of this process wait for an endpoint at a time. One that failed and may pass is tried
    again, after as long as the endpoint asks for; meanwhile others have its place.

    `silent` are the models that at last gave no answer to a call, each time that happened, unless
    the request itself was to blame.
    """

    def __init__(self, store: CallStore, meter: Meter, spending: Spending | None = None) -> None:
        self.store, self.meter = store, meter
        self.spending = spending or meter.spending
        self._open = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._answers: dict[str, Answer] = {}
        self._asked: dict[str, asyncio.Future[Completion]] = {}
        self._failed: Counter[str] = Counter()
        self.silent: list[LanguageModel] = []

    def apart(self) -> Asking:
        """The same, with a list `silent` of its own: for one of many pieces of work."""
        mine = copy(self)
        mine.silent = []
        return mine

    async def __aenter__(self) -> Asking:
        await self._open.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._open.__aexit__(*error)

    async def ask(self, model: LanguageModel, call: Call) -> Completion:
        """The answer to a call. The same call twice at the same time is one call."""
        answer = await self._answer(model, call)
        if answer.error and answer.error not in OF_THE_REQUEST:
            self.silent.append(model)
        return answer

    async def _answer(self, model: LanguageModel, call: Call) -> Completion:
        key = call_key(model, call)
        if key in self._asked:
            self.meter.add(reused=1)
            return await self._asked[key]
        found = self.store.find(key, Completion)
        if found is not None:
            self.meter.add(reused=1)
            self.spending.again(key)
            return found
        # Nothing is awaited before this, or the same call could pass by twice.
        self._asked[key] = asyncio.ensure_future(self._obtain(model, call, key))
        try:
            return await self._asked[key]
        finally:
            self._asked.pop(key, None)

    async def _obtain(self, model: LanguageModel, call: Call, key: str) -> Completion:
        answer_to, failure = await self._connected(model), Transient(NOT_RUN)
        places = places_at(model.endpoint, model.at_once)
        for attempt in range(ATTEMPTS):
            async with places:
                if self._failed[model.endpoint] >= HOPELESS or not await self._begun(model, call):
                    break
                try:
                    answer = await self._send(model, call, answer_to, key)
                except Transient as passing:
                    failure = passing
                else:
                    # Before its place is another's: all that a kill loses is what waits for an answer.
                    if not answer.error:
                        self._failed[model.endpoint] = 0
                    self.meter.add(answers=1)
                    return answer
            if attempt + 1 < ATTEMPTS:
                await asyncio.sleep(backoff(attempt) if failure.wait is None else min(failure.wait, LONGEST_WAIT))
        else:
            self._failed[model.endpoint] += 1
        self.meter.add(answers=1)
        return Completion(error=failure.kind, finished=False)

    async def _send(self, model: LanguageModel, call: Call, answer_to: Answer, key: str) -> Completion:
        answer = None
        if self.spending.account:
            self.store.begin(key, self.spending.account)
        try:
            answer = await answer_to(call)
            return answer
        finally:
            payment = self.spending.end(model.name, call, answer)
            if answer is not None and not answer.error:
                self._keep(key, answer, payment)

    def _keep(self, key: str, answer: Completion, payment: Payment) -> None:
        if self.spending.account:
            self.store.pay(key, answer, self.spending.account, payment)
        else:
            self.store.keep(key, answer)

    async def has_room(self, model: LanguageModel, call: Call) -> bool:
        """Whether the budget has room for a call, if need be after those under way took less than they might have."""
        while not self.spending.has_room(model.name, call):
            if not self.spending.under_way:
                return False
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        return True

    async def _begun(self, model: LanguageModel, call: Call) -> bool:
        """Begin a call where the budget has room; nothing is awaited between the look at it and that."""
        if not await self.has_room(model, call):
            self.spending.refused += 1
            return False
        return self.spending.begin(model.name, call)

    async def _connected(self, model: LanguageModel) -> Answer:
        async with self._connecting:
            if model.digest not in self._answers:
                self._answers[model.digest] = await self._open.enter_async_context(model.connect(self.meter))
        return self._answers[model.digest]


def call_key(model: LanguageModel, call: Call) -> str:
    """The digest of all that an answer depends on."""
    return digest([model.digest, call])


def backoff(attempt: int) -> float:
    """Seconds before another try, twice as long each time; of random length, lest all come back at once."""
    return float(2**attempt * random.uniform(0.25, 0.75))


async def pooled(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """Do the work on each item, on so many at a time; what is slow holds up nothing but its own place.

    Where one fails, the others are ended before this raises.
    """
    listed = list(items)
    waiting = iter(listed)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(at_once, len(listed)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _write_ahead(database: sqlite3.Connection) -> None:
    # Of two processes that make the same file, SQLite refuses one here at once, whatever its timeout.
    until = time.monotonic() + SECONDS_LOCKED
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
        time.sleep(0.01)
