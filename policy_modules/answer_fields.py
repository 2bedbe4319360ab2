"""Reading the fields of an answer where each is a text, and any may be missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from prefect_ratify.errors import readable

_MARK = re.compile(r"^\s*\[\[ ## (\w+) ## \]\]\s*$", re.MULTILINE)
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”"}
_NONE = re.compile(
    r"(?:none|nothing|n/?a|no (?:second clause|example|change))"
    r"(?:(?: (?:is|are))? (?:needed|required|necessary|missing|given))?(?:$|\s*[:;,.(–—-].*)"
    r"|(?:not (?:needed|required|necessary|applicable)|empty)$",
    re.IGNORECASE,
)


def fields_of(text: str, names: Iterable[str]) -> dict[str, str]:
    """The texts of these fields: between DSPy's marks, or in one JSON object; empty where there is none.

    A field that stands there twice is taken as it stands first.
    """
    found = dict.fromkeys(names, "")
    parts = _MARK.split(text)
    said = dict(reversed(list(zip(parts[1::2], parts[2::2], strict=True)))) if len(parts) > 1 else _object(text)
    return {name: " ".join(str(said.get(name) or "").split()) for name in found}


def cleaned(text: str) -> str:
    """A text without what models put around it: quotes, a code fence, field markers, unseen characters."""
    text = readable(text).replace("\ufffd", "").partition("[[ ##")[0].strip()
    text = re.sub(r"^```\w*\n(.*)\n```$", r"\1", text, flags=re.DOTALL)
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & set(text[1:-1]):
        text = text[1:-1].strip()
    return re.sub(r"\n{3,}", "\n\n", text)


def is_none(text: str) -> bool:
    """Whether an answer says that there is nothing to say: "none", "(None.)", "None needed: one will do"."""
    said = cleaned(text).strip(" .!?*_()[]\"'-–—")
    return not said or _NONE.match(said) is not None


def _object(text: str) -> dict[str, object]:
    begin, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[begin : end + 1]) if begin >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
