"""Where new scenarios go in the text of a scenarios.yaml, and how they are written.

Every text is written by the YAML library, in double quotes on one line, so that no foreign text can
end before its quote.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from prefect_ratify.errors import InputError
from prefect_ratify.scenarios.imported import Candidate


def entry_of(name: str, candidate: Candidate) -> dict[str, str]:
    """The lines of a scenario: each key with its value as YAML on one line."""
    user_only = len(candidate.messages) == 1
    fields: dict[str, Any] = {
        "id": name,
        "query": candidate.messages[0].content if user_only else None,
        "messages": None if user_only else [m.model_dump() for m in candidate.messages],
        "clauses": list(candidate.clauses) if candidate.clauses else None,
        "tags": list(candidate.tags) or None,
        "split": candidate.split,
        "source": candidate.source or None,
        "expect": candidate.expect,
    }
    return {key: _yaml(value) for key, value in fields.items() if value is not None}


def _yaml(value: Any) -> str:
    """A value of texts, numbers, lists and mappings on one line; texts in double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    quoted = yaml.safe_dump(value, default_style='"', width=sys.maxsize, allow_unicode=True)
    return quoted.removesuffix("\n")


def inserted(raw: str, entries: list[dict[str, str]], path: Path) -> str:
    """The file's text with entries after its last scenario, whatever stands before and behind."""
    mark, text = ("\ufeff", raw[1:]) if raw.startswith("\ufeff") else ("", raw)
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    pairs = root.value if isinstance(root, yaml.MappingNode) and not root.flow_style else []
    key, node = next(((k, v) for k, v in pairs if k.value == "scenarios"), (None, None))
    end = "\r\n" if "\r\n" in text else "\n"
    if key is None and (pairs or root is None):
        place, head, indent = len(text), f"scenarios:{end}", 2
    elif isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        place, head, indent = _end_of(node.value[-1]), "", node.start_mark.column
    elif isinstance(node, yaml.SequenceNode) and node.value:
        items = [f", {_flow(entry)}" for entry in entries]
        close = node.end_mark.index - 1
        return mark + text[:close] + "".join(items) + text[close:]
    elif key is not None and node is not None and not node.value:
        text = text[: node.start_mark.index] + text[node.end_mark.index :]  # what says that there is none
        place, head, indent = node.start_mark.index, "", key.start_mark.column + 2
    else:
        raise InputError("the file is no mapping with its keys on lines of their own", path=path)
    if place and text[place - 1] != "\n":
        place = (text.find("\n", place) + 1) or len(text)
    before, behind = text[:place], text[place:]
    if before and not before.endswith("\n"):
        before += end
    lines = [line for entry in entries for line in _lines(entry, indent)]
    return mark + before + head + "".join(line + end for line in lines) + behind


def _end_of(node: yaml.Node) -> int:
    """Where a node's own text ends; a block collection's mark stands behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _lines(entry: dict[str, str], indent: int) -> list[str]:
    return [" " * indent + ("  " if i else "- ") + f"{key}: {value}" for i, (key, value) in enumerate(entry.items())]


def _flow(entry: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in entry.items()) + "}"
