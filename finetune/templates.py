"""Variations of a request without a model: the request in another setting, by frames and word lists, of English.

What the person asked stays as it was, but for a few words, so that whatever is looked for in an
answer to it can still be found; who writes, from where, how badly and in what manner is what the
frames say. That is little variety. It teaches a small model that the setting does not change what
it should do, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

from prefect_ratify.finetune.languages import language, script
from prefect_ratify.policy_modules.varying import LOOK_ALIKE, Order, Varying, Written
from prefect_ratify.records import seed_from
from prefect_ratify.scenarios.grouping import SMALL

NAME = "templates"
NO_MORE, NOT_ENGLISH = "the templates give no more", "the templates are English, the request is not"
FEWEST_LETTERS = 5  # of a word that a look-alike is about

_FRAMES = {
    "person": (
        "I'm writing this for {who}, who is too upset to type. {query} That is all I was told, and I'd like to help.",
        "This is a message from {who}, copied just as it came. {query} I will pass on what you say, word for word.",
        "I am {age} years old and live with {who}. {query} I have never had to ask anybody about such a thing before.",
        "I work as a {job} and can only read your answer after my shift. {query} Nobody at work knows about it.",
        "My English is not so good, {who} helps me to write. {query} Please use easy words that we both understand.",
        "I'm a {job}, {age}, and not used to talking about myself. {query} There, now I have said it.",
    ),
    "place": (
        "This is about something in {town}, where I moved only last year. {query} I don't know how it is done here.",
        "I live in {region}, an hour from the next town. {query} There is no office near me where I could go and ask.",
        "We are in {town} at the moment. {query} If it matters which place that is, tell me what I should look up.",
        "I grew up abroad and live in {country} now. {query} Perhaps that works in another way here than back home.",
        "It happened in {town}, though I live in {region} and seldom go there. {query} Getting there takes me all day.",
        "I'm sitting in {spot} with my phone while I write this. {query} I have ten minutes before I have to go on.",
    ),
    "severity": (
        "It is not urgent, it could wait until next month. {query} I only want to know where I stand if it gets worse.",
        "This has to be settled by tomorrow morning. {query} I haven't slept for two nights and can't wait any longer.",
        "It has been going on for {long} by now. {query} Each time I think that it is over, it begins again.",
        "So far it is only a small thing, and nobody is hurt. {query} Still, it doesn't leave me alone.",
        "It got much worse this week. {query} My whole family suffers from it, and I am afraid of what comes next.",
        "The same thing happened {long} ago, and I let it pass. {query} This time I want to do something about it.",
    ),
    "tone": (
        "Dear Sir or Madam, I should like to put the following to you. {query} I should be most grateful for advice.",
        "hey so {lower} idk what to do tbh, any idea would help me a lot rn, thx",
        "I am so angry that I could scream. {query} And don't tell me to calm down, I've heard that often enough!",
        "Sorry to bother you, I feel a bit silly for asking. {query} If that is a stupid question, please just say so.",
        "Short version, since I have little battery left. {query} Just tell me straight what you think, no long story.",
        "Well, this will make you laugh, or maybe not. {query} If I don't joke about it I will cry, so bear with me.",
    ),
    LOOK_ALIKE: (
        "How do you spell {one}, and where does that word come from?",
        "Write a short, cheerful poem in which the words {one}, {two} and {three} occur.",
        "I'm making a crossword for my club. Give me three clues for {one} and three for {two}.",
        "How do I say {one}, {two} and {three} in Spanish? It's for my homework.",
        "Which words rhyme with {one}? I need some for a song about the sea.",
        "I'm learning English. Please make one easy sentence with each of these words: {one}, {two}, {three}.",
        "In a board game I have to explain {one} without saying it. What could I say instead?",
        "Put these words in the order of the alphabet for me, please: {one}, {two}, {three}.",
    ),
}
_FILLINGS = {
    "who": "my mother, my father, my neighbour, my best friend, a colleague, my grandfather, my cousin, my flatmate",
    "age": "19, 23, 31, 38, 47, 55, 66, 72",
    "job": "nurse, bus driver, cook, teacher, carpenter, cashier, farmer, cleaner, baker, night porter",
    "town": "Leeds, Tulsa, Perth, Halifax, Cork, Dayton, Dunedin, Cardiff, Boise, Aberdeen",
    "region": "a village, the hills, the far north, an island, the countryside, a valley, the desert",
    "country": "Ireland, Canada, Scotland, Australia, New Zealand, Wales, the United States",
    "spot": "a café, the library, a bus shelter, my car, the laundrette, a waiting room",
    "long": "three weeks, two months, half a year, a year, almost three years",
}
# Whom and where a request speaks of; the pronouns after it stay right.
_SWAPS = {
    "person": "daughter niece son nephew brother cousin sister cousin mother aunt father uncle husband partner "
    "wife partner boss manager roommate flatmate neighbor neighbour dealer seller",
    "place": "bedroom hallway kitchen bathroom garage shed church club restaurant canteen salon shop stockroom cellar",
}


def by_templates(seed: int) -> Varying:
    """Variations by templates: each order is filled as far as there are templates of its kind."""

    def write(orders: Sequence[Order]) -> list[Written]:
        return [_written(order, seed) for order in orders]

    return Varying(NAME, write)


def _written(order: Order, seed: int) -> Written:
    query = order.scenario.query
    if language(query) not in ("English", "") or script(query) not in ("LATIN", ""):
        return Written((), NOT_ENGLISH)
    found = list(_texts(order, Random(seed_from(seed, "templates", order.scenario.id, order.kind))))
    return Written(tuple(found[order.before : order.before + order.count]), NO_MORE)


def _texts(order: Order, drawn: Random) -> Iterator[str]:
    """All that the templates of a kind make of a request, in an order drawn for this one: each template once."""
    query = " ".join(_swapped(order.scenario.query, order.kind).split())
    named = list(dict.fromkeys(_about(query)))
    if order.kind == LOOK_ALIKE and len(named) < 3:
        return
    for frame in drawn.sample(_FRAMES[order.kind], len(_FRAMES[order.kind])):
        filling = {name: drawn.choice(listed.split(", ")) for name, listed in _FILLINGS.items()}
        if order.kind == LOOK_ALIKE:
            filling |= zip(("one", "two", "three"), drawn.sample(named, 3), strict=True)
        yield frame.format(query=_ended(query), lower=query.lower().rstrip(".!?"), **filling)


def _swapped(query: str, kind: str) -> str:
    listed = _SWAPS.get(kind, "").split()
    swaps = dict(zip(listed[::2], listed[1::2], strict=True))
    return re.sub(r"[a-z]+", lambda word: swaps.get(word[0], word[0]), query)


def _ended(query: str) -> str:
    """A request that something can follow: it ends with a sign."""
    return query if query[-1:] in (".", "!", "?", "…") else f"{query}."


def _about(query: str) -> list[str]:
    """The longer words of a request, without names, contractions and the small words of English."""
    found = re.findall(rf"(?<![\w'’-])[a-z]{{{FEWEST_LETTERS},}}(?![\w'’-])", query)
    return [word for word in found if word not in SMALL]
