"""`ratify import votes`: a conversation's statements become a draft policy, its people's differences included.

The statements that every opinion group agrees with most become clauses. Those on which groups differ
stand in the policy's section of contested clauses, and are offered at the policy gate. All others,
those of minorities too, are listed in votes.md and votes.jsonl beside it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefect_ratify.errors import InputError, one_line
from prefect_ratify.flows.drafting import kept_apart, policy_text, require_free, suite_text, write_project
from prefect_ratify.flows.votes_text import markdown
from prefect_ratify.policy import made_id, polarity_of
from prefect_ratify.policy_modules.guards import LONGEST_CLAUSE, is_one_clause
from prefect_ratify.records import Clause, Message, Policy, Record
from prefect_ratify.scenarios.collective import Collective, Rated, by_standing, collective, opinion_words
from prefect_ratify.scenarios.consensus import Opinion
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.scenarios.suite import load_suite
from prefect_ratify.scenarios.votes import load_votes

MOST_SCENARIOS = 24
HELD_OUT_EVERY = 3
FEWEST_WORDS = 3  # of a statement that is asked about
HEADER = """\
# Questions to start with, made from statements that are not clauses by putting “Do you agree?” behind
# each; those first on which people agree least. Nobody has asked them so. Replace them by requests that
# real users make, and give each clause a check where one can decide it (`ratify init` shows how).
scenarios:
"""


class Listed(Record):
    """A statement in votes.jsonl: `clause` is the id of the clause that it is, in force or contested."""

    id: int
    text: str
    same: tuple[int, ...]
    moderated: int
    clause: str
    opinion: Opinion


@dataclass(frozen=True)
class Draft:
    """What is written into a project; `starter` says whether scenarios.yaml is new, `kept` where policy.md went."""

    found: Collective
    policy: Policy
    listed: tuple[Listed, ...]
    files: dict[str, str]
    scenarios: int
    starter: bool
    kept: Path | None = None


def import_votes(folder: Path, source: Path, *, top: int = 20, groups: str = "", replace: bool = False) -> Draft:
    """Make a project of a conversation, or its policy anew; InputError for what is wrong, and then nothing is written.

    A scenarios.yaml that is there stays; a policy.md only without `replace`, which keeps it in variants/former/.
    """
    require_free(folder, replace=replace)
    draft = _draft(folder, source, top, groups)
    return dataclasses.replace(draft, kept=write_project(folder, draft.files))


def _draft(folder: Path, source: Path, top: int, groups: str) -> Draft:
    """All that is to be written, tried out in another place."""
    found = _collective(source, groups)
    policy, ids = _policy(found, top, source)
    listed = tuple(_as_listed(each, ids) for each in found.rated)
    starter = not (folder / "scenarios.yaml").exists()
    files = {"policy.md": policy_text(policy, source)} | _lists(found, policy, listed)
    if starter:
        questions = _questions(found, policy, ids)
        files["scenarios.yaml"], count = suite_text(HEADER, policy, questions)
    else:
        count = _scenarios_there(folder, policy)
    return Draft(found, policy, listed, files, count, starter)


def _collective(source: Path, groups: str) -> Collective:
    try:
        return collective(load_votes(source), groups)
    except InputError as error:
        raise error if str(error).startswith(str(source)) else InputError(str(error), path=source) from None


def _as_listed(each: Rated, ids: dict[int, str]) -> Listed:
    said = each.statement
    clause = ids.get(said.id, "")
    return Listed(
        id=said.id, text=said.text, same=said.same, moderated=said.moderated, clause=clause, opinion=each.opinion
    )


def _lists(found: Collective, policy: Policy, listed: Sequence[Listed]) -> dict[str, str]:
    """Every statement with its votes, for people and for machines."""
    lines = "".join(each.model_dump_json() + "\n" for each in listed)
    return {"votes.jsonl": lines, "votes.md": markdown(found, policy, {each.id: each.clause for each in listed})}


def _policy(found: Collective, top: int, source: Path) -> tuple[Policy, dict[int, str]]:
    """The draft policy, and which statement became which clause."""
    usable = [each for each in found.rated if _is_clause(each.statement.text)]
    chosen = [each for each in usable if _agreed(each.opinion)][:top]
    divided = [each for each in by_standing(found)["contested"] if _is_clause(each.statement.text)][:top]
    if not chosen:
        raise InputError(
            f"no statement can be a clause: {len(divided)} are contested, and with no other do most people agree",
            "try other groups (--groups)",
            path=source,
        )
    ids: dict[int, str] = {}
    clauses, contested = ([_clause(each, ids) for each in part] for part in (chosen, divided))
    people = int((~np.isnan(found.votes.matrix)).any(axis=1).sum())
    policy = Policy(
        title=_title(found.votes.topic),
        context=f"{people} people wrote these clauses as statements, and voted on them.",
        clauses=tuple(clauses),
        contested=tuple(contested),
    )
    return policy, ids


def _agreed(opinion: Opinion) -> bool:
    """Whether a statement may be a clause: every group has voted on it, none is shown to differ, most of all agree."""
    heard = opinion.standing in ("consensus", "unclear") and all(group.votes for group in opinion.groups)
    return heard and (opinion.everyone.share or 0.0) > 0.5


def _is_clause(text: str) -> bool:
    return len(text) <= LONGEST_CLAUSE and is_one_clause(text)


def _clause(each: Rated, ids: dict[int, str]) -> Clause:
    """A statement as a clause, with its support as its note; its id is added to `ids`."""
    statement, made = each.statement, made_id(each.statement.text)
    ids[statement.id] = f"{made}-{statement.id}" if made in ids.values() else made
    also = f", with {', '.join(map(str, statement.same))}, which say the same" if statement.same else ""
    note = f"Statement {statement.id}{also}; {opinion_words(each.opinion)}"
    return Clause(id=ids[statement.id], text=statement.text, polarity=polarity_of(statement.text), notes=(note,))


def _title(topic: str) -> str:
    title = one_line(re.sub(r"^[#\s]+|[#\s]+$", "", topic), 100)
    return title or "What people agree on"


def _questions(found: Collective, policy: Policy, ids: dict[int, str]) -> list[Candidate]:
    """Statements that are no clause in force, as questions; those first on which people agree least."""
    in_force = set(policy.clause_ids)
    left = [
        each
        for each in reversed(found.rated)
        if ids.get(each.statement.id) not in in_force
        and len(each.statement.text.split()) >= FEWEST_WORDS
        and len(each.statement.text) <= LONGEST_CLAUSE
    ][:MOST_SCENARIOS]
    scenarios = [_question(place, each) for place, each in enumerate(left)]
    told = [clause.text for clause in (*policy.clauses, *policy.contested)]
    return kept_apart(scenarios, told)


def _question(place: int, each: Rated) -> Candidate:
    statement = each.statement
    return Candidate(
        place=f"statement {statement.id}",
        id=f"statement-{statement.id}",
        messages=(Message(role="user", content=f"“{statement.text}” Do you agree?"),),
        tags=(each.opinion.standing,),
        split="held_out" if place % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "develop",
        source=f"statement {statement.id} of the votes, put as a question",
    )


def _scenarios_there(folder: Path, policy: Policy) -> int:
    """How many scenarios stay; InputError where they name clauses that the new policy has not."""
    return len(load_suite(folder / "scenarios.yaml", policy).scenarios)
