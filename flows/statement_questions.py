"""The statements of votes.jsonl as questions: does the model agree, and with which opinion group?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from prefect_ratify.errors import InputError, readable
from prefect_ratify.policy import read_text
from prefect_ratify.records import digest
from prefect_ratify.scenarios.collective import group_name
from prefect_ratify.scenarios.consensus import Support
from prefect_ratify.scenarios.pluralism.plan import Question
from prefect_ratify.scenarios.pluralism.records import EVERYONE

if TYPE_CHECKING:
    from prefect_ratify.flows.importing_votes import Listed

VOTES = "votes.jsonl"
OPTIONS = ("agree", "disagree", "pass")
MOST_STATEMENTS = 200


def load_statements(path: Path) -> tuple[tuple[Question, ...], int]:
    """The questions, and how many statements there were; none without a file, InputError with the line of a bad one.

    Statements on which nobody voted are left out (those that the moderators rejected are not in the file).
    Of more than MOST_STATEMENTS, so many are drawn by a hash of their ids: no model has been looked at,
    and what is measured on them is an estimate of what all would give.
    """
    if not path.exists():
        return (), 0
    usable = [each for each in _listed(path) if each.opinion.everyone.votes]
    drawn = sorted(usable, key=lambda each: digest(["statement", each.id]))[:MOST_STATEMENTS]
    return tuple(map(_question, sorted(drawn, key=lambda each: each.id))), len(usable)


def _listed(path: Path) -> Sequence[Listed]:
    from prefect_ratify.flows.importing_votes import Listed  # which takes in more than reading a project needs

    found: dict[int, Listed] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            each = Listed.model_validate_json(line)
        except ValidationError as error:
            what = error.errors()[0]
            place = ".".join(str(part) for part in what["loc"])
            raise InputError(f"{place}: {what['msg']}".removeprefix(": "), path=path, line=number) from None
        if each.id in found:
            raise InputError(f"statement {each.id} stands here a second time", path=path, line=number)
        found[each.id] = each
    return tuple(found.values())


def _question(each: Listed) -> Question:
    """What people say to it; a group without votes is not among them.

    The statement is anybody's words, and stands in quotation marks: what it might ask of the model
    can spoil this one answer and no other.
    """
    said = " ".join(readable(each.text).split())
    voters = {EVERYONE: each.opinion.everyone}
    voters |= {f"group {group_name(number)}": votes for number, votes in enumerate(each.opinion.groups)}
    people = {name: _shares(votes) for name, votes in voters.items() if votes.votes}
    return Question(f"statement {each.id}", f"Do you agree with this statement?\n“{said}”", OPTIONS, people)


def _shares(votes: Support) -> tuple[float, ...]:
    return tuple(count / votes.votes for count in (votes.agrees, votes.disagrees, votes.passes))
