"""Inverse constitutional AI on a data set: which principles explain its pairs, and which clauses do (arXiv 2406.06560).

One half of the pairs is proposed from and tested on. The other is looked at once, when it is settled
which principles are kept. How many calls that takes at most is known before the first; each step says
how many it takes, and what is known is not asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prefect_ratify.budget import Budget, Spending, cost, money, tokens_in
from prefect_ratify.call_store import CallStore, call_key
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.embedding import open_embedder
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.principles import (
    PRINCIPLES_A_CALL,
    Ask,
    Embed,
    calls_to_vote,
    distinct,
    propose,
    proposing_call,
    vote,
    voting_calls,
)
from prefect_ratify.progress import say
from prefect_ratify.records import Call, Completion, Record
from prefect_ratify.scenarios.explaining import FEWEST, Explained, Together, agreement, explained, ranked, together
from prefect_ratify.scenarios.grouping import cosines, tf_idf
from prefect_ratify.scenarios.preference_pairs import Pair, Pairs, halves, load_pairs
from prefect_ratify.scenarios.statistics import Interval, Scores

MOST_TESTED = 40  # principles, the most often proposed first: nearly all calls are for their votes
TOKENS_A_CALL = 60  # of an answer
USUAL_PRINCIPLE = "x" * 100


@dataclass(frozen=True)
class Inverting:
    """How principles are looked for: by which model, in how many pairs, and how many are kept at most."""

    judge: str
    embedder: str = ""
    limit: int = 300
    top: int = 20
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class Data:
    """A data set's pairs in two halves."""

    source: Path
    read: Pairs
    develop: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


class CallPlan(Record):
    """The calls that each step takes at most, and about the tokens and dollars of all."""

    propose: int
    test: int
    held_out: int
    tokens: int
    dollars: float

    @property
    def calls(self) -> int:
        return self.propose + self.test + self.held_out

    def __str__(self) -> str:
        steps = f"{self.propose} to propose principles, {self.test} to test them, {self.held_out} on held-out pairs"
        return f"at most {self.calls:,} calls ({steps}), about {self.tokens:,} tokens and {money(self.dollars)}"


class Weighed(Record):
    """A principle with its figures; `held_out` is its accuracy on the other half, where it was kept."""

    proposals: int
    figures: Explained
    held_out: Interval | None = None


class Taught(Record):
    """A clause, and how far it explains all the pairs."""

    clause_id: str
    figures: Explained


class Matched(Record):
    """A kept principle and the clause whose words are nearest.

    Of `both` pairs in which each prefers a response, it is the same one in `same`.
    """

    text: str
    clause_id: str
    similarity: float
    same: int
    both: int


class Found(Record):
    """What explains the pairs: principles, those that explain first; `kept` of them, together on the held-out half.

    `proposals` were made, and `distinct` are left of them where those alike are put together. `asked`
    calls were made now, of which `failed` got no answer.
    """

    proposals: int
    refused: dict[str, int]
    distinct: int
    tested: tuple[Weighed, ...]
    kept: int
    whole: Together
    asked: int
    failed: int
    taught: tuple[Taught, ...] = ()
    matched: tuple[Matched, ...] = ()


@dataclass
class Asker:
    """Asks a model within a budget, and counts: the calls that were not known, and those without an answer."""

    model: LanguageModel
    store: CallStore
    spending: Spending
    asked: int = 0
    failed: int = 0

    def __call__(self, label: str, calls: Sequence[Call]) -> list[Completion]:
        """The answers, in order; RatifyError where the budget does not reach, or there is none at all."""
        keys = {call_key(self.model, call) for call in calls}
        missing = sum(self.store.find(key, Completion) is None for key in keys)
        say(f"{label}: {missing:,} calls" + (f", {len(keys) - missing:,} known" if len(keys) > missing else ""))
        answers = self.store.complete(self.model, calls, label, self.spending)
        failures = [answer.error for answer in answers if answer.error]
        self.asked, self.failed = self.asked + missing, self.failed + len(failures)
        if self.spending.refused:
            raise RatifyError(
                f"{label}: the budget does not reach, {self.spending.refused:,} calls were not made; what was answered "
                "is kept, and the same command with more goes on"
            )
        if len(failures) == len(calls):
            raise RatifyError(f"the model {self.model.name!r} answered none of {len(calls):,} calls ({failures[0]})")
        return answers


def read_data(source: Path, limit: int) -> Data:
    """Read and part a data set; InputError where it is too small to show anything."""
    read = load_pairs(source)
    develop, held_out = halves(read.pairs, limit)
    fewest = min(len({pair.unit for pair in half}) for half in (develop, held_out))
    if fewest < FEWEST:
        raise InputError(
            f"{len(develop) + len(held_out)} pairs leave {fewest} conversations in a half",
            f"fewer than {FEWEST} cannot show anything: use more pairs",
            path=source,
        )
    return Data(source, read, tuple(develop), tuple(held_out))


def plan(data: Data, inverting: Inverting, clauses: int = 0) -> CallPlan:
    """How many calls it takes at most, beside those that are known."""
    test = calls_to_vote(len(data.develop), MOST_TESTED + clauses)
    held_out = calls_to_vote(len(data.held_out), inverting.top + clauses)
    several = [USUAL_PRINCIPLE] * PRINCIPLES_A_CALL
    a_vote = [tokens_in(voting_calls(pair, several)[0]) for pair in (*data.develop, *data.held_out)]
    read = sum(tokens_in(proposing_call(pair)) for pair in data.develop)
    read += round(float(np.mean(a_vote)) * (test + held_out))
    written = TOKENS_A_CALL * (len(data.develop) + test + held_out)
    return CallPlan(
        propose=len(data.develop),
        test=test,
        held_out=held_out,
        tokens=read + written,
        dollars=cost(inverting.judge, read, written),
    )


def find(data: Data, inverting: Inverting, folder: Path, clauses: Mapping[str, str] | None = None) -> Found:
    """Find what explains the pairs; `clauses` (texts by id) are tested beside the principles, on all pairs.

    Answers are kept in `folder`/.ratify. RatifyError where the budget does not reach, or the model is silent.
    """
    model, store = open_model(inverting.judge, greet=False), CallStore(folder / ".ratify" / "calls.sqlite")
    embed: Embed = open_embedder(inverting.embedder, store) or tf_idf
    ask, theirs = Asker(model, store, Spending(inverting.budget)), dict(clauses or {})
    proposed = propose(data.develop, ask)
    principles = distinct(proposed.texts, embed)
    trial = _tried(data, [each.text for each in principles[:MOST_TESTED]], list(theirs.values()), ask, inverting.top)
    return Found(
        proposals=len(proposed.texts),
        refused=dict(proposed.refused),
        distinct=len(principles),
        tested=tuple(
            Weighed(proposals=principles[n].proposals, figures=trial.figures[n], held_out=trial.held_out.get(n))
            for n in ranked(trial.figures)
        ),
        kept=len(trial.held_out),
        whole=trial.whole,
        asked=ask.asked,
        failed=ask.failed,
        taught=tuple(Taught(clause_id=name, figures=each) for name, each in zip(theirs, trial.taught, strict=True)),
        matched=_matched([principles[n].text for n in trial.held_out], theirs, trial.votes, embed),
    )


@dataclass(frozen=True)
class _Trial:
    """The figures of all principles; of those that are kept, by their places, the accuracy on held-out pairs.

    `taught` are the clauses' figures, and `votes` [all pairs, kept principles and clauses].
    """

    figures: list[Explained]
    held_out: dict[int, Interval]
    whole: Together
    taught: list[Explained]
    votes: Scores


def _tried(data: Data, texts: Sequence[str], clauses: Sequence[str], ask: Ask, top: int) -> _Trial:
    """Test principles and clauses on one half, and what explains it, and the clauses, on the other."""
    units, later_units = ([pair.unit for pair in half] for half in (data.develop, data.held_out))
    votes = vote(data.develop, [*texts, *clauses], ask, "testing principles")
    figures = explained(votes[:, : len(texts)], texts, units)
    kept = [place for place in ranked(figures) if figures[place].standing == "explains"][:top]
    chosen = [texts[place] for place in kept]
    later = vote(data.held_out, [*chosen, *clauses], ask, "trying them on held-out pairs")
    accuracies = [each.accuracy for each in explained(later[:, : len(kept)], chosen, later_units)]
    everywhere = np.concatenate([votes[:, [*kept, *range(len(texts), votes.shape[1])]], later])
    return _Trial(
        figures,
        dict(zip(kept, accuracies, strict=True)),
        together(later[:, : len(kept)], later_units),
        explained(everywhere[:, len(kept) :], clauses, [*units, *later_units]),
        everywhere,
    )


def _matched(texts: Sequence[str], clauses: Mapping[str, str], votes: Scores, embed: Embed) -> tuple[Matched, ...]:
    """Each principle with the clause whose words are nearest; `votes` are of the principles, then of the clauses."""
    if not texts or not clauses:
        return ()
    ids = list(clauses)
    alike = cosines(np.asarray(embed([*texts, *clauses.values()]), dtype=np.float64))[: len(texts), len(texts) :]
    found = []
    for row, text in enumerate(texts):
        nearest = int(alike[row].argmax())
        same, both = agreement(votes[:, row], votes[:, len(texts) + nearest])
        similarity = round(float(alike[row, nearest]), 3)
        found.append(Matched(text=text, clause_id=ids[nearest], similarity=similarity, same=same, both=both))
    return tuple(found)
