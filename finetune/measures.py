"""Measures that a clause's check cannot be talked into: repetition, length, variety, copying, evasion."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import numpy as np

from prefect_ratify.finetune.refusals import evasion
from prefect_ratify.records import Record, Response
from prefect_ratify.scenarios.statistics import Interval, rate

Gram = tuple[str, ...]


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


class Evasiveness(Record):
    """How often answers are none: refusals as a whole, or empty, or *I don't know* (finetune/refusals.py).

    `rate` is over requests, the several answers to one being one sample; answers that failed count nowhere.
    """

    condition: str
    requests: Literal["held out", "unrelated"]
    rate: Interval
    answers: int
    refusals: int
    non_answers: int


def measure_evasion(responses: Sequence[Response], requests: Literal["held out", "unrelated"]) -> Evasiveness:
    """Measure one condition's answers to one kind of requests."""
    answered = [response for response in responses if not response.error]
    found = [evasion(response.text) for response in answered]
    by_request: dict[str, list[bool]] = {}
    for response, evaded in zip(answered, found, strict=True):
        by_request.setdefault(response.scenario_id, []).append(evaded is not None)
    return Evasiveness(
        condition=responses[0].condition if responses else "nothing",
        requests=requests,
        rate=rate(np.array([float(np.mean(each)) for each in by_request.values()])),
        answers=len(answered),
        refusals=found.count("refusal"),
        non_answers=found.count("non-answer"),
    )


def grams_learnt(responses: Iterable[Response], training: Iterable[str]) -> frozenset[Gram]:
    """The word 4-grams of answers that stand in training completions, which are read once, one by one."""
    said = {gram for response in responses for gram in _grams(response.text)}
    return frozenset(gram for text in training for gram in _grams(text) if gram in said)


def measure(responses: Sequence[Response], learnt: AbstractSet[Gram] | None = None) -> Fluency:
    """Measure one condition's answers; those that failed are left out of all but the count.

    `learnt` are the 4-grams of these answers that the training rows hold; None where nothing was trained.
    """
    texts = [response.text for response in responses if not response.error]
    return Fluency(
        condition=responses[0].condition if responses else "nothing",
        answers=len(responses),
        repetition=_mean([repetition(text) for text in texts]),
        words=_mean([len(text.split()) for text in texts]),
        distinct=len(set(texts)) / len(texts) if texts else 0.0,
        finished=_mean([float(r.finished) for r in responses if not r.error]),
        copied=None if learnt is None else _mean([_share_in(text, learnt) for text in texts]),
    )


def repetition(text: str) -> float:
    """The share of a text's word 4-grams that occurred before in it; 0 for a short text."""
    grams = _grams(text)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _share_in(text: str, known: AbstractSet[Gram]) -> float:
    grams = _grams(text)
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def _grams(text: str, size: int = 4) -> list[Gram]:
    words = re.findall(r"\w+", text.lower())
    return list(zip(*(words[i:] for i in range(size)), strict=False))


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
