"""What a new wording of a clause must keep of its draft, whoever wrote it.

These are the rules that need no model. Whether a wording asks for all that the draft asks is also
put to a judge model, where there is one: see `intent.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prefect_ratify.policy import polarity_of
from prefect_ratify.records import Clause, Policy, Scenario

LONGEST_CLAUSE = 600  # characters, of all its parts
WORDS_IN_A_ROW = 5  # shared with a scenario: that many are a quotation
NEGATION = re.compile(r"\b(?:not|never|no|nor|none|cannot|without|avoid|refrain)\b|n't\b", re.IGNORECASE)
FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")

Grams = frozenset[tuple[str, ...]]


def why_refused(parts: Sequence[Clause], draft: Clause, scenario_grams: Iterable[Grams]) -> str:
    """Why a clause in this form may not stand for its draft; empty where it may."""
    text = " ".join(part.text for part in parts)
    if not parts or not all(part.text for part in parts):
        return "it is empty"
    if len(text) > LONGEST_CLAUSE:
        return f"it is longer than {LONGEST_CLAUSE} characters"
    return _turned(parts, draft) or _dropped(text, draft) or _quotes(parts, draft, scenario_grams)


def why_refused_as_a_whole(wording: str, draft: Policy, scenario_grams: Iterable[Grams]) -> str:
    """Why a policy may not be put in these words; empty where it may."""
    if not wording.strip():
        return "it is empty"
    if len(wording) > LONGEST_CLAUSE * len(draft.clauses):
        return f"it is longer than {LONGEST_CLAUSE} characters a clause"
    all_in_one = Clause(id="all", text=" ".join(clause.text for clause in draft.clauses), polarity="must")
    told = Clause(id="all", text=wording, polarity="must")
    return _dropped(wording, all_in_one) or _quotes([told], all_in_one, scenario_grams)


def grams(text: str) -> Grams:
    """A text's runs of five words, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[i : i + WORDS_IN_A_ROW]) for i in range(len(words) - WORDS_IN_A_ROW + 1))


def grams_of(scenarios: Iterable[Scenario]) -> list[Grams]:
    """The runs of words that a wording may not share with these scenarios, one set a scenario."""
    return [grams(" ".join(message.content for message in scenario.messages)) for scenario in scenarios]


def _turned(parts: Sequence[Clause], draft: Clause) -> str:
    polarities = {polarity_of(part.text) for part in parts}
    forbids = draft.polarity == "must not"
    if (forbids and "must not" not in polarities) or (not forbids and polarities == {"must not"}):
        return f"it turns “{draft.polarity}” into “{', '.join(sorted(polarities))}”"
    if "should" in polarities and draft.polarity != "should":
        return "it makes advice of a demand"
    return ""


def _dropped(text: str, draft: Clause) -> str:
    if len(NEGATION.findall(text)) < len(NEGATION.findall(draft.text)):
        return "it drops a negation of the draft"
    if lost := [figure for figure in FIGURE.findall(draft.text) if figure not in FIGURE.findall(text)]:
        return f"it drops {', '.join(dict.fromkeys(lost))}"
    if lost := [words for words in QUOTED.findall(draft.text) if words.lower() not in text.lower()]:
        return f"it drops the draft's own words “{lost[0]}”"
    return ""


def _quotes(parts: Sequence[Clause], draft: Clause, scenario_grams: Iterable[Grams]) -> str:
    written = [part.text for part in parts]
    written += [said for part in parts for example in part.examples for said in (example.query, example.sentence)]
    new = frozenset[tuple[str, ...]]().union(*map(grams, written)) - grams(draft.text)
    new -= frozenset[tuple[str, ...]]().union(*(grams(f"{e.query} {e.sentence}") for e in draft.examples))
    for known in scenario_grams:
        if shared := new & known:
            return f"it quotes a scenario: “{' '.join(min(shared))}”"
    return ""
