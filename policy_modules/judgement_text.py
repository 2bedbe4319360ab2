"""Reading a judge's answer, whatever form it comes in: nothing is upheld by accident.

Two forms are read: one JSON object with which the answer ends, and labelled parts, by DSPy's marks
or as lines `verdict: …`. Text that the answer may only quote is never a verdict: what a model
thinks aloud, what follows the reason's label, strings within the JSON, and lines after prose. An
answer that says two things, or is not whole, is undecided, and the reason says why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

from prefect_ratify.errors import one_line
from prefect_ratify.records import Outcome
from prefect_ratify.scenarios.judging import Judgement

NAMES = ("verdict", "confidence", "reason")
OUTCOMES: dict[str, Outcome] = {
    "upheld": "upheld",
    "violated": "violated",
    "undecided": "undecided",
    "not applicable": "not applicable",
    "n/a": "not applicable",
}
Said = list[tuple[str, object]]  # names and values, in the order in which they are said

_READER = json.JSONDecoder(strict=False, object_pairs_hook=tuple)  # pairs, so that none said twice is lost
_MARK = r"\[\[[ \t]*##[ \t]*(\w+)[ \t]*##[ \t]*\]\]"
_START = re.compile(rf"^[ \t]*(?:```\w*[ \t]*)?(?:(?P<json>\{{|\[\s*\{{)|{_MARK})", re.MULTILINE)
_LABEL = re.compile(rf"^[ \t*#_-]*(?:{_MARK}|(verdict|confidence|reason)[*_]*[ \t]*:)", re.MULTILINE | re.IGNORECASE)
_END = re.compile(rf"(?:\s|```|{_MARK}|</s>|<\|\w+\|>)*\Z")
_END_OF_THOUGHTS = re.compile(r"</think>", re.IGNORECASE)
_NO_THOUGHT = re.compile(r"[{`]|\[\s*[\[{]|\W*verdict\b", re.IGNORECASE)  # how an answer itself begins
_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(%?)\Z", re.IGNORECASE)
_OTHERWISE = re.compile(r"violat|not[ _-]*(?:applicable|upheld)|n/a|undecided", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\bverdict\W+(?:(?:is|was|should|must|be|now|therefore|hence)\W+)*"
    r"(?:violat|not\W+(?:applicable|upheld)|n/a|undecided)",
    re.IGNORECASE,
)


class Unreadable(Exception):
    """What keeps an answer from being a verdict."""


def read(text: str) -> Judgement:
    """The judgement that an answer gives; *undecided*, with what is wrong as the reason, where it gives none."""
    try:
        return _judgement(text)
    except Unreadable as why:
        return Judgement(outcome="undecided", confidence=0.0, reason=f"the judge gave no usable answer: {why}")


def _judgement(text: str) -> Judgement:
    answer = _without_thoughts(text.strip())
    start = _START.search(answer)
    if start and start["json"] and not _LABEL.search(answer, 0, start.start()):
        before, said = answer[: start.start()], _in_object(answer, start.start("json"))
    else:
        before, said = "", _by_labels(answer)
    outcome = _outcome([value for name, value in said if name == "verdict" or _is_stray(name, value)])
    confidence = _confidence([value for name, value in said if name == "confidence"])
    texts = [(name, value) for name, value in said if isinstance(value, str)]
    if outcome == "upheld" and (_OTHERWISE.search(before) or any(_TAKEN_BACK.search(text) for _, text in texts)):
        raise Unreadable("it says upheld, and takes that back")
    reason = _reason(text for name, text in texts if name == "reason")
    return Judgement(outcome=outcome, confidence=confidence, reason=reason)


def _without_thoughts(text: str) -> str:
    """The answer after a model's thinking aloud, whose first tag some servers leave out."""
    end = _END_OF_THOUGHTS.search(text)
    if end and not _NO_THOUGHT.match(text):
        return text[end.end() :].strip()
    return "" if text[:7].lower() == "<think>" else text


def _in_object(answer: str, start: int) -> Said:
    """What the JSON object says that begins there, and ends the answer."""
    try:
        pairs, end = _READER.raw_decode(answer, start)
    except (ValueError, RecursionError):
        raise Unreadable("its JSON is broken or cut off") from None
    if not isinstance(pairs, tuple):
        raise Unreadable("its JSON is a list")
    if not _END.match(answer, end):
        raise Unreadable("it goes on after its JSON")
    return [(re.sub(r"\W", "", name).lower(), value) for name, value in pairs]


def _by_labels(answer: str) -> Said:
    """What stands behind each label; a verdict comes before the reason, which may quote another."""
    first = _LABEL.search(answer)
    if not first or (first[1] is None and first.start() and answer[: first.start()].strip("`\n ")):
        raise Unreadable("there is no verdict in it")
    parts = _LABEL.split(answer)
    names = [(mark or line).lower() for mark, line in zip(parts[1::3], parts[2::3], strict=True)]
    if "reason" in names and "verdict" not in names[: names.index("reason")]:
        raise Unreadable("there is no verdict before its reason")
    return list(zip(names, parts[3::3], strict=True))


def _outcome(said: list[object]) -> Outcome:
    if not said:
        raise Unreadable("there is no verdict in it")
    words = [_plain(value) for value in said]
    if len(set(words)) > 1:
        raise Unreadable("it gives two verdicts")
    if words[0] not in OUTCOMES:
        raise Unreadable(f"{one_line(words[0], 60)!r} is no verdict")
    return OUTCOMES[words[0]]


def _is_stray(name: str, value: object) -> bool:
    """Whether a part that nobody asked for holds a verdict's word."""
    return name not in NAMES and isinstance(value, str) and _plain(value) in OUTCOMES


def _confidence(said: list[object]) -> float:
    """Between 0 and 1, to the nearer end where it is said to lie beyond."""
    numbers = {_number(value) for value in said}
    if len(numbers) != 1:
        raise Unreadable(f"it gives {'two confidences' if numbers else 'no confidence'}")
    number = numbers.pop()
    if number is None or not math.isfinite(number):
        raise Unreadable("its confidence is no number")
    return min(max(number, 0.0), 1.0)


def _number(value: object) -> float | None:
    if isinstance(value, str):
        found = _NUMBER.match(value.strip(" \t\r\n*_`\"'"))
        return float(found[1]) / (100 if found[2] else 1) if found else None
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _reason(said: Iterable[str]) -> str:
    """As a file can hold it, on one line."""
    text = " ".join(said).removesuffix("```")
    return one_line(text.encode(errors="replace").decode()) or "the judge gave no reason"


def _plain(value: object) -> str:
    """A verdict's word without what is put around it; whatever else it is stays, and is no verdict then."""
    if not isinstance(value, str):
        raise Unreadable("its verdict is no word")
    word = value.strip(" \t\r\n*_`\"'").removesuffix(".").lower()
    return re.sub(r"[ \t_-]+", " ", word)
