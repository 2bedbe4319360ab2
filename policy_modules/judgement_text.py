"""Reading a judge's answer, whatever form it comes in: nothing is upheld by accident.

Two forms are read: one JSON object with which the answer ends, and labelled parts, by DSPy's marks
or as lines `verdict: …`. Text that the answer may only quote is never a verdict: what a model
thinks aloud, what follows the reason's label, strings within the JSON, and JSON without the key
"verdict" in plain letters, which fences leave in no foreign text. Lines after prose may say
*violated* and nothing else. An answer that says two things, or is not whole, is undecided, and the
reason says why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

from prefect_ratify.errors import one_line
from prefect_ratify.records import Outcome
from prefect_ratify.scenarios.yardstick import Judgement

NAMES = ("verdict", "confidence", "reason")
OUTCOMES: dict[str, Outcome] = {
    "upheld": "upheld",
    "violated": "violated",
    "undecided": "undecided",
    "not applicable": "not applicable",
    "n/a": "not applicable",
}
Said = list[tuple[str, object]]  # names and values, in the order in which they are said
VERDICT_KEY = re.compile(r'"(?=verdict"\s*:)', re.IGNORECASE)  # no object without it is read, and no fence leaves one

_READER = json.JSONDecoder(strict=False, object_pairs_hook=tuple)  # pairs, so that none said twice is lost
_MARK = r"\[\[[ \t]*##[ \t]*(\w+)[ \t]*##[ \t]*\]\]"
_START = re.compile(rf"^[ \t]*(?:```\w*[ \t]*)?(?:(?P<json>\{{|\[\s*\{{)|{_MARK})", re.MULTILINE)
_LABEL = re.compile(
    rf"^[ \t*#_-]*(?:{_MARK}|(verdict|confidence|reason)[*_]*[ \t]*:[*_]*)", re.MULTILINE | re.IGNORECASE
)
_END = re.compile(rf"(?:\s|```|{_MARK}|</s>|<\|\w+\|>)*\Z")
_END_OF_THOUGHTS = re.compile(r"</think>", re.IGNORECASE)
_NO_THOUGHT = re.compile(r"[{`]|\[\s*[\[{]|\W*verdict\b", re.IGNORECASE)  # how an answer itself begins
_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?:(%)|\s*/\s*([1-9]\d{0,2}))?\.?\Z", re.IGNORECASE)
_OTHERWISE = re.compile(r"violat|not[ _-]*(?:applicable|upheld)|n/a|undecided", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\bverdict\W+(?:(?:is|was|should|must|be|now|therefore|hence)\W+)*"
    r"(?:violat|not\W+(?:applicable|upheld)|n/a|undecided)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"“[^“”]*”|\"[^\"]*\"|«[^«»]*»")
_STATEMENTS = re.compile(
    r"[.;:!?]|\b(?:but|so|hence|thus|therefore|however|because|since)\b"
    r"|\band(?= (?:it|the|this)\b)|, (?=(?:and|which|the clause|this clause)\b)",
    re.IGNORECASE,
)
_CONTRADICTED = re.compile(
    r"\b(?:is|was|been|being|gets)\s+(?:\w+ly\s+)*violated\b(?!\s+(?:only|if|when|where|unless)\b)"
    r"|\b(?:it|this|which|response|answer|reply|assistant)\s+(?:\w+ly\s+)*violates\b"
    r"|(?:\bnot|\bnever|n['’]t)\s+(?:(?!only\b|just\b|merely\b)\w+\s+)?upheld\b"
    r"|(?:\bnot|\bnever|n['’]t)\s+(?:uphold|keep)\s+(?:the|this)\s+clause\b",
    re.IGNORECASE,
)
_TURNED_ROUND = re.compile(
    r"\b(?:no|not|none|never|nothing|nobody|neither|nor|nowhere|without|cannot|hardly|if|unless|whether|were|would|could"
    r"|might|may|claim\w*)\b|n['’]t\b",
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
    outcome = _outcome(said)
    confidence = _confidence([value for name, value in said if name == "confidence"])
    texts = [(name, value) for name, value in said if isinstance(value, str)]
    reasons = [text for name, text in texts if name == "reason"]
    if outcome == "upheld" and (_OTHERWISE.search(before) or any(_TAKEN_BACK.search(text) for _, text in texts)):
        raise Unreadable("it says upheld, and takes that back")
    if outcome == "upheld" and any(map(_contradicted, reasons)):
        raise Unreadable("it says upheld, and its reason says the opposite")
    return Judgement(outcome=outcome, confidence=confidence, reason=_reason(reasons))


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
    if not VERDICT_KEY.search(answer, start, end) or any(map(_is_disguised, dict(pairs))):
        raise Unreadable("its JSON has no key “verdict”, or one in disguise")
    return [(name.lower(), value) for name, value in pairs]


def _is_disguised(key: str) -> bool:
    """Whether it only resembles one that is asked for, as nothing does that follows the schema."""
    return key.lower() not in NAMES and re.sub(r"[\W_]", "", key).lower() in NAMES


def _by_labels(answer: str) -> Said:
    """What stands behind each label.

    A verdict comes before the reason, which may quote another. After prose that lines may be
    quoted in, *violated* alone is taken: it is no pass.
    """
    first = _LABEL.search(answer)
    if not first:
        raise Unreadable("there is no verdict in it")
    parts = _LABEL.split(answer)
    names = [(mark or line).lower() for mark, line in zip(parts[1::3], parts[2::3], strict=True)]
    if "reason" in names and "verdict" not in names[: names.index("reason")]:
        raise Unreadable("there is no verdict before its reason")
    said: Said = list(zip(names, parts[3::3], strict=True))
    if first[1] is None and answer[: first.start()].strip("`\n ") and _outcome(said) != "violated":
        raise Unreadable("there is no verdict in it but after prose, which may quote it")
    return said


def _outcome(said: Said) -> Outcome:
    """The one verdict; a verdict's word in a part that nobody asked for can only stand against it."""
    words = [_plain(value) for name, value in said if name == "verdict"]
    if not words:
        raise Unreadable("there is no verdict in it")
    if len({*words, *(_plain(value) for name, value in said if _is_stray(name, value))}) > 1:
        raise Unreadable("it gives two verdicts")
    if words[0] not in OUTCOMES:
        raise Unreadable(f"{one_line(words[0], 60)!r} is no verdict")
    return OUTCOMES[words[0]]


def _is_stray(name: str, value: object) -> bool:
    """Whether a part that nobody asked for holds a verdict's word."""
    return name not in NAMES and isinstance(value, str) and _plain(value) in OUTCOMES


def _confidence(said: list[object]) -> float:
    """Between 0 and 1; one beyond may be of any scale, and is not guessed at."""
    numbers = {_number(value) for value in said}
    if len(numbers) != 1:
        raise Unreadable(f"it gives {'two confidences' if numbers else 'no confidence'}")
    number = numbers.pop()
    if number is None or not math.isfinite(number):
        raise Unreadable("its confidence is no number")
    if not 0 <= number <= 1:
        raise Unreadable("its confidence is not between 0 and 1")
    return number


def _number(value: object) -> float | None:
    if isinstance(value, str):
        found = _NUMBER.match(value.strip(" \t\r\n*_`\"'"))
        return float(found[1]) / (100 if found[2] else int(found[3] or 1)) if found else None
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _contradicted(reason: str) -> bool:
    """Whether a reason says in its own words that the clause is not kept; “nothing in it is violated” does not."""
    for statement in _STATEMENTS.split(_QUOTED.sub("…", " ".join(reason.split()))):
        found = _CONTRADICTED.search(statement)
        if found and not _TURNED_ROUND.search(statement, 0, found.start()):
            return True
    return False


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
