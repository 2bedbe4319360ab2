"""The leak check: nothing of a held-out scenario may stand in what a model learns from.

Three ways find a held-out request in a text. Their limits were measured on the shipped legal-advice
project, whose 54 held-out requests are the policy's and unrelated ones: the policy's 28 were written
again, in another order and some other words (*close*) and in words of their own (*free*;
tests/held_out_paraphrases.yaml). What must not be found are the 96 development requests, and 1,762
turns of people and assistants on other matters (Bai et al. 2022, arXiv 2204.05862).

| way | nearest other text | close: similarity | found | free: found | limit |
|---|---|---|---|---|---|
| word 5-grams | 0.00 | 0.03 to 0.67 | 3 of 28 | 0 of 28 | 0.5 |
| telling words | 0.00 (0.27 but for FEWEST_WORDS) | 0.61 to 1.00 | 28 of 28 | 0 of 28 | 0.5 |
| vectors of the embedder minilm | 0.59 | 0.66 to 0.99 | 28 of 28 | 2 of 28 | 0.65 |

So words cannot find a case that is told in words of its own, and a small embedding model hardly
does: the paraphrase is no nearer to the case than other cases of its kind are. Vectors of other
models have other scales; on those the limit was not measured.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.errors import LeakError
from prefect_ratify.finetune.dataset import Row, row_id
from prefect_ratify.records import Message, Record, Scenario
from prefect_ratify.scenarios.grouping import SMALL
from prefect_ratify.scenarios.similarity import Embed, Similarity, by_vectors, words
from prefect_ratify.training_rows import Demonstration

GRAM = 5  # words
LEAK_OVERLAP = 0.5  # share of a held-out text's word 5-grams that a text may not reach
LEAK_WORDS = 0.5  # weighted share of a held-out request's telling words, in as many words as it has
LEAK_MEANING = 0.65  # cosine of a request's vector and a held-out one's
FEWEST_WORDS = 5  # telling words of a request that have to come again: fewer do in any text
SPAN = 60  # words; a text is looked at in stretches of so many, or more for a longer held-out request
MOST_NAMED = 10  # rows that a message names


class Leak(Record):
    """A held-out scenario that a text holds, and how much of it (0 to 1); 1 where it is that scenario itself."""

    scenario_id: str
    similarity: float


@dataclass(frozen=True)
class LeakCheck:
    """What finds the held-out scenario that a row, or a prompt, holds. See `leak_check`."""

    ids: tuple[str, ...]
    by_text: tuple[tuple[Similarity, float], ...]
    by_request: tuple[tuple[Similarity, float], ...] = ()
    embed: Embed | None = None

    def __call__(self, found: Row | Scenario) -> Leak | None:
        """The held-out scenario of which this holds too much; None where it holds none."""
        names, asked, messages = _parts(found)
        for name in self.ids:
            if name in names:
                return Leak(scenario_id=name, similarity=1.0)
        for ways, text in ((self.by_text, _joined(messages)), (self.by_request, _request(asked))):
            for similarity, limit in ways:
                measured = similarity(text)
                nearest = int(measured.argmax())
                if measured[nearest] >= limit:
                    return Leak(scenario_id=self.ids[nearest], similarity=round(float(measured[nearest]), 3))
        return None

    def prepare(self, several: Iterable[Row | Scenario]) -> None:
        """Ask the embedder, if there is one, for all of these at once: it remembers."""
        if self.embed:
            self.embed(list(dict.fromkeys(_request(_parts(found)[1]) for found in several)))


def leak_check(held_out: Sequence[Scenario], embed: Embed | None = None) -> LeakCheck:
    """A check that is made once for many rows: with words, and with the vectors of their requests by `embed`."""
    if not held_out:
        return LeakCheck((), ())
    requests = [_request(scenario.messages) for scenario in held_out]
    by_text = (
        (_overlap([_joined(scenario.messages) for scenario in held_out]), LEAK_OVERLAP),
        (_telling_words_in(requests), LEAK_WORDS),
    )
    by_request = ((by_vectors(requests, embed), LEAK_MEANING),) if embed else ()
    return LeakCheck(tuple(scenario.id for scenario in held_out), by_text, by_request, embed)


def require_no_leak(rows: Sequence[Row], held_out: Sequence[Scenario], embed: Embed | None = None) -> None:
    """LeakError where rows hold held-out scenarios: by their ids, or much of their text (see the module).

    The error names rows and scenarios, and quotes neither: it may end in a file.
    """
    check = leak_check(held_out, embed)
    check.prepare(rows)
    found = [(row, leak) for row in rows if (leak := check(row))]
    if not found:
        return
    named = "; ".join(
        f"the held-out scenario {leak.scenario_id!r} is in the training row {row_id(row)} of "
        f"{row.provenance.scenario_id!r} ({leak.similarity:.2f})"
        for row, leak in found[:MOST_NAMED]
    )
    more = f"; and {len(found) - MOST_NAMED} more rows" if len(found) > MOST_NAMED else ""
    raise LeakError(f"{named}{more}: move one of each two to the other split")


def leaked_scenario(text: str, held_out: Sequence[Scenario]) -> str:
    """The id of a held-out scenario of which a text holds much, word for word; empty where it holds none."""
    measured = _overlap([_joined(scenario.messages) for scenario in held_out])(text)
    over = np.flatnonzero(measured >= LEAK_OVERLAP)
    return held_out[int(over[0])].id if len(over) else ""


def _overlap(texts: Sequence[str]) -> Similarity:
    """The share of each text's word 5-grams that another text holds (all its words, where it has fewer)."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    totals = np.ones(len(texts))
    for place, text in enumerate(texts):
        marks = _words(text)
        grams = _grams(marks, min(GRAM, len(marks)))
        totals[place] = len(grams) or 1
        for gram in grams:
            places[gram].append(place)
    sizes = sorted({len(gram) for gram in places})

    def similarity(text: str) -> NDArray[np.float64]:
        marks = _words(text)
        found = [place for size in sizes for gram in _grams(marks, size) for place in places.get(gram, ())]
        return np.bincount(np.array(found, dtype=np.intp), minlength=len(texts)) / totals

    return similarity


def _telling_words_in(texts: Sequence[str]) -> Similarity:
    """How much of each text's telling words stands close together in another text.

    Containment (Broder 1997, On the resemblance and containment of documents, section 2) of the
    words, each weighted by its squared inverse document frequency among `texts`, as in a cosine.
    Unlike a cosine it is not less where the other text goes on about other things, and unlike that
    of a whole text not more for being long: what counts is the stretch that has most.
    """
    spans = np.array([_span(len(words(text))) for text in texts])
    share = _share_of([{word for word in words(text) if _tells(word)} for text in texts])

    def similarity(text: str) -> NDArray[np.float64]:
        said = words(text)
        most = share(set(said))  # no stretch has more than the whole
        for span in sorted(set(spans[most >= LEAK_WORDS])):
            of_span = np.max([share(set(stretch)) for stretch in _stretches(said, int(span))], axis=0)
            most = np.where(spans == span, of_span, most)
        return most

    return similarity


def _share_of(vocabularies: Sequence[set[str]]) -> Callable[[set[str]], NDArray[np.float64]]:
    """The weighted share of each of these sets of words that another set holds; 0 where FEWEST_WORDS are not in it."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, vocabulary in enumerate(vocabularies):
        for word in sorted(vocabulary):
            places[word].append(place)
    count = len(vocabularies)
    known = {
        word: (np.array(those), (1 + np.log(count / len(those))) ** 2, np.ones(len(those)))
        for word, those in places.items()
    }
    totals = np.zeros(count)
    for those, weight, _ in known.values():
        totals[those] += weight

    def share(said: set[str]) -> NDArray[np.float64]:
        weights, times = np.zeros(count), np.zeros(count)
        for word in said & known.keys():
            those, weight, one = known[word]
            weights[those] += weight
            times[those] += one
        return np.where(times >= FEWEST_WORDS, weights / np.maximum(totals, 1e-9), 0.0)

    return share


def _tells(word: str) -> bool:
    """Whether a word says what a request is about: no sign, and none of the small words of English."""
    short = len(word) < 3 and word.isascii() and not word.isdigit()
    return word[0].isalnum() and not short and word not in SMALL


def _span(count: int) -> int:
    """SPAN, doubled until that many words go into it."""
    span = SPAN
    while span < count:
        span *= 2
    return span


def _stretches(said: Sequence[str], span: int) -> Iterator[Sequence[str]]:
    """Each `span` words that follow on another, half of them the same as in the stretch before."""
    for start in range(0, max(1, len(said) - span // 2), span // 2):
        yield said[start : start + span]


def _parts(found: Row | Scenario) -> tuple[tuple[str, ...], tuple[Message, ...], tuple[Message, ...]]:
    """The ids of the scenarios that something is made of, what was asked, and all its text."""
    if isinstance(found, Scenario):
        return (found.id,), found.messages, found.messages
    names = (found.provenance.scenario_id, found.provenance.varied_from)
    answers = found.completion if isinstance(found, Demonstration) else found.chosen + found.rejected
    return names, found.prompt, found.prompt + answers


def _request(messages: Iterable[Message]) -> str:
    return " ".join(message.content for message in messages if message.role == "user")


def _joined(messages: Iterable[Message]) -> str:
    return " ".join(message.content for message in messages)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(marks: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(marks[i : i + size]) for i in range(len(marks) - size + 1)} if size else set()
