"""What a language model is to this package, and the store that keeps its answers.

Any object with `name`, `digest` and `complete` will do: `LocalModel` (in process) and
`RemoteModel` (LiteLLM names, in `policy_modules`) are the two that are shipped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, digest


class LanguageModel(Protocol):
    """A model that answers calls.

    `digest` identifies the weights (or, for a remote model, its name and endpoint).
    `complete` yields `(index, completion)` in any order, each index once; a call that fails
    gives a Completion with an `error`, never an exception.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def complete(self, calls: Sequence[Call], meter: Meter) -> Iterator[tuple[int, Completion]]: ...


class CallStore:
    """Answers by the digest of model, messages and sampling: nothing is paid for twice.

    Answers are written as they come, so that a crash loses only those in flight. Failures are
    not kept: they are asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")

    def complete(self, model: LanguageModel, calls: Sequence[Call], label: str = "") -> list[Completion]:
        """The completions of `calls`, in their order; only those not known yet are made."""
        keys = [digest([model.digest, call]) for call in calls]
        known = self._known(set(keys))
        missing = {key: call for key, call in zip(keys, calls, strict=True) if key not in known}
        names = list(missing)
        with closing(self._open()) as database, Meter(label, len(names), reused=len(known)) as meter:
            for index, completion in model.complete(list(missing.values()), meter):
                known[names[index]] = completion
                meter.add(answers=1)
                if not completion.error:
                    with database:
                        database.execute(
                            "INSERT OR REPLACE INTO calls VALUES (?, ?)",
                            (names[index], completion.model_dump_json()),
                        )
        return [known[key] for key in keys]

    def _known(self, keys: set[str]) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        with closing(self._open()) as database:
            for key in keys:
                row = database.execute("SELECT answer FROM calls WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = Completion.model_validate_json(row[0])
        return found

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=60)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database
