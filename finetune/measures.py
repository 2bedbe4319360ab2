"""Measures that a clause's check cannot be talked into: repetition, length, variety, copying."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from prefect_ratify.records import Record, Response


class Fluency(Record):
    """What answers look like, whatever they say.

    `repetition` is the mean share of a text's word 4-grams that occur in it before;
    `words` the mean length; `distinct` the number of different answers over that of all;
    `finished` the share that ended by itself; `copied` the mean share of word 4-grams that
    stand in the training completions (None without training data).
    """

    condition: str
    answers: int
    repetition: float
    words: float
    distinct: float
    finished: float
    copied: float | None


def measure(responses: Sequence[Response], training: Sequence[str] = ()) -> Fluency:
    """Measure one condition's answers; those that failed are left out of all but the count."""
    texts = [response.text for response in responses if not response.error]
    known = {gram for text in training for gram in _grams(text)}
    return Fluency(
        condition=responses[0].condition if responses else "nothing",
        answers=len(responses),
        repetition=_mean([repetition(text) for text in texts]),
        words=_mean([len(text.split()) for text in texts]),
        distinct=len(set(texts)) / len(texts) if texts else 0.0,
        finished=_mean([float(r.finished) for r in responses if not r.error]),
        copied=_mean([_share_in(text, known) for text in texts]) if training else None,
    )


def repetition(text: str) -> float:
    """The share of a text's word 4-grams that occurred before in it; 0 for a short text."""
    grams = _grams(text)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _share_in(text: str, known: set[tuple[str, ...]]) -> float:
    grams = _grams(text)
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def _grams(text: str, size: int = 4) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
