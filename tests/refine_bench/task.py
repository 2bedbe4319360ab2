"""The task: six clauses, 24 scenarios, and how likely a clause is upheld under which words.

A draft clause can be followed by phrases. Some help, some only in pairs, some do nothing, some
harm their own clause, and three help their own a lot and harm another: what the six come to on
average then rises, and yet somebody's clause is lost. The numbers were set once, before anything
was run on them. A response upholds a clause or not by chance, so that the score of 24 responses
has a standard error of about four points, and that of one clause in it ten.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.responder import instructions
from prefect_ratify.records import Clause, Message, Policy, Scenario
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml

LEAST, MOST = 0.05, 0.95  # no words make a model sure


@dataclass(frozen=True)
class Behaviour:
    """A clause's share of responses that uphold it, as drafted; and the sentence by which one does."""

    draft: str
    drafted: float
    sentence: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What phrases do to a clause where all of them stand in the prompt."""

    phrases: tuple[str, ...]
    clause_id: str
    gain: float


BEHAVIOURS = {
    "empathy": Behaviour(
        "Be kind to the person.",
        0.45,
        "I am sorry to hear that.",
        (
            "Do so in the first sentence.",
            "Name what they are going through.",
            "Kindness matters to us.",
            "Take all the room that it needs.",
        ),
    ),
    "urgency": Behaviour(
        "Find out how urgent it is.",
        0.15,
        "From 0 to 10, how urgent is it?",
        (
            "Ask it as a question.",
            "Offer a scale with numbers.",
            "Be tactful about it.",
            "Ask only where it is in doubt.",
        ),
    ),
    "referral": Behaviour(
        "Say where to get help.",
        0.35,
        "The advice centre can help.",
        (
            "Give the place its name.",
            "Say what they do there.",
            "Help is never far away.",
            "Let it stand before everything else.",
        ),
    ),
    "no-lawyer": Behaviour(
        "Never claim to be a lawyer.",
        0.5,
        "I am not a lawyer.",
        (
            "Say outright that you are none.",
            "Lawyers are a profession of their own.",
            "Avoid the subject altogether.",
            "Keep the law in mind.",
        ),
    ),
    "plain": Behaviour(
        "Use plain words.",
        0.55,
        "In plain words: they must write to you first.",
        (
            "Think of a reader who is twelve.",
            "Explain each term of the law.",
            "Language is for everyone.",
            "Cut whatever can be cut.",
        ),
    ),
    "next-step": Behaviour(
        "Give a next step.",
        0.3,
        "Next step: reply to the letter.",
        (
            "Put it in a line of its own.",
            "Begin that line with a label.",
            "People like to know what comes next.",
            "Leave it open if several are possible.",
        ),
    ),
}

EFFECTS = (
    Effect(("Do so in the first sentence.",), "empathy", 0.3),
    Effect(("Name what they are going through.",), "empathy", 0.15),
    Effect(("Take all the room that it needs.",), "empathy", 0.4),
    Effect(("Take all the room that it needs.",), "next-step", -0.3),
    Effect(("Ask it as a question.",), "urgency", 0.15),
    Effect(("Offer a scale with numbers.",), "urgency", 0.15),
    Effect(("Ask it as a question.", "Offer a scale with numbers."), "urgency", 0.4),
    Effect(("Ask only where it is in doubt.",), "urgency", -0.2),
    Effect(("Give the place its name.",), "referral", 0.3),
    Effect(("Give the place its name.", "Say what they do there."), "referral", 0.2),
    Effect(("Let it stand before everything else.",), "referral", 0.4),
    Effect(("Let it stand before everything else.",), "empathy", -0.3),
    Effect(("Say outright that you are none.",), "no-lawyer", 0.4),
    Effect(("Avoid the subject altogether.",), "no-lawyer", -0.3),
    Effect(("Think of a reader who is twelve.",), "plain", 0.2),
    Effect(("Explain each term of the law.",), "plain", 0.15),
    Effect(("Cut whatever can be cut.",), "plain", 0.4),
    Effect(("Cut whatever can be cut.",), "no-lawyer", -0.3),
    Effect(("Put it in a line of its own.", "Begin that line with a label."), "next-step", 0.55),
    Effect(("Put it in a line of its own.",), "next-step", 0.1),
    Effect(("Leave it open if several are possible.",), "next-step", -0.2),
)

DRAFT = parse_policy(
    "# Advice on rent\n\nPeople ask what to do about their rent.\n\n## Clauses\n"
    + "".join(f"- [{clause_id}] {behaviour.draft}\n" for clause_id, behaviour in BEHAVIOURS.items())
)
CHECKS: dict[str, Check] = {
    clause_id: parse_check(parse_yaml(f'any_of: ["{b.sentence.rstrip(".?")}"]', Path("task.yaml")))
    for clause_id, b in BEHAVIOURS.items()
}
SCENARIOS = [
    Scenario(
        id=f"{matter} {who}".replace(" ", "-"),
        messages=(Message(role="user", content=f"{matter.capitalize()}. I rent from {who}. What can I do?"),),
        clause_ids=DRAFT.clause_ids,
        split="develop",
    )
    for matter in (
        "the heating is off",
        "my deposit is gone",
        "the rent went up",
        "mould grows",
        "a notice came",
        "no keys",
    )
    for who in ("a friend", "the city", "a company", "my employer")
]


def likelihood(clause_id: str, prompt: str) -> float:
    """How likely a response under this prompt upholds the clause."""
    gains = (e.gain for e in EFFECTS if e.clause_id == clause_id and all(phrase in prompt for phrase in e.phrases))
    return min(max(BEHAVIOURS[clause_id].drafted + sum(gains), LEAST), MOST)


def expected_score(prompt: str) -> float:
    """The share of clauses that responses under this prompt uphold, on average over chance."""
    return sum(likelihood(clause_id, prompt) for clause_id in BEHAVIOURS) / len(BEHAVIOURS)


@lru_cache
def best_score() -> float:
    """The highest expected score that any choice of phrases has.

    What a clause comes to hangs on its own phrases and on those of others that harm it. For each
    choice of the latter, each clause's own can be chosen by themselves.
    """
    reaching = {e.phrases[0] for e in EFFECTS if e.phrases[0] not in BEHAVIOURS[e.clause_id].phrases}
    own = {key: [p for p in behaviour.phrases if p not in reaching] for key, behaviour in BEHAVIOURS.items()}
    return max(
        sum(max(likelihood(key, " ".join(chosen + taken)) for chosen in subsets(own[key])) for key in own) / len(own)
        for taken in subsets(reaching)
    )


def respond(prompt: str, chance: random.Random) -> str:
    """A response that upholds each clause with its likelihood."""
    kept = [b.sentence for key, b in BEHAVIOURS.items() if chance.random() < likelihood(key, prompt)]
    return " ".join(["Thank you for asking.", *kept])


def reworded(clause: str, chance: random.Random) -> str:
    """A proposal for a clause, by one who knows the phrases and not what they do: one or two more of them.

    In one case of four it begins anew from the draft. The clause is known by its draft's words.
    """
    behaviour = next(b for b in BEHAVIOURS.values() if b.draft in clause)
    present = [phrase for phrase in behaviour.phrases if phrase in clause]
    if chance.random() < 0.25:
        present = []
    absent = [phrase for phrase in behaviour.phrases if phrase not in present]
    more = chance.sample(absent, min(len(absent), chance.choice((1, 2))))
    return " ".join([behaviour.draft, *present, *more])


def reworded_whole(prompt: str, share: float, chance: random.Random) -> str:
    """A proposal for the whole policy: each clause with that chance reworded as above, or else as it is."""
    clauses = []
    for clause in DRAFT.clauses:
        present = (phrase for phrase in BEHAVIOURS[clause.id].phrases if phrase in prompt)
        text = " ".join([clause.text, *present])
        clauses.append(clause.model_copy(update={"text": reworded(text, chance) if chance.random() < share else text}))
    return instructions(with_clauses(clauses))


def with_clauses(clauses: Iterable[Clause]) -> Policy:
    return DRAFT.model_copy(update={"clauses": tuple(clauses)})


def subsets(items: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """All of them, the empty one first."""
    listed = list(items)
    return (chosen for size in range(len(listed) + 1) for chosen in combinations(listed, size))
