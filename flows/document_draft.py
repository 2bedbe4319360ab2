"""A draft project out of the pieces of a policy document: policy, suite and precedents, with their places in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_ratify.errors import InputError, one_line, readable
from prefect_ratify.flows.drafting import kept_apart, policy_text
from prefect_ratify.policy import made_id, parse_policy, polarity_of, read_text, render_policy
from prefect_ratify.records import Clause, Definition, Message, Policy, Precedent
from prefect_ratify.scenarios.appending import append_scenarios
from prefect_ratify.scenarios.document import Block
from prefect_ratify.scenarios.document_examples import Places, places_of
from prefect_ratify.scenarios.document_pieces import OPENING, Entry
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.scenarios.precedents import load_precedents
from prefect_ratify.scenarios.suite import Suite, load_suite

HELD_OUT_EVERY = 3
LONGEST_CONTEXT = 1500  # characters of a document's opening, which a model is told
LONGEST_NOTE = 600  # characters
HEADER = """\
# Requests that the policy document quotes. Replace them by requests that real users make, or add some,
# and give each clause a check where one can decide it (`ratify init` shows how).
scenarios:
"""


@dataclass(frozen=True)
class Piece:
    """A piece of a document, with the id of the clause or scenario that it became, or that it shows."""

    entry: Entry
    id: str = ""
    why: str = ""


@dataclass(frozen=True)
class Draft:
    """What is written into a project; `starter` says whether scenarios.yaml is new, `kept` where policy.md went."""

    source: Path
    policy: Policy
    pieces: tuple[Piece, ...]
    added: int
    scenarios: int
    precedents: int
    starter: bool
    files: dict[str, str]
    kept: Path | None = None


def draft(folder: Path, source: Path, blocks: Sequence[Block], entries: Sequence[Entry]) -> Draft:
    """All that is to be written; InputError where the scenarios that are there do not go with the new policy."""
    from prefect_ratify.flows.document_text import markdown

    places, ids = places_of(entries, blocks), _clause_ids(entries)
    shown = {at: places.shown_by(at) for at, entry in enumerate(entries) if entry.became == "example"}
    bound = {at: ids[clause] for at, clause in shown.items() if isinstance(clause, Entry)}
    unclear = {at: why for at, why in shown.items() if isinstance(why, str)}
    policy = _policy(source, entries, ids, bound)
    candidates = _candidates(source, places, ids, bound)
    suite_text, suite, before = _suite(folder, policy, candidates)
    asked = (*suite.scenarios, *suite.unrelated) if suite else ()
    scenario_ids = {_key(scenario.query): scenario.id for scenario in asked}
    pieces = []
    for at, entry in enumerate(entries):
        name = bound.get(at, "") or ids.get(entry, "")
        if entry.became == "scenario":
            name = scenario_ids.get(_key(entry.used), "")
        pieces.append(Piece(entry, name, unclear.get(at, "")))
    precedents = [_precedent(source, piece, scenario_ids) for piece in pieces if _is_precedent(piece)]
    files = {"policy.md": policy_text(policy, source), "scenarios.yaml": suite_text}
    files |= _rulings(folder / "precedents.jsonl", source, precedents)
    files["import.md"] = markdown(source, policy, pieces)
    return Draft(
        source=source,
        policy=policy,
        pieces=tuple(pieces),
        added=len(suite.scenarios) - before if suite else 0,
        scenarios=len(suite.scenarios) if suite else 0,
        precedents=len(precedents),
        starter=not (folder / "scenarios.yaml").exists(),
        files=files,
    )


def _is_precedent(piece: Piece) -> bool:
    return piece.entry.became == "example" and bool(piece.id and piece.entry.query)


def _clause_ids(entries: Sequence[Entry]) -> dict[Entry, str]:
    """An id from each clause's own words; with its line, where another has it already."""
    ids: dict[Entry, str] = {}
    taken: set[str] = set()
    for entry in entries:
        if entry.became == "clause":
            name = made_id(entry.used)
            ids[entry] = f"{name}-{entry.line}" if name in taken else name
            taken.add(ids[entry])
    return ids


def _policy(source: Path, entries: Sequence[Entry], ids: dict[Entry, str], bound: dict[int, str]) -> Policy:
    examples: dict[str, list[str]] = {}
    for at, name in bound.items():
        if not entries[at].query:
            examples.setdefault(name, []).append(_example_note(source, entries[at]))
    title = _title(source, entries)
    clauses = [
        Clause(
            id=name,
            text=entry.used,
            polarity=polarity_of(entry.used),
            notes=(_note(source, entry, title), *examples.get(name, ())),
        )
        for entry, name in ids.items()
    ]
    opening = " ".join(entry.used for entry in entries if entry.why == OPENING)
    definitions = tuple(_definition(entry.used) for entry in entries if entry.became == "definition")
    policy = Policy(title=title, context=opening, clauses=tuple(clauses), definitions=definitions)
    return policy if len(opening) <= LONGEST_CONTEXT and _reads_back(policy) else _without_extras(policy)


def _without_extras(policy: Policy) -> Policy:
    """Without an opening, and definitions, that policy.md cannot hold as they are; import.md lists them still."""
    bare = policy.model_copy(update={"context": ""})
    return bare if _reads_back(bare) else bare.model_copy(update={"definitions": ()})


def _reads_back(policy: Policy) -> bool:
    try:
        return parse_policy(render_policy(policy)) == policy
    except InputError:
        return False


def _title(source: Path, entries: Sequence[Entry]) -> str:
    headings = (one_line(entry.used, 100).strip("# ") for entry in entries if entry.became == "heading" and entry.used)
    return next((name for name in headings if name), one_line(source.stem, 100))


def _definition(text: str) -> Definition:
    term, _, meaning = text.partition(": ")
    return Definition(term=readable(term), text=readable(meaning))


def _note(source: Path, entry: Entry, title: str) -> str:
    """A clause's place: `handbook.md:12, under “Tone › Apologies”`, and how it was found, if not by its own words."""
    path = [name for name in entry.path if name and name != title]
    under = f", under “{' › '.join(path)}”" if path else ""
    how = f"; {entry.why}" if entry.why else ""
    return one_line(f"{source.name}:{entry.line}{under}{how}", LONGEST_NOTE)


def _example_note(source: Path, entry: Entry) -> str:
    return one_line(f"{'good' if entry.good else 'bad'} ({source.name}:{entry.line}): “{entry.used}”", LONGEST_NOTE)


def _candidates(source: Path, places: Places, ids: dict[Entry, str], bound: dict[int, str]) -> list[Candidate]:
    """Each query once, with the clauses of its place; those that a clause quotes are for development."""
    entries = places.entries
    touched: dict[str, list[str]] = {}
    for at, name in bound.items():
        touched.setdefault(_key(entries[at].query), []).append(name)
    quoted = {(entry.block, entry.text): name for entry, name in ids.items()}
    found: dict[str, Candidate] = {}
    free = 0
    for entry in entries:
        key = _key(entry.used)
        if entry.became != "scenario" or key in found:
            continue
        by_clause = quoted.get((entry.block, entry.text))
        about = [by_clause] if by_clause else [ids[clause] for clause in places.section(entry.path)]
        held_out = not by_clause and free % HELD_OUT_EVERY == 1
        free += not by_clause
        found[key] = Candidate(
            place=f"{source.name}:{entry.line}",
            id=made_id(entry.used),
            messages=(Message(role="user", content=entry.used),),
            clauses=tuple(dict.fromkeys([*about, *touched.get(key, ())])) or None,
            split="held_out" if held_out else "develop",
            source=one_line(f"{source.name}:{entry.line}", 200),
        )
    return kept_apart(list(found.values()), [entry.used for entry in ids])


def _suite(folder: Path, policy: Policy, candidates: Sequence[Candidate]) -> tuple[str, Suite | None, int]:
    """scenarios.yaml with the candidates, as a suite (None for one without any), and how many there were before."""
    path, audit = folder / "scenarios.yaml", folder / "audit.yaml"
    before = len(load_suite(path, policy).scenarios) if path.exists() else 0
    with TemporaryDirectory() as scratch:
        trial = Path(scratch, "scenarios.yaml")
        trial.write_bytes(path.read_bytes() if path.exists() else HEADER.encode())
        if audit.exists():
            shutil.copy(audit, scratch)
        append_scenarios(trial, policy, candidates)
        suite = load_suite(trial, policy) if before or candidates else None
        return read_text(trial), suite, before


def _precedent(source: Path, piece: Piece, scenario_ids: Mapping[str, str]) -> Precedent:
    entry = piece.entry
    return Precedent(
        scenario_id=scenario_ids[_key(entry.query)],
        response=entry.used,
        clause_id=piece.id,
        outcome="upheld" if entry.good else "violated",
        by=one_line(source.name, 100),
        reason=one_line(f"{source.name}:{entry.line} shows it as {'good' if entry.good else 'bad'}", 200),
    )


def _rulings(path: Path, source: Path, precedents: Sequence[Precedent]) -> dict[str, str]:
    """precedents.jsonl with these, in place of those that the same document gave before; none where it stays empty."""
    others = [ruling for ruling in load_precedents(path) if ruling.by != one_line(source.name, 100)]
    text = "".join(ruling.model_dump_json() + "\n" for ruling in dict.fromkeys([*others, *precedents]))
    return {"precedents.jsonl": text} if text or path.exists() else {}


def _key(text: str) -> str:
    """What makes two requests the same, as a suite sees it."""
    return " ".join(text.lower().split())
