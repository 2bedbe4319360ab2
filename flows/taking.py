"""`ratify variants --take`: clauses of variants into policy.md, all else of which stays as people wrote it.

The former policy.md is kept in variants/former/, so that nothing is lost: any of it can be taken back, or the
whole file to the byte. It is no variant: what was left behind is not tried, and paid for, at every run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.flows.versions import DRAFT, FORMER, Versions, asked, load_versions, with_clauses
from prefect_ratify.policy import clause_lines, load_policy, parse_policy, read_text, render_clause
from prefect_ratify.records import Clause, digest
from prefect_ratify.store import write_text

ORIGIN = "taken from variants/{}.md"
_ORIGIN = re.compile(r"^taken from variants/\S+\.md$")
_MARK = re.compile(r"^(?:[-*+]|\d+[.)])\s+")


@dataclass(frozen=True)
class Taken:
    """Which clauses came from which variant, and where the former policy.md is; None where nothing changed.

    `restored` is the former draft that was taken as it is, if one was.
    """

    clauses: dict[str, str]
    former: Path | None
    restored: Path | None = None


def take(folder: Path, wanted: Sequence[str]) -> Taken:
    """Write policy.md with the clauses that are wanted, `CLAUSE=VARIANT` or a `VARIANT` as a whole.

    Text, notes and examples of a taken clause are the variant's; where it has no notes, those that stood
    there stay, since they say why. A former draft (`former/NAME`, or its path) is restored as it was, byte
    for byte. InputError for what is wrong, and then nothing is written.
    """
    path = folder / "policy.md"
    former = next((found for word in wanted if (found := _former(folder, word))), None)
    if former:
        return _restored(folder, former, wanted)
    versions = load_versions(folder, with_former=True)
    chosen = _chosen(versions, wanted)
    taken = {i: clause for i, name in chosen.items() if (clause := _taken(versions, i, name)) is not None}
    if not taken:
        return Taken({}, None)
    old = path.read_bytes().decode("utf-8")
    new = _edited(old, read_text(path), taken)
    if parse_policy(_plain(new)) != with_clauses(versions.policy, taken):
        raise RatifyError(f"{path}: these clauses cannot be put in without changing more; nothing was written")
    kept = _keep(folder, old)
    write_text(path, new)
    return Taken({clause_id: chosen[clause_id] for clause_id in taken}, kept)


def _former(folder: Path, word: str) -> Path | None:
    """The former draft that a word names; None where it names none."""
    if "=" in word and not Path(word).is_file():
        return None
    named = folder / "variants" / f"{word.removesuffix('.md')}.md" if word.startswith(FORMER) else Path(word)
    return named if named.is_file() and named.resolve().parent == (folder / "variants" / "former").resolve() else None


def _restored(folder: Path, former: Path, wanted: Sequence[str]) -> Taken:
    if len(wanted) > 1:
        raise InputError(
            f"a former draft is taken as it was, and alone, not with {len(wanted) - 1} more",
            f"for a clause of it write CLAUSE={FORMER}{former.stem}",
        )
    load_policy(former)
    path = folder / "policy.md"
    old, new = (each.read_bytes().decode("utf-8") for each in (path, former))
    if old == new:
        return Taken({}, None)
    kept = _keep(folder, old)
    write_text(path, new)
    return Taken({}, kept, former)


def _keep(folder: Path, text: str) -> Path:
    """Keep a policy.md that is about to be written over."""
    path = folder / "variants" / f"{FORMER}draft-{digest(text)[:8]}.md"
    write_text(path, text)
    return path


def _chosen(versions: Versions, wanted: Sequence[str]) -> dict[str, str]:
    """Which clause is to come from which version; single clauses go before a variant as a whole."""
    whole = list(dict.fromkeys(word for word in wanted if "=" not in word))
    if len(whole) > 1:
        raise InputError(f"only one variant can be taken as a whole, not {', '.join(whole)}", "write CLAUSE=VARIANT")
    single: dict[str, str] = {}
    for word in (word for word in wanted if "=" in word):
        clause_id, _, name = word.partition("=")
        _require(versions, clause_id, name)
        if single.setdefault(clause_id, name) != name:
            raise InputError(f"the clause {clause_id!r} is to be taken from {single[clause_id]!r} and from {name!r}")
    names = [name for name in whole if name != DRAFT]
    return {clause_id: name for name in names for clause_id in versions.variant(name).own} | single


def _require(versions: Versions, clause_id: str, name: str) -> None:
    there = versions.policy.clause_ids if name == DRAFT else versions.variant(name).own
    if clause_id not in there:
        where = "policy.md" if name == DRAFT else f"variants/{name}.md"
        raise InputError(f"{where} has no clause {clause_id!r}", f"its clauses are: {', '.join(there)}")


def _taken(versions: Versions, clause_id: str, name: str) -> Clause | None:
    """The clause as it is to stand in policy.md; None where it stands there already."""
    ours, theirs = versions.clause(DRAFT, clause_id), versions.clause(name, clause_id)
    assert theirs is not None
    old = _notes(ours) if ours else ()
    notes = _notes(theirs) or old
    if ours and asked(ours) == asked(theirs) and notes == old:
        return None
    return theirs.model_copy(update={"notes": (*notes, ORIGIN.format(name))})


def _notes(clause: Clause) -> tuple[str, ...]:
    """What people noted, without where the clause was taken from."""
    return tuple(note for note in clause.notes if not _ORIGIN.match(note))


def _edited(raw: str, text: str, clauses: Mapping[str, Clause]) -> str:
    """The text of policy.md with these clauses: no other line changes, nor how lines end."""
    lines, places = raw.split("\n"), clause_lines(text)
    end = "\r" if lines[0].endswith("\r") else ""
    behind = max(place.stop for place in places.values())
    added = [line + end for i, clause in clauses.items() if i not in places for line in _lines(clause, "- ")]
    if added and behind == len(lines):  # the text ends without a line break, and goes on doing so
        lines[-1] += end
        added[-1] = added[-1].removesuffix(end)
    lines[behind:behind] = added
    for clause_id in sorted(clauses.keys() & places.keys(), key=lambda i: -places[i].start):
        place = places[clause_id]
        mark = _MARK.match(lines[place.start])
        last = "" if lines[place.stop - 1].endswith("\r") else end
        new = [line + end for line in _lines(clauses[clause_id], mark[0] if mark else "- ")]
        lines[place.start : place.stop] = [*new[:-1], new[-1].removesuffix(last)]
    return "\n".join(lines)


def _lines(clause: Clause, mark: str) -> list[str]:
    """A clause as lines of a list whose items begin with that mark."""
    first, *notes = render_clause(clause).split("\n")
    return [mark + first.removeprefix("- "), *(" " * len(mark) + note.lstrip() for note in notes)]


def _plain(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n")
