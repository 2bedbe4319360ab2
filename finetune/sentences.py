"""Constitutional sentences: what a model too small for critique and revision can still do.

A 135M model cannot judge its own answer, but it can imitate one form at a time. So each
clause of an answer is written alone: the clause and its worked examples are put before the
model, and it writes one sentence for a query. A sentence is kept only where the clause's
check accepts it and it takes up words of the query. The answer is composed of the kept ones.

After Bai et al. 2022 (*Constitutional AI*, arXiv 2212.08073, section 3), with the critique
replaced by a check and the revision by rejection sampling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.records import Call, Clause, Message, Policy, Sampling, Scenario, digest, seed_from
from prefect_ratify.scenarios.checks import sentences
from prefect_ratify.scenarios.suite import ClauseGuide, Suite

SAMPLING = Sampling(temperature=0.8, min_p=0.05, max_tokens=40)
# Tries for each missing sentence, and whether the author's opening is put before it: free
# first, so that the wording stays the model's where it can.
ROUNDS = ((1, False), (3, True), (8, True))
INSTRUCTIONS = "Answer each message with one sentence, and nothing else. The sentence keeps this rule: {clause}"
_COMMON = frozenset(
    """
    about after again all also and any are because been before being but can could did does doing down
    for from get getting got had has have having her here him his how into its just know like make me more
    much must need not now off once only other our out over own said same say says she should some such
    than that the their them then there these they thing this those through too under until very want was
    way were what when where which while who why will with would you your
    """.split()
)


@dataclass
class Tally:
    """How a clause's sentences came about: wanted, kept (freely, or from the opening), tries."""

    wanted: int = 0
    free: int = 0
    opened: int = 0
    tries: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The numbers, without the reasons of refusals."""
        return {"wanted": self.wanted, "free": self.free, "opened": self.opened, "tries": self.tries}


def write_sentences(
    scenarios: Sequence[Scenario], policy: Policy, suite: Suite, model: LanguageModel, store: CallStore, seed: int
) -> tuple[dict[tuple[str, str], str], dict[str, Tally]]:
    """A passing sentence for each (scenario id, clause id) that got one, and a tally by clause.

    Clauses without worked examples are left out: nothing shows a small model what to write.
    """
    wanted = {
        (scenario.id, clause.id): (scenario, clause)
        for scenario in scenarios
        for clause in policy.joined().clauses
        if clause.id in scenario.clause_ids and suite.guide(clause.id).examples
    }
    tallies = {clause_id: Tally() for _, clause_id in wanted}
    for _, clause_id in wanted:
        tallies[clause_id].wanted += 1
    kept: dict[tuple[str, str], str] = {}
    for number, (_, opened) in enumerate(ROUNDS):
        missing = {key: pair for key, pair in wanted.items() if key not in kept}
        if opened:
            missing = {key: pair for key, pair in missing.items() if suite.guide(key[1]).opening}
        candidates = _candidates(missing, suite, model, store, seed, number)
        for key, sentence in candidates:
            if key in kept:
                continue  # an earlier try of this round passed; the rest of them are not needed
            tally = tallies[key[1]]
            tally.tries += 1
            reason = _refusal(sentence, missing[key][0], suite.guide(key[1]))
            if reason:
                tally.refused[reason] = tally.refused.get(reason, 0) + 1
            else:
                kept[key] = sentence
                tally.opened += opened
                tally.free += not opened
    return kept, tallies


def most_tries(scenario: Scenario, suite: Suite) -> int:
    """The calls that a scenario's sentences take at most."""
    guides = [suite.guide(clause_id) for clause_id in scenario.clause_ids]
    return sum(tries for guide in guides if guide.examples for tries, opened in ROUNDS if guide.opening or not opened)


@lru_cache
def wording_digest() -> str:
    """The digest of how sentences are asked for, beside the clauses and their worked examples."""
    return digest([INSTRUCTIONS, SAMPLING])


def shares_words(sentence: str, query: str) -> bool:
    """Whether a sentence takes up something that the query is about."""
    return bool(_telling_words(sentence) & _telling_words(query))


def _candidates(
    missing: dict[tuple[str, str], tuple[Scenario, Clause]],
    suite: Suite,
    model: LanguageModel,
    store: CallStore,
    seed: int,
    number: int,
) -> list[tuple[tuple[str, str], str]]:
    """A round's sentences, in order, each with the key that it was written for."""
    tries, opened = ROUNDS[number]
    keys = [key for key in missing for _ in range(tries)]
    openings = [suite.guide(key[1]).opening if opened else "" for key in keys]
    calls = [
        Call(
            messages=_messages(*missing[key], suite.guide(key[1])),
            sampling=SAMPLING,
            seed=seed_from(seed, key, number, place % tries),
            prefill=opening,
        )
        for place, (key, opening) in enumerate(zip(keys, openings, strict=True))
    ]
    answers = store.complete(model, calls, label=f"sentences, round {number + 1} of {len(ROUNDS)}")
    return [
        (key, _first_sentence(f"{opening} {answer.text}".strip()))
        for key, opening, answer in zip(keys, openings, answers, strict=True)
    ]


def _messages(scenario: Scenario, clause: Clause, guide: ClauseGuide) -> tuple[Message, ...]:
    turns = [
        Message(
            role="system",
            content=INSTRUCTIONS.format(clause=clause.text),
        )
    ]
    for example in guide.examples:
        turns.append(Message(role="user", content=example.query))
        turns.append(Message(role="assistant", content=example.sentence))
    return (*turns, Message(role="user", content=scenario.query))


def _refusal(sentence: str, scenario: Scenario, guide: ClauseGuide) -> str:
    if not sentence:
        return "cut off or empty"
    if not shares_words(sentence, scenario.query):
        return "says nothing of the query"
    if _telling_words(sentence) & _foreign_words(guide) - _telling_words(scenario.query):
        return "speaks of a worked example's case"
    if guide.check is not None and guide.check(sentence).holds is not True:
        return "refused by the check"
    return ""


def _foreign_words(guide: ClauseGuide) -> set[str]:
    """What the worked examples' queries are about, but for words that all their sentences share."""
    form = set.intersection(*(_telling_words(example.sentence) for example in guide.examples))
    return set().union(*(_telling_words(example.query) for example in guide.examples)) - form


def _first_sentence(text: str) -> str:
    """The first whole sentence, empty where the limit of tokens cut it."""
    places = sentences(text)
    first = text[slice(*places[0])].strip() if places else ""
    return first if first.endswith((".", "?", "!")) else ""


def _telling_words(text: str) -> set[str]:
    words = re.findall(r"[a-z]{3,}", text.lower())
    return {word[:6] for word in words if word not in _COMMON}
