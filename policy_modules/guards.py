"""What a new wording of a clause must keep of its draft, whoever wrote it.

These are the rules that need no model. Whether a wording asks for all that the draft asks is also
put to a judge model, where there is one: see `intent.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prefect_ratify.errors import InputError, readable
from prefect_ratify.policy import forbids, main_clause, parse_policy, plain, polarity_of
from prefect_ratify.records import Clause, Policy, Scenario

LONGEST_CLAUSE = 600  # characters, of all its parts
LONGEST_EXAMPLE = 300  # characters, of a worked example's query, and of its sentence
WORDS_IN_A_ROW = 5  # shared with a scenario: that many are a quotation
NEGATION = re.compile(
    r"\b(?:not|never|no|nor|neither|none|nothing|nobody|nowhere|cannot|without|avoid|refrain|refuse|decline"
    r"|withhold|omit|forbid|prohibit)\b|n't\b",
    re.IGNORECASE,
)
# Bounds and figures of speech: a clause that has them may ask for the same as one without.
NO_NEGATION = re.compile(
    r"\b(?:no|not) (?:more|less|fewer|longer|later|earlier) than\b|\bor not\b|\bnot only\b|\bno matter\b",
    re.IGNORECASE,
)
ADVICE_AGAINST = re.compile(r"\b(?:should|ought)(?:n't| (?:to )?(?:not|never))\b", re.IGNORECASE)
# "one" is not among them: it stands for a thing ("claim to be one") as often as for a number.
_UNITS = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS += ["seventeen", "eighteen", "nineteen"]
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBERS = {
    "zero": 0,
    **{word: number for number, word in enumerate(_UNITS, start=2)},
    **{word: number * 10 for number, word in enumerate(_TENS, start=2)},
    "hundred": 100,
    "thousand": 1000,
}
FIGURE = re.compile(
    rf"\d+(?:[.,]\d+)*|\b(?:(?:{'|'.join(_TENS)})[- ](?:{'|'.join(['one', *_UNITS[:8]])})|{'|'.join(NUMBERS)})\b",
    re.IGNORECASE,
)
QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")

Grams = frozenset[tuple[str, ...]]


def why_refused(parts: Sequence[Clause], draft: Clause, scenario_grams: Iterable[Grams]) -> str:
    """Why a clause in this form may not stand for its draft; empty where it may."""
    text = " ".join(part.text for part in parts)
    if not parts or not all(part.text for part in parts):
        return "it is empty"
    if len(text) > LONGEST_CLAUSE:
        return f"it is longer than {LONGEST_CLAUSE} characters"
    if not all(is_one_clause(part.text) for part in parts):
        return "it is not the text of one clause"
    return (
        _turned(parts, draft)
        or _negated(parts, draft)
        or _dropped(text, draft)
        or _shows(parts, draft)
        or _quotes(parts, draft.text, draft, scenario_grams)
    )


def why_refused_as_a_whole(wording: str, draft: Policy, scenario_grams: Iterable[Grams]) -> str:
    """Why a policy may not be put in these words; empty where it may."""
    if not wording.strip():
        return "it is empty"
    if len(wording) > LONGEST_CLAUSE * len(draft.clauses):
        return f"it is longer than {LONGEST_CLAUSE} characters a clause"
    all_in_one = Clause(id="all", text=" ".join(clause.text for clause in draft.clauses), polarity="must")
    told = Clause(id="all", text=wording, polarity="must")
    defined = [f"{item.term}: {item.text}" for item in draft.definitions]
    drafted = "\n".join([draft.title, draft.context, *defined, *(clause.text for clause in draft.clauses)])
    return _dropped(wording, all_in_one) or _quotes([told], drafted, all_in_one, scenario_grams)


def is_one_clause(text: str) -> bool:
    """Whether a list item of this text in policy.md is a clause of this text, and of no list within it."""
    if not _is_plain(text) or not re.search(r"\w", text) or re.match(r"(?:[-*+>#]+|\d+[.)])\s", text):
        return False
    try:
        read = parse_policy(f"# New\n\n## Clauses\n\n- {text}\n")
    except InputError:
        return False
    return [clause.text for clause in read.clauses] == [text]


def grams(text: str) -> Grams:
    """A text's runs of five words, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[i : i + WORDS_IN_A_ROW]) for i in range(len(words) - WORDS_IN_A_ROW + 1))


def grams_of(scenarios: Iterable[Scenario]) -> list[Grams]:
    """The runs of words that a wording may not share with these scenarios, one set a scenario."""
    return [grams(" ".join(message.content for message in scenario.messages)) for scenario in scenarios]


def _is_plain(text: str) -> bool:
    return readable(text) == text and "[[ ##" not in text


def _turned(parts: Sequence[Clause], draft: Clause) -> str:
    polarities = {polarity_of(part.text) for part in parts}
    forbidden = draft.polarity == "must not"
    kept = "must not" in polarities and (not forbids(draft.text) or any(forbids(part.text) for part in parts))
    if (forbidden and not kept) or (not forbidden and polarities == {"must not"}):
        return f"it turns “{draft.polarity}” into “{', '.join(sorted(polarities))}”"
    against = any(ADVICE_AGAINST.search(plain(part.text)) for part in parts)
    advised = draft.polarity == "should" or ADVICE_AGAINST.search(plain(draft.text))
    if ("should" in polarities or against) and not advised:
        return "it makes advice of a demand"
    return ""


def _negated(parts: Sequence[Clause], draft: Clause) -> str:
    """A negation may not come into what a clause says first, nor leave it: either turns it round."""
    negates = any(_negations(main_clause(part.text)) for part in parts)
    if negates and not _negations(draft.text):
        return "it negates what the draft asks"
    if not negates and _negations(main_clause(draft.text)):
        return "it drops a negation of the draft"
    return ""


def _negations(text: str) -> int:
    return len(NEGATION.findall(NO_NEGATION.sub(" ", plain(text))))


def _dropped(text: str, draft: Clause) -> str:
    if len(NEGATION.findall(plain(text))) < len(NEGATION.findall(plain(draft.text))):
        return "it drops a negation of the draft"
    given = {_number(figure) for figure in FIGURE.findall(text)}
    if lost := [figure for figure in FIGURE.findall(draft.text) if _number(figure) not in given]:
        return f"it drops {', '.join(dict.fromkeys(lost))}"
    if lost := [words for words in QUOTED.findall(draft.text) if words.lower() not in text.lower()]:
        return f"it drops the draft's own words “{lost[0]}”"
    return ""


def _number(figure: str) -> str:
    """A number in figures, however it is written."""
    words = re.split("[- ]", figure.lower())
    return figure if figure[0].isdigit() else str(sum({"one": 1, **NUMBERS}[word] for word in words))


def _shows(parts: Sequence[Clause], draft: Clause) -> str:
    """What a worked example shows is told to a model too, and has its bounds."""
    for example in (example for part in parts for example in part.examples if example not in draft.examples):
        for said in (example.query, example.sentence):
            if len(said) > LONGEST_EXAMPLE:
                return f"its worked example is longer than {LONGEST_EXAMPLE} characters"
            if not _is_plain(said) or re.search(r'"\s*(?:→|->)\s*"', said):
                return "its worked example is not plain text"
    return ""


def _quotes(parts: Sequence[Clause], drafted: str, draft: Clause, scenario_grams: Iterable[Grams]) -> str:
    written = [part.text for part in parts]
    written += [said for part in parts for example in part.examples for said in (example.query, example.sentence)]
    new = frozenset[tuple[str, ...]]().union(*map(grams, written)) - grams(drafted)
    new -= frozenset[tuple[str, ...]]().union(*(grams(f"{e.query} {e.sentence}") for e in draft.examples))
    for known in scenario_grams:
        if shared := new & known:
            return f"it quotes a scenario: “{' '.join(min(shared))}”"
    return ""
