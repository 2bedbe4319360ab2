"""The leak check: nothing of a held-out scenario may stand in what a model learns from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefect_ratify.errors import LeakError
from prefect_ratify.records import Demonstration, Message, PreferencePair, Scenario

GRAM = 5  # words
LEAK_OVERLAP = 0.5  # share of a held-out query's word 5-grams that a row may not reach


def require_no_leak(rows: Sequence[Demonstration | PreferencePair], held_out: Sequence[Scenario]) -> None:
    """LeakError where a row holds a held-out scenario's id or much of its text.

    A row leaks where it shares LEAK_OVERLAP or more of a held-out text's word 5-grams (all its
    words, where it has fewer).
    """
    for row in rows:
        ids = [scenario.id for scenario in held_out if scenario.id == row.provenance.scenario_id]
        leaked = ids[0] if ids else leaked_scenario(" ".join(m.content for m in _messages(row)), held_out)
        if leaked:
            raise LeakError(
                f"the held-out scenario {leaked!r} is in the training row of "
                f"{row.provenance.scenario_id!r}: move one of them to the other split"
            )


def leaked_scenario(text: str, held_out: Sequence[Scenario]) -> str:
    """The id of a held-out scenario of which the text holds much; empty where it holds none."""
    words = _words(text)
    by_size = {size: _grams(words, size) for size in range(GRAM + 1)}
    for scenario in held_out:
        mark = _words(" ".join(message.content for message in scenario.messages))
        size = min(GRAM, len(mark))
        grams = _grams(mark, size)
        if grams and len(grams & by_size[size]) / len(grams) >= LEAK_OVERLAP:
            return scenario.id
    return ""


def _messages(row: Demonstration | PreferencePair) -> tuple[Message, ...]:
    if isinstance(row, Demonstration):
        return row.prompt + row.completion
    return row.prompt + row.chosen + row.rejected


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()
