"""The pairwise judge: which of two responses keeps a clause better, asked in both orders.

A judge model leans to what it reads first and to what is longer (Zheng et al. 2023, arXiv
2306.05685, section 3.3). So each pair is shown in both orders, and a response is preferred only
where both answers say so (section 3.4); what is left of either bias is measured.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.judge import conversation
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.records import Call, Clause, Completion, Policy, Record, Sampling, Scenario
from prefect_ratify.scenarios.labels import Item
from prefect_ratify.scenarios.statistics import Interval, rate

Choice = Literal["first", "second", "tie", "undecided"]
SAMPLING = Sampling(temperature=0.0, max_tokens=400)
NOT_KNOWN = float("nan")  # the score of a pair that says nothing of a rate
_WORDS: Mapping[str, Choice] = {"first": "first", "second": "second", "tie": "tie"}
_TURNED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie", "undecided": "undecided"}
_AROUND = " \t\r\n*_`\"'.,()"  # a word that stands alone
_THINKING = re.compile(r"\A.*</think>|<think>.*\Z", re.DOTALL | re.IGNORECASE)
_SECTION = re.compile(r"\[\[\s*##\s*choice\s*##\s*\]\](.*?)(?=\[\[\s*##|\Z)", re.DOTALL | re.IGNORECASE)
_LINE = re.compile(r"""^[ \t*#>"'`-]*choice[ \t*"'`]*[:=](.*)$""", re.MULTILINE | re.IGNORECASE)


class ResponsePair(Record):
    """Two responses to one scenario, to be held against one clause. `better` is the one that people say is."""

    scenario: Scenario
    clause: Clause
    first: str
    second: str
    better: Literal["first", "second"] | None = None


class Preference(Record):
    """What a pairwise judge makes of a pair: the response that it chose in both orders.

    `chosen` is a *tie* where the two orders disagree, and *undecided* where either has no usable
    answer. `in_order` and `turned` are the places that it chose when it was shown the pair as it
    is, and with the second response first.
    """

    chosen: Choice
    in_order: Choice
    turned: Choice


class PairwiseBias(Record):
    """How far a pairwise judge can be believed; rates with intervals over pairs.

    `position` is the share of choices for the first place, minus one half. `inconsistent` is the
    share of decided pairs on which the two orders disagree. Of the pairs in which it chose one:
    `longer` is how often it was the longer response, in characters; and, where people say which is
    better, `accuracy` how often it was that one, and `by_length` the accuracy where that one is the
    longer (`accuracy_longer`) minus the accuracy where it is the shorter (`accuracy_shorter`).
    """

    pairs: int
    undecided: int
    ties: int
    position: Interval
    inconsistent: Interval
    longer: Interval
    accuracy: Interval
    accuracy_longer: Interval
    accuracy_shorter: Interval
    by_length: Interval


def prefer(
    pairs: Sequence[ResponsePair], model: LanguageModel, store: CallStore, label: str = "preferences"
) -> list[Preference]:
    """What the model prefers in each pair, in their order; two calls a pair, all at once.

    Never fails on an answer: one that cannot be read, or did not come, is undecided.
    """
    calls = [_question(pair, *texts) for pair in pairs for texts in _orders(pair)]
    said = [choice_of(answer) for answer in store.complete(model, calls, label)]
    return [settled(*both) for both in zip(said[::2], said[1::2], strict=True)]


def settled(in_order: Choice, turned: Choice) -> Preference:
    """What both orders come to; `turned` was asked with the second response first."""
    if "undecided" in (in_order, turned):
        chosen: Choice = "undecided"
    else:
        chosen = in_order if in_order == _TURNED[turned] else "tie"
    return Preference(chosen=chosen, in_order=in_order, turned=turned)


def choice_of(answer: Completion, words: Mapping[str, Choice] = _WORDS) -> Choice:
    """The choice that a completion makes; undecided where there is no answer."""
    return "undecided" if answer.error else read_choice(answer.text, words)


def read_choice(text: str, words: Mapping[str, Choice] = _WORDS) -> Choice:
    """The choice that an answer makes, by one of `words`: as a field, in JSON, or as its only word.

    Undecided where it makes none, or two that differ, or where more than the word stands there.
    What a model thinks before its answer does not count.
    """
    claims = {word_of(claim, words) for claim in _claims(_THINKING.sub("", text).strip())}
    return claims.pop() if len(claims) == 1 else "undecided"


def word_of(claim: Any, words: Mapping[str, Choice] = _WORDS) -> Choice:
    """What a text chooses that is nothing but one of `words`, whatever its case, marks and brackets."""
    return words.get(claim.strip(_AROUND).lower(), "undecided") if isinstance(claim, str) else "undecided"


def labelled_pairs(items: Sequence[Item], policy: Policy, scenarios: Sequence[Scenario]) -> list[ResponsePair]:
    """Pairs of which people say which response is better: upheld against violated, on one scenario and clause.

    Each response is in at most one pair of a clause, so that the pairs stay independent.
    """
    by_id = {scenario.id: scenario for scenario in scenarios}
    said: defaultdict[tuple[str, str], defaultdict[str | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if item.scenario_id in by_id and item.clause_id in policy.clause_ids:
            said[item.scenario_id, item.clause_id][item.outcome].append(item.response)
    return [
        ResponsePair(
            scenario=by_id[scenario_id], clause=policy.clause(clause_id), first=upheld, second=violated, better="first"
        )
        for (scenario_id, clause_id), texts in said.items()
        for upheld, violated in zip(texts["upheld"], texts["violated"], strict=False)
    ]


def measure_bias(preferences: Sequence[Preference], pairs: Sequence[ResponsePair]) -> PairwiseBias:
    """Position bias, inconsistency, length bias and accuracy of a judge on these pairs.

    Intervals are over pairs: the two answers to one are not independent. Wilson's for rates,
    Newcombe's (1998, method 10) for the difference.
    """
    both = list(zip(preferences, pairs, strict=True))

    def over_pairs(score: Callable[[Preference, ResponsePair], float]) -> Interval:
        return rate(np.array([score(preference, pair) for preference, pair in both]))

    longer = over_pairs(lambda p, pair: _chose(p, pair.better if pair.better == _longer(pair) else None))
    shorter = over_pairs(lambda p, pair: _chose(p, pair.better if pair.better == _shorter(pair) else None))
    return PairwiseBias(
        pairs=len(pairs),
        undecided=sum(preference.chosen == "undecided" for preference in preferences),
        ties=sum(preference.chosen == "tie" for preference in preferences),
        position=_minus_half(over_pairs(lambda p, _: _first_places(p))),
        inconsistent=over_pairs(lambda p, _: _inconsistent(p)),
        longer=over_pairs(lambda p, pair: _chose(p, _longer(pair))),
        accuracy=over_pairs(lambda p, pair: _chose(p, pair.better)),
        accuracy_longer=longer,
        accuracy_shorter=shorter,
        by_length=_gap(shorter, longer),
    )


def _orders(pair: ResponsePair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.first, pair.second), (pair.second, pair.first)


def _question(pair: ResponsePair, first: str, second: str) -> Call:
    from prefect_ratify.policy_modules.signatures import fenced

    return _prompt().call(
        {
            "clause": pair.clause.text,
            "conversation": fenced(conversation(pair.scenario)),
            "first": fenced(first),
            "second": fenced(second),
        }
    )


@lru_cache
def _prompt() -> Prompt:
    from prefect_ratify.policy_modules.signatures import PreferResponse

    return Prompt(PreferResponse, SAMPLING)


def _claims(answer: str) -> list[Any]:
    """Every place at which an answer says what it chooses; the whole of it where there is none."""
    start, end = answer.find("{"), answer.rfind("}") + 1
    found = _in_json(answer[start:end])
    rest = answer[:start] + "\n" + answer[end:] if found else answer
    return [*found, *_SECTION.findall(rest), *_LINE.findall(rest)] or [answer]


def _in_json(text: str) -> list[Any]:
    claims: list[Any] = []

    def look(fields: list[tuple[str, Any]]) -> None:  # sees keys that are given twice
        claims.extend(value for key, value in fields if key == "choice")

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return []
    return claims


def _longer(pair: ResponsePair) -> Choice | None:
    """Which response has more characters; None where neither has."""
    first, second = len(pair.first), len(pair.second)
    return "first" if first > second else "second" if second > first else None


def _shorter(pair: ResponsePair) -> Choice | None:
    longer = _longer(pair)
    return _TURNED[longer] if longer else None


def _chose(preference: Preference, wanted: Choice | None) -> float:
    chose_one = preference.chosen in ("first", "second")
    return float(preference.chosen == wanted) if chose_one and wanted else NOT_KNOWN


def _first_places(preference: Preference) -> float:
    places = [place for place in (preference.in_order, preference.turned) if place in ("first", "second")]
    return places.count("first") / len(places) if places else NOT_KNOWN


def _inconsistent(preference: Preference) -> float:
    if preference.chosen == "undecided":
        return NOT_KNOWN
    return float(preference.in_order != _TURNED[preference.turned])


def _minus_half(share: Interval) -> Interval:
    found = _ends(share)
    if found is None:
        return share
    value, low, high = (round(end - 0.5, 4) for end in found)
    return Interval(value=value, low=low, high=high, scenarios=share.scenarios)


def _gap(first: Interval, second: Interval) -> Interval:
    """The second rate minus the first, of different pairs."""
    a, b = _ends(first), _ends(second)
    if a is None or b is None:
        return Interval(value=None, low=None, high=None, scenarios=0)
    (p, p_low, p_high), (q, q_low, q_high) = a, b
    low = q - p - math.hypot(q - q_low, p_high - p)
    high = q - p + math.hypot(q_high - q, p - p_low)
    count = first.scenarios + second.scenarios
    return Interval(value=round(q - p, 4), low=round(low, 4), high=round(high, 4), scenarios=count)


def _ends(interval: Interval) -> tuple[float, float, float] | None:
    if interval.value is None or interval.low is None or interval.high is None:
        return None
    return interval.value, interval.low, interval.high
