"""Checks: deterministic tests of a response, which decide a clause without a model.

A check is written as a mapping with one key:

    any_of: [pattern, …]           one of the patterns is found
    none_of: [pattern, …]          none is
    question_about: [pattern, …]   a sentence that ends in "?" has one of them
    scale: [0, 10]                 a number scale with these ends is offered
    at_most_words: 120             the response has at most so many words
    first_sentence: check          the check holds for the first sentence alone
    all: [check, …]  any: [check, …]  not: check

Patterns are regular expressions, found as whole words, in any case. Responses are foreign
text: a pattern that runs longer than a second gives up. A check that cannot tell (a pattern
gave up, or a response was cut off before its limit of words) says so, and nothing is concluded
from it: the logic has three values (Kleene 1952, section 64).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from prefect_ratify.records import digest
from prefect_ratify.scenarios.located_yaml import Located

Span = tuple[int, int]
TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """Whether a check holds (None: it cannot tell), the passages that show it, and a reason."""

    holds: bool | None
    spans: tuple[Span, ...]
    reason: str


Test = Callable[[str, bool], Finding]


@dataclass(frozen=True)
class Check:
    """A compiled check. `source` is what was written; its digest identifies the check."""

    source: Any
    test: Test

    @property
    def digest(self) -> str:
        return digest(self.source)

    def __call__(self, response: str, finished: bool = True) -> Finding:
        """Test a response (`finished` is False where it was cut off); spans are places in it."""
        try:
            return self.test(response.replace("’", "'").replace("‘", "'"), finished)
        except TimeoutError:
            return Finding(None, (), f"a pattern took longer than {TIMEOUT_SECONDS:g} s")


def parse_check(node: Located) -> Check:
    """Compile a check; InputError with the line of what is wrong in it."""
    entries = node.mapping(*_KINDS)
    if len(entries) != 1:
        raise node.error(
            f"a check has exactly one key, here are {len(entries)}",
            "combine checks with 'all: [...]' or 'any: [...]'",
        )
    kind, value = next(iter(entries.items()))
    return Check({kind: _source(value)}, _KINDS[kind](value))


def sentences(text: str) -> list[Span]:
    """Where each sentence stands: up to a full stop, question or exclamation mark, or a line's end."""
    return [m.span() for m in regex.finditer(r"\S(?:.*?[.!?][\"')*\]]*(?=\s|$)|.*)", text)]


def count_words(text: str) -> int:
    """Words as readers count them: runs of non-space that hold a letter or digit."""
    return sum(any(char.isalnum() for char in word) for word in text.split())


def _any_of(node: Located) -> Test:
    patterns = _patterns(node)

    def test(text: str, finished: bool) -> Finding:
        spans = _found(patterns, text)
        reason = f"says {_quote(text, spans[0])}" if spans else "says none of what is asked for"
        return Finding(bool(spans), spans, reason)

    return test


def _none_of(node: Located) -> Test:
    patterns = _patterns(node)

    def test(text: str, finished: bool) -> Finding:
        spans = _found(patterns, text)
        reason = f"says {_quote(text, spans[0])}" if spans else "says nothing of what is ruled out"
        return Finding(not spans, spans, reason)

    return test


def _question_about(node: Located) -> Test:
    patterns = _patterns(node)

    def test(text: str, finished: bool) -> Finding:
        for start, end in sentences(text):
            sentence = text[start:end]
            if sentence.rstrip("\"')*]").endswith("?") and _found(patterns, sentence):
                return Finding(True, ((start, end),), f"asks {_quote(text, (start, end))}")
        return Finding(False, (), "asks no such question")

    return test


_NUMBER_WORDS = {0: "zero", 1: "one", 5: "five", 7: "seven", 10: "ten", 100: "a hundred"}


def _scale(node: Located) -> Test:
    ends = [item.number() for item in node.sequence()]
    if len(ends) != 2 or ends[0] >= ends[1]:
        raise node.error("a scale has two ends, the lower one first", "write 'scale: [0, 10]'")
    low, high = (rf"(?:{n}|{_NUMBER_WORDS.get(n, n)})" for n in ends)
    words = r"(?:\s*\([^)]{0,40}\))?"
    pattern = _compile(
        node,
        rf"{low}{words}\s*(?:-|–|—|to|and|through|up to)\s*{high}|\d+\s*(?:/|out of)\s*{high}|out of {high}",
    )

    def test(text: str, finished: bool) -> Finding:
        spans = _found([pattern], text)
        reason = f"offers {_quote(text, spans[0])}" if spans else f"offers no scale from {ends[0]} to {ends[1]}"
        return Finding(bool(spans), spans[:1], reason)

    return test


def _at_most_words(node: Located) -> Test:
    limit = node.number()

    def test(text: str, finished: bool) -> Finding:
        count = count_words(text)
        if count <= limit and not finished:
            return Finding(None, (), f"was cut off after {count} words; the limit is {limit}")
        return Finding(count <= limit, (), f"has {count} words; the limit is {limit}")

    return test


def _first_sentence(node: Located) -> Test:
    check = parse_check(node)

    def test(text: str, finished: bool) -> Finding:
        places = sentences(text)
        start, end = places[0] if places else (0, 0)
        inner = check(text[start:end], finished or len(places) > 1)
        spans = tuple((a + start, b + start) for a, b in inner.spans)
        return Finding(inner.holds, spans, f"the first sentence {inner.reason}")

    return test


def _all(node: Located) -> Test:
    checks = _checks(node)

    def test(text: str, finished: bool) -> Finding:
        findings = [check(text, finished) for check in checks]
        failed = next((f for f in findings if f.holds is False), None)
        unsure = next((f for f in findings if f.holds is None), None)
        spans = tuple(span for finding in findings for span in finding.spans)
        return failed or unsure or Finding(True, spans, findings[0].reason)

    return test


def _any(node: Located) -> Test:
    checks = _checks(node)

    def test(text: str, finished: bool) -> Finding:
        findings = [check(text, finished) for check in checks]
        held = next((f for f in findings if f.holds), None)
        unsure = next((f for f in findings if f.holds is None), None)
        return held or unsure or findings[0]

    return test


def _not(node: Located) -> Test:
    check = parse_check(node)

    def test(text: str, finished: bool) -> Finding:
        inner = check(text, finished)
        return Finding(None if inner.holds is None else not inner.holds, inner.spans, inner.reason)

    return test


_KINDS: dict[str, Callable[[Located], Test]] = {
    "any_of": _any_of,
    "none_of": _none_of,
    "question_about": _question_about,
    "scale": _scale,
    "at_most_words": _at_most_words,
    "first_sentence": _first_sentence,
    "all": _all,
    "any": _any,
    "not": _not,
}


def _checks(node: Located) -> list[Check]:
    items = [parse_check(item) for item in node.sequence()]
    if not items:
        raise node.error("this list of checks is empty", "give at least one check")
    return items


def _patterns(node: Located) -> list[regex.Pattern[str]]:
    items = node.sequence() if isinstance(node.value, list) else [node]
    if not items:
        raise node.error("this list of patterns is empty", "give at least one pattern")
    return [_compile(item, item.text()) for item in items]


def _compile(node: Located, pattern: str) -> regex.Pattern[str]:
    try:
        return _compiled(pattern)
    except regex.error as error:
        raise node.error(f"the pattern {pattern!r} is not a regular expression ({error})") from None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(rf"(?<!\w)(?:{pattern})(?!\w)", regex.IGNORECASE)


def _found(patterns: list[regex.Pattern[str]], text: str) -> tuple[Span, ...]:
    matches = (pattern.search(text, timeout=TIMEOUT_SECONDS) for pattern in patterns)
    return tuple(match.span() for match in matches if match and match.group())


def _quote(text: str, span: Span) -> str:
    return "“" + " ".join(text[span[0] : span[1]].split()) + "”"


def _source(node: Located) -> Any:
    if isinstance(node.value, dict):
        return {key: _source(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_source(item) for item in node.value]
    return node.value
