"""promptfoo's deterministic assertions as checks.

promptfoo looks for a literal anywhere in the output, and case counts unless the type begins with
"i". Our patterns match whole words in any case, so a literal becomes a pattern for the words that
hold it, with case switched on inside; a regular expression one for the whole response around it.
"""

from __future__ import annotations

import csv
import re
from typing import Any

import regex

from prefect_ratify.scenarios.imported import NotMapped

RUBRICS = ("llm-rubric", "g-eval", "agent-rubric", "model-graded-closedqa")
# What only JavaScript has, or has otherwise: flags amid a pattern, empty classes, \cX and \u{…}.
_JAVASCRIPT = re.compile(r"\(\?[a-zA-Z-]+\)|\[\^?\]|\\c[A-Za-z]|\\u\{")
Source = dict[str, Any]


def check_of(kind: str, value: Any) -> Source:
    """The check that holds where an assertion passes; NotMapped where there is none."""
    base = kind.removeprefix("not-")
    inverse = base != kind
    if base == "word-count":
        return _negated(_word_count(value), inverse)
    if base == "regex":
        return _found([_expression(value)], inverse)
    if base in ("equals", "starts-with"):
        return _found([_whole(value) if base == "equals" else _start(value)], inverse)
    any_case = base.startswith("icontains")
    if base in ("contains", "icontains"):
        return _found([literal(_text(value), any_case)], inverse)
    if base in ("contains-any", "icontains-any"):
        return _found([literal(text, any_case) for text in _texts(value)], inverse)
    if base in ("contains-all", "icontains-all"):
        every: Source = {"all": [{"any_of": [literal(text, any_case)]} for text in _texts(value)]}
        return _negated(every, inverse)
    raise NotMapped("no check does that")


def literal(text: str, any_case: bool = False) -> str:
    """A pattern for whole words that is found just where this text (not empty) stands anywhere."""
    return rf"\w*{_body(text, any_case)}\w*"


def _body(text: str, any_case: bool) -> str:
    text = text.replace("’", "'").replace("‘", "'")  # as checks do with responses
    escaped: str = regex.escape(text, literal_spaces=True)
    return escaped if any_case or text.lower() == text.upper() else f"(?-i:{escaped})"


def _whole(value: Any) -> str:
    return rf"\A\s*{_body(_text(value).strip(), False)}\s*\Z"


def _start(value: Any) -> str:
    return rf"\A{_body(_text(value).lstrip(), False)}\w*"  # a response begins with no space


def _expression(value: Any) -> str:
    pattern = _text(value)
    if _JAVASCRIPT.search(pattern):
        raise NotMapped("its pattern has what only JavaScript reads so")
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise NotMapped(f"its pattern is not a regular expression here ({error})") from None
    return f"(?s:.*?)(?-i:{pattern.replace('’', chr(39)).replace('‘', chr(39))})(?s:.*)"


def _word_count(value: Any) -> Source:
    ends = value if isinstance(value, dict) else {"min": value, "max": value}
    low, high = ends.get("min"), ends.get("max")
    if not all(item is None or (type(item) is int and item >= 0) for item in (low, high)):
        raise NotMapped("its value is no whole number")
    parts: list[Source] = [] if high is None else [{"at_most_words": high}]
    if low:
        parts.append({"not": {"at_most_words": low - 1}})
    if not parts:
        raise NotMapped("it has no limit")
    return parts[0] if len(parts) == 1 else {"all": parts}


def _found(patterns: list[str], inverse: bool) -> Source:
    return {"none_of" if inverse else "any_of": patterns}


def _negated(check: Source, inverse: bool) -> Source:
    return {"not": check} if inverse else check


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):  # promptfoo takes a list in one text, with commas between
        value = next(csv.reader([value], skipinitialspace=True), [])
    if not isinstance(value, list) or not value:
        raise NotMapped("its value is no list of texts")
    return [_text(item) for item in value]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise NotMapped("its value is no text")
    text = f"{value:.15g}" if isinstance(value, float) else str(value)
    if not text.strip():
        raise NotMapped("its value is empty")
    return text
