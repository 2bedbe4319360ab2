"""Precedents: people's rulings on responses, one JSON record a line in precedents.jsonl."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text
from prefect_ratify.records import Precedent, Response


def load_precedents(path: Path) -> tuple[Precedent, ...]:
    """Read rulings; none where there is no file, InputError with the line of a bad one."""
    if not path.exists():
        return ()
    rulings = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                rulings.append(Precedent.model_validate_json(line))
            except ValidationError as error:
                what = error.errors()[0]
                place = ".".join(str(part) for part in what["loc"])
                raise InputError(f"{place}: {what['msg']}", path=path, line=number) from None
    return tuple(rulings)


def dangling(precedents: Sequence[Precedent], clause_ids: Collection[str], scenario_ids: Collection[str]) -> list[str]:
    """A line for each ruling that can never apply, since it names no clause or scenario that there is."""
    lines = []
    for number, precedent in enumerate(precedents, 1):
        if precedent.clause_id not in clause_ids:
            lines.append(f"ruling {number} is on clause {precedent.clause_id!r}, which the policy does not have")
        elif precedent.scenario_id not in scenario_ids:
            lines.append(f"ruling {number} is on scenario {precedent.scenario_id!r}, which the suite does not have")
    return lines


def ruling_on(response: Response, clause_id: str, precedents: Sequence[Precedent]) -> Precedent | None:
    """The last ruling on this very response and clause; people who rule again change their mind."""
    words = response.text.split()
    for precedent in reversed(precedents):
        same = (precedent.scenario_id, precedent.clause_id) == (response.scenario_id, clause_id)
        if same and precedent.response.split() == words:
            return precedent
    return None
