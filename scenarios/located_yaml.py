"""YAML in which every value knows its line, so that an error can name the place.

`yaml.compose` gives nodes with marks; this walks them once. Keys given twice, which YAML
parsers drop silently, are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text

DEEPEST = 50
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Located:
    """A value (a scalar, a list of Located or a dict of str to Located) and where it stands."""

    value: Any
    line: int
    path: Path

    def error(self, seen: str, advice: str = "") -> InputError:
        """An InputError at this place."""
        return InputError(seen, advice, path=self.path, line=self.line)

    def mapping(self, *known: str) -> dict[str, Located]:
        """The value as a mapping, whose keys must be among `known` (any, where none are named)."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.error(f"a mapping is expected here, not {_kind(self.value)}", "write 'key: value' lines")
        for key, item in self.value.items():
            if known and key not in known:
                raise item.error(f"unknown key {key!r}", f"known here: {', '.join(known)}")
        return self.value

    def sequence(self) -> list[Located]:
        """The value as a list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.error(f"a list is expected here, not {_kind(self.value)}", "write one '- item' a line")
        return self.value

    def text(self) -> str:
        """The value as a text that is not blank."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"a text is expected here, not {_kind(self.value)}", "put it in quotes")
        return self.value

    def texts(self) -> list[str]:
        """The value as a list of texts; one text alone counts as a list of one."""
        if isinstance(self.value, str):
            return [self.text()]
        return [item.text() for item in self.sequence()]

    def number(self) -> int:
        """The value as a whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.error(f"a whole number is expected here, not {_kind(self.value)}")
        return self.value

    def amount(self) -> float:
        """The value as a number, whole or not."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not abs(self.value) < 1e15:
            raise self.error(f"a number is expected here, not {_kind(self.value)}")
        return float(self.value)

    def truth(self) -> bool:
        """The value as true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"true or false is expected here, not {_kind(self.value)}")
        return self.value


def load_yaml(path: Path) -> Located:
    """Read a YAML file; InputError names the line of what is wrong."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: Path) -> Located:
    """Parse YAML text; an empty one is None."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"this is not valid YAML ({error.problem})",
            "check indentation, quotes and colons",
            path=path,
            line=mark.line + 1 if mark else None,
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"this is not valid YAML ({error})", path=path) from None
    if node is None:
        return Located(None, 1, path)
    return _Walk(path).locate(node)


class _Walk:
    """One walk over the nodes of a file. An alias is the very node that it names: met once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.constructor = yaml.SafeLoader("")
        self.met: dict[yaml.Node, Located] = {}

    def locate(self, node: yaml.Node, depth: int = 0) -> Located:
        if node not in self.met:
            self.met[node] = Located(self._value(node, depth), node.start_mark.line + 1, self.path)
        return self.met[node]

    def _value(self, node: yaml.Node, depth: int) -> Any:
        if depth > DEEPEST:
            raise self._error(node, f"this is nested more than {DEEPEST} deep")
        if isinstance(node, yaml.SequenceNode):
            return [self.locate(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, depth))
        try:
            return self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self._error(node, f"{node.value!r} cannot be read ({error})") from None

    def _items(self, node: yaml.Node, depth: int) -> Iterator[tuple[str, Located]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                raise self._error(key_node, f"{key!r} stands here a second time (first in line {seen[key]})")
            seen[key] = line
            # A wrong value is looked for where its key stands.
            yield key, Located(self.locate(value_node, depth + 1).value, line, self.path)

    def _error(self, node: yaml.Node, seen: str) -> InputError:
        return InputError(seen, path=self.path, line=node.start_mark.line + 1)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "yes or no", type(None): "nothing"}
    return names.get(type(value), f"{value!r}")
