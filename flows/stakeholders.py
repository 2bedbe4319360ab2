"""stakeholders.yaml: the people who may decide at the gates.

    people:
      - {name: Ada, role: legal}

With nobody named, anyone who can open the run may answer.
"""

from __future__ import annotations

from pathlib import Path

from prefect_ratify.records import Record
from prefect_ratify.scenarios.located_yaml import Located, load_yaml


class Person(Record):
    """Somebody who may decide, and as what."""

    name: str
    role: str = ""


def load_stakeholders(path: Path) -> tuple[Person, ...]:
    """Read the people; nobody where there is no file, InputError with file and line."""
    if not path.exists():
        return ()
    top = load_yaml(path).mapping("people")
    people: list[Person] = []
    for node in top["people"].sequence() if "people" in top else []:
        person = _person(node)
        if person.name.lower() in (other.name.lower() for other in people):
            raise node.error(f"{person.name!r} stands here a second time", "give each person their own name")
        people.append(person)
    return tuple(people)


def find_person(people: tuple[Person, ...], name: str) -> Person | None:
    """The person of that name, in any case; with nobody named, whoever gives a name."""
    name = name.strip()
    if not people:
        return Person(name=name) if name else None
    return next((person for person in people if person.name.lower() == name.lower()), None)


def _person(node: Located) -> Person:
    fields = node.mapping("name", "role")
    if "name" not in fields:
        raise node.error("a person has no name", "write '- {name: …, role: …}'")
    return Person(name=fields["name"].text().strip(), role=fields["role"].text() if "role" in fields else "")
