"""Reading the fields of an answer where each is a text, and any may be missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_MARK = re.compile(r"^\s*\[\[ ## (\w+) ## \]\]\s*$", re.MULTILINE)


def fields_of(text: str, names: Iterable[str]) -> dict[str, str]:
    """The texts of these fields: between DSPy's marks, or in one JSON object; empty where there is none.

    A field that stands there twice is taken as it stands first.
    """
    found = dict.fromkeys(names, "")
    parts = _MARK.split(text)
    said = dict(reversed(list(zip(parts[1::2], parts[2::2], strict=True)))) if len(parts) > 1 else _object(text)
    return {name: " ".join(str(said.get(name) or "").split()) for name in found}


def _object(text: str) -> dict[str, object]:
    begin, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[begin : end + 1]) if begin >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
