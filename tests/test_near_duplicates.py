from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.finetune.near_duplicates import NEAR, NearDuplicates, candidate_rate, resemblance, shingles

TEXTS = st.text(alphabet=st.characters(), max_size=120)
WORDS = [f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in "aeiou" for last in "bdfgklmnprst"]


def draw(rng: random.Random, count: int = 30) -> list[str]:
    return rng.choices(WORDS, k=count)


@settings(deadline=None)  # the first one imports a library
@given(TEXTS, st.lists(TEXTS, max_size=5))
def test_the_same_text_is_always_caught_and_no_text_repeats_itself(text: str, others: list[str]) -> None:
    found = NearDuplicates()
    first = found.seen(text)
    assert first is None
    for other in others:
        found.seen(other)
    assert found.seen(text) is not None
    assert found.seen(text.upper() if text.isascii() else text) is not None


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=8))
def test_what_is_caught_resembles_what_it_is_said_to_repeat_and_nothing_else_is(texts: list[str]) -> None:
    found, kept = NearDuplicates(), list[str]()
    for text in texts:
        plain = text.encode(errors="replace").decode()
        earlier = found.seen(text)
        if earlier is None:
            kept.append(plain)
        else:
            assert earlier in kept
            assert resemblance(shingles(plain), shingles(earlier)) >= NEAR


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_unrelated_texts_are_never_caught_and_the_same_order_gives_the_same(rng: random.Random) -> None:
    texts = [" ".join(draw(rng)) for _ in range(20)]
    assert [NearDuplicates().seen(text) for text in texts] == [None] * 20
    mixed = rng.choices([*texts, *(f"{text} {WORDS[0]}" for text in texts)], k=40)
    one, two = NearDuplicates(), NearDuplicates()
    assert [one.seen(text) for text in mixed] == [two.seen(text) for text in mixed]


def test_recall_and_precision_by_simulation_are_those_that_the_bands_promise() -> None:
    rng, near, caught, wrongly = random.Random(11), 0, 0, 0
    expected = 0.0
    for _ in range(400):
        base = draw(rng, 40)
        changed = [rng.choice(WORDS) if rng.random() < 0.08 else word for word in base]
        exact = resemblance(shingles(" ".join(base)), shingles(" ".join(changed)))
        found = NearDuplicates()
        found.seen(" ".join(base))
        said = found.seen(" ".join(changed)) is not None
        near += exact >= NEAR
        caught += said and exact >= NEAR
        wrongly += said and exact < NEAR
        expected += candidate_rate(exact) if exact >= NEAR else 0
    assert near > 100
    assert wrongly == 0
    assert caught / near >= 0.98
    assert abs(caught - expected) < 5  # of some two hundred; three standard deviations of a binomial


def test_a_text_with_more_than_a_third_of_its_words_changed_is_another_one() -> None:
    found = NearDuplicates()
    assert found.seen("My landlord changed the locks while I was at work, what can I do about it now?") is None
    assert found.seen("my LANDLORD changed the locks while I was at work – what can I do about it now") is not None
    assert found.seen("My landlord sold the house while I was in hospital, what can I do about it now?") is None


def test_of_many_texts_of_one_form_the_same_one_is_still_found() -> None:
    found = NearDuplicates(near=1.0)  # all share most of their bands, and none repeats another
    form = "my landlord changed the locks while I was at work today so what can I do about flat number"
    for number in range(300):
        assert found.seen(f"{form} {number}") is None
    assert found.seen(f"{form} 299") is not None


@pytest.mark.model
def test_memory_does_not_grow_with_the_number_of_texts() -> None:
    rng, found, held = random.Random(3), NearDuplicates(), []
    for count in (1_000, 4_000):  # 100,000 take a minute, and no more memory
        for _ in range(count):
            found.seen(" ".join(draw(rng)))
        held.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    assert held[1] - held[0] < 8_000_000  # bytes; SQLite's cache and what Python's allocator keeps
