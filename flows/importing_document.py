"""`ratify import document`: a long policy in Markdown becomes a draft policy, scenarios and precedents.

Rules place what they are sure of, and a model may place more; neither changes a word. import.md lists
what became of every line, what could not be placed first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError
from prefect_ratify.flows.document_draft import Draft, draft
from prefect_ratify.flows.drafting import require_free, write_project
from prefect_ratify.policy_modules.guards import LONGEST_CLAUSE, is_one_clause
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.passages import Passage, Placed, place_passages, plan_words
from prefect_ratify.progress import say
from prefect_ratify.scenarios.document import Block, load_document, wording
from prefect_ratify.scenarios.document_pieces import Entry
from prefect_ratify.scenarios.placing import place

MOST_CLAUSES = 1000  # of one policy: far more than people can read at a gate


def planned(folder: Path, source: Path, model_name: str, *, replace: bool = False) -> str:
    """How many calls placing the rest by a model takes at most; asks and writes nothing."""
    require_free(folder, replace=replace)
    blocks, entries = _read(source)
    path = folder / ".ratify" / "calls.sqlite"
    store = CallStore(path) if path.exists() else None
    return plan_words(_passages(blocks, entries), open_model(model_name, greet=False), store)


def import_document(
    folder: Path, source: Path, *, model_name: str = "", budget: Budget | None = None, replace: bool = False
) -> Draft:
    """Make a project of a document, or its policy anew; InputError for what is wrong, and then nothing is written.

    But for a model's answers, which are kept. Scenarios are added to a scenarios.yaml that is there,
    and rulings to precedents.jsonl, where they replace those of a former import of the document.
    """
    require_free(folder, replace=replace)
    blocks, entries = _read(source)
    if model_name:
        entries = _placed_by_model(folder, blocks, entries, model_name, Spending(budget or Budget()))
    clauses = sum(entry.became == "clause" for entry in entries)
    if clauses > MOST_CLAUSES:
        raise InputError(f"{clauses:,} clauses, and a policy may have {MOST_CLAUSES:,}", "give its parts", path=source)
    if not clauses:
        more = "" if model_name else ", or let a model look for them (--refiner MODEL)"
        raise InputError(
            "no sentence says in its own words what the model must, should or must not do",
            f"write some with those words{more}",
            path=source,
        )
    made = draft(folder, source, blocks, entries)
    return dataclasses.replace(made, kept=write_project(folder, made.files))


def _read(source: Path) -> tuple[list[Block], list[Entry]]:
    text, blocks = load_document(source)
    return blocks, place(text, blocks, _is_clause)


def _is_clause(text: str) -> bool:
    return len(text) <= LONGEST_CLAUSE and is_one_clause(text)


def _placed_by_model(
    folder: Path, blocks: Sequence[Block], entries: Sequence[Entry], model_name: str, spending: Spending
) -> list[Entry]:
    """The same, with those that rules could not place as a model places them; says first what that takes."""
    places, passages = _open(blocks, entries), _passages(blocks, entries)
    if not passages:
        return list(entries)
    model = open_model(model_name)
    store = CallStore(folder / ".ratify" / "calls.sqlite")
    say(plan_words(passages, model, store))
    found = dict(zip(places, place_passages(passages, model, store, spending), strict=True))
    told = {_key(entry.used): entry.line for entry in entries if entry.became == "clause"}
    return [_as_placed(entry, found[n], model.name, told) if n in found else entry for n, entry in enumerate(entries)]


def _open(blocks: Sequence[Block], entries: Sequence[Entry]) -> list[int]:
    """The places of what a model is asked about: text that is neither code, HTML nor an answer."""
    kinds = ("paragraph", "item", "cell")
    return [
        place
        for place, entry in enumerate(entries)
        if entry.became == "not placed" and entry.block >= 0 and blocks[entry.block].kind in kinds and entry.is_sentence
    ]


def _passages(blocks: Sequence[Block], entries: Sequence[Entry]) -> list[Passage]:
    found = (entries[place] for place in _open(blocks, entries))
    return [Passage(headings=entry.path, text=wording(entry.text)) for entry in found]


def _as_placed(entry: Entry, placed: Placed, model: str, told: dict[str, int]) -> Entry:
    """An entry as a model placed it; a clause that stands there already is a duplicate."""
    by = f"placed by {model}"
    if placed.kind == "context":
        return dataclasses.replace(entry, became="context", why=by)
    if placed.kind == "request":
        return dataclasses.replace(entry, became="scenario", used=placed.text, why=by)
    if placed.kind == "none":
        return dataclasses.replace(entry, why=f"{entry.why}; {placed.why}")
    if _key(placed.text) in told:
        why = f"{by}; says the same as line {told[_key(placed.text)]}"
        return dataclasses.replace(entry, became="duplicate", used=placed.text, why=why)
    if not _is_clause(placed.text):
        return dataclasses.replace(entry, why=f"{entry.why}; what {model} made of it cannot be one clause")
    told[_key(placed.text)] = entry.line
    return dataclasses.replace(entry, became="clause", used=placed.text, why=by)


def _key(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".!")
