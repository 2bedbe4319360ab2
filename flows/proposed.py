"""Clauses that machines propose: people take them at the policy gate, or leave them.

A request for changes there whose comment has a line `take p-1a2b3c` takes a proposed clause, in its own
words or (`take p-1a2b3c: Say when help is near.`) in those of the line. What was taken is read from
the ledger each time: nothing else adds a clause to a run's policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.policy import polarity_of
from prefect_ratify.policy_modules.guards import LONGEST_CLAUSE, is_one_clause
from prefect_ratify.policy_modules.proposing import ProposedClause
from prefect_ratify.records import Clause, Policy, Scenario, digest
from prefect_ratify.store import read_records

if TYPE_CHECKING:
    from prefect_ratify.flows.project import Project

FILE = "proposals.jsonl"  # in the refine stage's folder
# A whole line: whoever writes "please don't take p-1a2b3c" takes nothing.
_TAKE = re.compile(
    r"^[ \t]*take[ \t]+`?(?P<id>p-[0-9a-f]{6})`?[ \t]*(?::[ \t]*(?P<text>.+))?$", re.IGNORECASE | re.MULTILINE
)


def with_taken(project: Project, run_folder: Path) -> Project:
    """The project with the clauses that people took at this run's policy gates.

    A taken clause touches the scenarios that it was proposed from, and those that touch all others.
    """
    found = taken(run_folder)
    clauses = [clause for clause, _ in found if clause.id not in project.policy.clause_ids]
    if not clauses:
        return project
    evidence = {clause.id: set(proposal.scenario_ids) for clause, proposal in found}
    everything = project.policy.clause_ids

    def touching(scenario: Scenario) -> Scenario:
        all_others = set(scenario.clause_ids) == set(everything)
        more = tuple(clause.id for clause in clauses if all_others or scenario.id in evidence[clause.id])
        return scenario.model_copy(update={"clause_ids": (*scenario.clause_ids, *more)})

    policy = project.policy.model_copy(update={"clauses": (*project.policy.clauses, *clauses)})
    suite = replace(project.suite, scenarios=tuple(touching(scenario) for scenario in project.suite.scenarios))
    return replace(project, policy=policy, suite=suite)


def taken(run_folder: Path) -> list[tuple[Clause, ProposedClause]]:
    """The proposed clauses that people took, each with the proposal; the words said last count."""
    rounds = {path.parents[1].name: read_records(path, ProposedClause) for path in _files(run_folder)}
    if not any(rounds.values()):
        return []
    found: dict[str, tuple[Clause, ProposedClause]] = {}
    for entry in read_ledger(run_folder):
        if (entry.gate, entry.decision, entry.refused) == ("policy", "request changes", ""):
            offered = {proposal.id: proposal for proposal in rounds.get(f"{entry.round}-policy", ())}
            found |= {clause.id: (clause, offered[clause.id]) for clause in _asked_for(entry, offered)}
    return list(found.values())


def contested_proposals(policy: Policy) -> list[ProposedClause]:
    """The policy's contested clauses, as clauses to take or leave; those that were taken stand in it already."""
    offered = [
        ProposedClause(
            id=f"p-{digest(['contested', clause.id])[:6]}",
            kind="contested",
            text=clause.text,
            why="; ".join(clause.notes) or "the group is divided on it",
            scenario_ids=(),
            clause_ids=(),
        )
        for clause in policy.contested
    ]
    return [proposal for proposal in offered if proposal.id not in policy.clause_ids]


def without_takes(comments: Sequence[str]) -> tuple[str, ...]:
    """Comments without the lines that take clauses: those ask nobody to reword anything."""
    left = (_TAKE.sub("", comment).strip() for comment in comments)
    return tuple(comment for comment in left if comment)


def why_not_taken(comment: str, stage_folder: Path) -> str:
    """Why the clauses that a comment takes cannot be taken; empty where they can, or it takes none.

    `stage_folder` is the refine stage's, whose proposals the comment is about.
    """
    offered = {proposal.id: proposal for proposal in read_records(stage_folder / FILE, ProposedClause)}
    for asked in _TAKE.finditer(comment):
        proposal = offered.get(asked["id"].lower())
        if proposal is None:
            return f"there is no proposed clause {asked['id']}; there are: {', '.join(offered) or 'none'}"
        text = asked["text"] or proposal.text
        if not text.strip():
            return f"the proposed clause {proposal.id} has no wording; give yours: take {proposal.id}: …"
        if len(text) > LONGEST_CLAUSE or not is_one_clause(text):
            return f"what stands after take {proposal.id} is not the text of one clause"
    return ""


def _files(run_folder: Path) -> Sequence[Path]:
    return sorted(run_folder.glob(f"rounds/*-policy/refine/{FILE}"))


def _asked_for(entry: LedgerEntry, offered: dict[str, ProposedClause]) -> list[Clause]:
    clauses = []
    for asked in _TAKE.finditer(entry.comment):
        proposal = offered.get(asked["id"].lower())
        text = " ".join((asked["text"] or (proposal.text if proposal else "")).split())
        if proposal and text:
            origin = ", ".join(proposal.scenario_ids) or f"a contested clause: {proposal.why}"
            note = f"taken by {entry.approver} at the policy gate; proposed from {origin}"
            clauses.append(Clause(id=proposal.id, text=text, polarity=polarity_of(text), notes=(note,)))
    return clauses
