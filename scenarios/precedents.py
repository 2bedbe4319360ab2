"""Precedents: people's rulings on responses, one JSON record a line in precedents.jsonl.

A ruling decides the response that it is on. Rulings on other responses are found by similarity,
and shown to who has to judge, criticise or reword by the same clause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from prefect_ratify.errors import InputError
from prefect_ratify.names import name_key
from prefect_ratify.policy import read_text
from prefect_ratify.records import Outcome, Precedent, Record, Response, Scenario, Split
from prefect_ratify.scenarios.similarity import Embed, Similarity, by_vectors, by_words

REMEMBERED = 256  # texts: each is asked about once for every clause, one clause after another
DIGITS = 6  # to which similarities are rounded: texts that floating point alone tells apart are equally near


class Ruling(Record):
    """A precedent with what it was about: the scenario's last user turn, and its split."""

    clause_id: str
    scenario_id: str
    split: Split
    query: str
    response: str
    outcome: Outcome
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Cases:
    """Rulings as a case repository: the most similar ones to a response, clause by clause.

    `rulings` are the latest first. Without `embed`, texts are as similar as the words that they
    share.
    """

    rulings: tuple[Ruling, ...] = ()
    embed: Embed | None = None

    def nearest(self, clause_id: str, text: str, count: int = 3) -> tuple[Ruling, ...]:
        """At most `count` rulings on a clause, those most similar to the text first.

        The text is a query and a response to it, as `case_text` puts them together. One that was
        ruled on itself comes first; of rulings equally near, the latest does.
        """
        return tuple(ruling for ruling, _ in self.alike(clause_id, text, count))

    def alike(self, clause_id: str, text: str, count: int = 3) -> tuple[tuple[Ruling, float], ...]:
        """The same, each with how similar it is: a cosine, plus one where it is on the very text."""
        places = self._places.get(clause_id)
        if places is None:
            return ()
        likeness = self._similarity(_folded(text))[places]
        order = np.argsort(-likeness, kind="stable")[:count]
        return tuple((self.rulings[places[n]], float(likeness[n])) for n in order)

    def longest(self, clause_id: str, count: int = 3) -> tuple[Ruling, ...]:
        """The rulings on a clause that take most to show: for plans, where nobody knows yet which are similar."""
        return self._by_length.get(clause_id, ())[:count]

    def only(self, split: Split) -> Cases:
        """The rulings on scenarios of one split: whatever refines or trains gets those of `develop`."""
        return self._splits[split]

    def prepare(self, asked: Iterable[tuple[str, str]]) -> None:
        """Embed what `nearest` will be asked, clause ids and texts, in one go; `embed` has to keep what it gave."""
        texts = self._ruled_on(asked)
        if self.embed and texts:
            self.embed(texts)

    def can_tell(self, asked: Iterable[tuple[str, str]]) -> bool:
        """Whether `nearest` would ask no model about these clause ids and texts."""
        texts = self._ruled_on(asked)
        if not self.embed or not texts:
            return True
        built = "_similarity" in vars(self)  # then the rulings' own vectors are there
        return self.embed.has(texts) and (built or self.embed.has(self._texts))

    def _ruled_on(self, asked: Iterable[tuple[str, str]]) -> list[str]:
        return list(dict.fromkeys(_folded(text) for clause_id, text in asked if clause_id in self._places))

    @cached_property
    def _splits(self) -> dict[Split, Cases]:
        return {
            split: Cases(tuple(ruling for ruling in self.rulings if ruling.split == split), self.embed)
            for split in get_args(Split)
        }

    @cached_property
    def _places(self) -> dict[str, NDArray[np.intp]]:
        places = defaultdict(list)
        for place, ruling in enumerate(self.rulings):
            places[ruling.clause_id].append(place)
        return {clause_id: np.array(found) for clause_id, found in places.items()}

    @cached_property
    def _by_length(self) -> dict[str, tuple[Ruling, ...]]:
        found = defaultdict[str, list[Ruling]](list)
        for ruling in sorted(self.rulings, key=_length, reverse=True):
            found[ruling.clause_id].append(ruling)
        return {clause_id: tuple(rulings) for clause_id, rulings in found.items()}

    @cached_property
    def _texts(self) -> list[str]:
        return [_folded(case_text(ruling.query, ruling.response)) for ruling in self.rulings]

    @cached_property
    def _similarity(self) -> Similarity:
        texts = self._texts
        likeness = by_vectors(texts, self.embed) if self.embed else by_words(texts)
        same = defaultdict[str, list[int]](list)  # numpy takes "\x00" and "" for the same
        for place, text in enumerate(texts):
            same[text].append(place)

        @lru_cache(maxsize=REMEMBERED)
        def similarity(text: str) -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.round(likeness(text), DIGITS)
            found[same.get(text, [])] += 1
            return found

        return similarity


def cases_from(precedents: Sequence[Precedent], scenarios: Iterable[Scenario], embed: Embed | None = None) -> Cases:
    """The rulings on these scenarios. Who ruled again on the same response and clause changed their mind.

    People who contradict each other are all heard. A ruling on a scenario that is not there is
    left out; `dangling` names it.
    """
    by_id = {scenario.id: scenario for scenario in scenarios}
    standing: dict[tuple[str, ...], Ruling] = {}
    for precedent in reversed(precedents):
        scenario = by_id.get(precedent.scenario_id)
        if scenario is not None:
            key = (name_key(precedent.by), precedent.clause_id, precedent.scenario_id, _folded(precedent.response))
            found = Ruling(split=scenario.split, query=scenario.query, **precedent.model_dump())
            standing.setdefault(key, found)
    return Cases(tuple(standing.values()), embed)


def case_text(query: str, response: str) -> str:
    """What similarity is of: a query, and the response to it."""
    return f"{query}\n{response}"


def load_precedents(path: Path) -> tuple[Precedent, ...]:
    """Read rulings; none where there is no file, InputError with the line of a bad one."""
    if not path.exists():
        return ()
    rulings = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                rulings.append(Precedent.model_validate_json(line))
            except ValidationError as error:
                what = error.errors()[0]
                place = ".".join(str(part) for part in what["loc"])
                raise InputError(f"{place}: {what['msg']}", path=path, line=number) from None
    return tuple(rulings)


def dangling(precedents: Sequence[Precedent], clause_ids: Collection[str], scenario_ids: Collection[str]) -> list[str]:
    """A line for each ruling that can never apply, since it names no clause or scenario that there is."""
    lines = []
    for number, precedent in enumerate(precedents, 1):
        if precedent.clause_id not in clause_ids:
            lines.append(f"ruling {number} is on clause {precedent.clause_id!r}, which the policy does not have")
        elif precedent.scenario_id not in scenario_ids:
            lines.append(f"ruling {number} is on scenario {precedent.scenario_id!r}, which the suite does not have")
    return lines


def ruling_on(response: Response, clause_id: str, precedents: Sequence[Precedent]) -> Precedent | None:
    """The last ruling on this very response and clause; people who rule again change their mind."""
    words = response.text.split()
    for precedent in reversed(precedents):
        same = (precedent.scenario_id, precedent.clause_id) == (response.scenario_id, clause_id)
        if same and precedent.response.split() == words:
            return precedent
    return None


def _length(ruling: Ruling) -> int:
    return sum(map(len, (ruling.query, ruling.response, ruling.outcome, ruling.by, ruling.reason)))


def _folded(text: str) -> str:
    """A text with its whitespace folded, which makes no other response of it."""
    return " ".join(text.split())
