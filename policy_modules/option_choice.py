"""Option choice: how a model is spread over the options of a question.

A distributionally pluralistic model is held against people by its distribution over answers
(Sorensen et al. 2024, arXiv 2402.05070). As Santurkar et al. 2023 do (*Whose Opinions Do Language
Models Reflect?*, arXiv 2303.17548), the distribution is that of the probabilities of the options after
the question, normalised over the options. In the order of preference, it is taken from

    options      the probability of each option's text, with a small and with a capital letter, for a local model
    first word   the probabilities of the first word, where an endpoint gives the likeliest ones
    samples      at least SAMPLES answers

all at temperature 1. A model leans to options by their place, so each question is asked in as many
orders as there are options, turned by one place each time: every option stands in every place
once, and the mean of the orders is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prefect_ratify.call_store import CallStore
from prefect_ratify.local_models import LocalModel
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Record, Sampling, digest, seed_from
from prefect_ratify.scenarios.pluralism.distributional import js_distance
from prefect_ratify.scenarios.pluralism.plan import Question
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.statistics import Scores

SAMPLING = Sampling(temperature=1.0, min_p=0.0, max_tokens=24)
SAMPLES = 10  # of a question, in all its orders
TOP_LOGPROBS = 5  # the most that every endpoint gives
How = Literal["options", "first word", "samples"]
_AROUND = " \t\r\n*_`\"'.,:;!?()[]“”‘’"
_THINKING = re.compile(r"\A.*</think>|<think>.*\Z", re.DOTALL | re.IGNORECASE)


class OptionScores(Record):
    """The natural log-probabilities of a question's options, as the store keeps them."""

    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Chosen:
    """How a model is spread over a question's options: `shares` `[options]`, all NaN where that is undecided.

    `neither` is the share of its probability, or of its samples, that was none of them. `moved` is how
    far the shares move with the order of the options: the mean Jensen–Shannon distance of the other
    orders to the first.
    """

    shares: Scores
    neither: float
    moved: float
    how: How


@dataclass(frozen=True)
class _Asked:
    """A question in one order of its options."""

    question: Question
    order: tuple[str, ...]

    def call(self, condition: Condition, seed: int, sample: int = 0) -> Call:
        text = f"{self.question.text}\n{_instruction(self.order)}"
        return Call(
            messages=(*condition.preamble, Message(role="user", content=text)),
            sampling=SAMPLING,
            seed=seed_from(seed, self.question.id, self.order, sample),
            top_logprobs=TOP_LOGPROBS,
        )


@dataclass(frozen=True)
class _Spread:
    """What came of one order: weights `[options]`, in the order in which people gave them, and that of all else."""

    weights: Scores
    neither: float
    how: How

    @property
    def shares(self) -> Scores:
        total = float(self.weights.sum())
        return self.weights / total if total > 0 else np.full(len(self.weights), np.nan)


def choose(questions: Sequence[Question], condition: Condition, store: CallStore, seed: int) -> list[Chosen]:
    """How the model of a condition is spread over the options of each question, in their order.

    Everything goes through the store, a local model's probabilities too. Never fails on an answer:
    a question is undecided where one of its orders has no answer that is an option.
    """
    asked = [_Asked(question, order) for question in questions for order in orders(question.options)]
    model = condition.model
    if isinstance(model, LocalModel):
        spreads = _scored(asked, condition, model, store, seed)
    else:
        spreads = _answered(asked, condition, store, seed)
    found = iter(spreads)
    return [_joined([next(found) for _ in question.options]) for question in questions]


def orders(options: Sequence[str]) -> list[tuple[str, ...]]:
    """The options turned by 0, 1, 2 … places."""
    return [(*options[turn:], *options[:turn]) for turn in range(len(options))]


def first_word_shares(alternatives: Mapping[str, float], options: Sequence[str]) -> Scores | None:
    """The probability of each option by an answer's first token; None where that cannot tell options apart.

    A token counts for the option whose first word it is, or else (from two letters on) the one
    option that begins with it.
    """
    firsts = [option.casefold().split()[0].strip(_AROUND) for option in options]
    if len(set(firsts)) < len(firsts) or not alternatives:
        return None
    weights = np.zeros(len(options))
    for token, logprob in alternatives.items():
        place = _begun(token.strip(_AROUND).casefold(), firsts)
        if place is not None:
            weights[place] += math.exp(logprob)
    return weights if weights.sum() > 0 else None


def option_in(text: str, options: Sequence[str]) -> int | None:
    """The option that an answer gives: with nothing after it, or a mark that ends a clause; None for none."""
    said = _THINKING.sub("", text).strip(_AROUND)
    for place, option in enumerate(options):
        if re.match(rf"{re.escape(option.strip(_AROUND))}\W*(?:\Z|[.,:;!?)\n—–*])", said, re.IGNORECASE):
            return place
    return None


def _scored(
    asked: Sequence[_Asked], condition: Condition, model: LocalModel, store: CallStore, seed: int
) -> list[_Spread]:
    calls = [each.call(condition, seed) for each in asked]
    keys = [
        digest(["option scores", model.digest, call.messages, *map(_spellings, each.question.options)])
        for call, each in zip(calls, asked, strict=True)
    ]
    known = {key: found for key in keys if (found := store.find(key, OptionScores)) is not None}
    missing = [place for place, key in enumerate(keys) if key not in known]
    with Meter(f"{condition.name} options", len(asked)) as meter:
        meter.add(reused=len(asked) - len(missing))
        texts = [[text for option in asked[p].question.options for text in _spellings(option)] for p in missing]
        for index, logprobs in model.option_logprobs([calls[p] for p in missing], texts):
            meter.add(answers=1)
            if logprobs is not None:  # else the prompt is too long for the model
                place, scores = missing[index], iter(logprobs)
                each = [[next(scores) for _ in _spellings(option)] for option in asked[place].question.options]
                known[keys[place]] = OptionScores(logprobs=tuple(float(np.logaddexp.reduce(one)) for one in each))
                store.keep(keys[place], known[keys[place]])
    return [_by_scores(known.get(key), len(each.question.options)) for key, each in zip(keys, asked, strict=True)]


def _spellings(option: str) -> tuple[str, ...]:
    """An option as it is written, and with its first letter in the other case: a model may begin a sentence."""
    return tuple(dict.fromkeys((option, option[:1].swapcase() + option[1:])))


def _by_scores(scores: OptionScores | None, options: int) -> _Spread:
    if scores is None:
        return _Spread(np.zeros(options), math.nan, "options")
    logprobs = np.array(scores.logprobs)
    # Relative to the likeliest, lest all vanish where a model would say none of them.
    return _Spread(np.exp(logprobs - logprobs.max()), max(0.0, 1 - float(np.exp(logprobs).sum())), "options")


def _answered(asked: Sequence[_Asked], condition: Condition, store: CallStore, seed: int) -> list[_Spread]:
    """By the first word where the endpoint says how likely others were, else by more samples."""
    model, label = condition.model, f"{condition.name} options"
    firsts = store.complete(model, [each.call(condition, seed) for each in asked], label)
    spreads = [_by_first_word(first, each) for first, each in zip(firsts, asked, strict=True)]
    open_still = [place for place, spread in enumerate(spreads) if spread is None]
    samples = {place: [firsts[place]] for place in open_still}
    more = [(p, k) for p in open_still for k in range(1, math.ceil(SAMPLES / len(asked[p].order)))]
    answers = store.complete(model, [asked[p].call(condition, seed, k) for p, k in more], label) if more else []
    for (place, _), answer in zip(more, answers, strict=True):
        samples[place].append(answer)
    return [spread or _by_samples(samples[place], asked[place]) for place, spread in enumerate(spreads)]


def _by_first_word(answer: Completion, asked: _Asked) -> _Spread | None:
    weights = first_word_shares(answer.alternatives, asked.question.options)
    return None if weights is None else _Spread(weights, max(0.0, 1 - float(weights.sum())), "first word")


def _by_samples(answers: Sequence[Completion], asked: _Asked) -> _Spread:
    given = [answer for answer in answers if not answer.error]
    chosen = [option_in(answer.text, asked.question.options) for answer in given]
    weights = np.array([chosen.count(place) for place in range(len(asked.question.options))], dtype=np.float64)
    return _Spread(weights, chosen.count(None) / len(chosen) if chosen else math.nan, "samples")


def _joined(spreads: Sequence[_Spread]) -> Chosen:
    """The orders of one question, each counting the same."""
    shares = np.array([spread.shares for spread in spreads])
    moved = [js_distance(shares[0], other) for other in shares[1:]]
    how: How = "samples" if any(spread.how == "samples" for spread in spreads) else spreads[0].how
    return Chosen(shares.mean(axis=0), float(np.mean([s.neither for s in spreads])), float(np.mean(moved)), how)


def _begun(token: str, firsts: Sequence[str]) -> int | None:
    """The place of the first word that a token is, or alone begins."""
    if token in firsts:
        return firsts.index(token)
    begun = [place for place, word in enumerate(firsts) if len(token) > 1 and word.startswith(token)]
    return begun[0] if len(begun) == 1 else None


def _instruction(order: Sequence[str]) -> str:
    listed = f"{', '.join(order[:-1])} or {order[-1]}"
    if all(len(option.split()) == 1 for option in order):
        return f"Answer with one word: {listed}."
    return f"Answer with one of these and nothing else: {listed}."
