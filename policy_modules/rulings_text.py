"""How people's rulings are shown to models: to judges, critics and refiners alike."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.errors import one_line
from prefect_ratify.scenarios.precedents import Ruling


def rulings_text(rulings: Sequence[Ruling], *, named: bool = True) -> str:
    """Rulings in their order, or: none. Those that are not `named` do not say whose they are.

    What people said of a response stands outside the fences, so that no response can pass for a ruling.
    """
    return "\n\n".join(_shown(ruling, ruling.by if named else "people") for ruling in rulings) or "none"


def _shown(ruling: Ruling, by: str) -> str:
    from prefect_ratify.policy_modules.signatures import defused, fenced

    why = f", since: {one_line(ruling.reason)}" if ruling.reason else ""
    said = defused(f"{one_line(by)} ruled that this response is {ruling.outcome}{why}")
    return f"{said}\nQuery:\n{fenced(ruling.query)}\nResponse:\n{fenced(ruling.response)}"
