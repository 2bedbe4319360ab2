"""What many votes come to, in Markdown for the project and in lines for the terminal.

Statements are people's words: escaped in Markdown, and on one line without control characters here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prefect_ratify.errors import one_line
from prefect_ratify.flows.drafting import next_steps
from prefect_ratify.flows.markdown import escaped, table
from prefect_ratify.records import Policy
from prefect_ratify.scenarios.collective import (
    Collective,
    Fit,
    Rated,
    by_standing,
    group_name,
    opinion_words,
    support_words,
)
from prefect_ratify.scenarios.consensus import Standing
from prefect_ratify.scenarios.opinion_groups import FEWEST_VOTES, NOBODY

if TYPE_CHECKING:
    from prefect_ratify.flows.importing_votes import Draft

SHOWN = 5  # statements of a kind at the terminal; votes.md has all
MEANING: dict[Standing, str] = {
    "consensus": "more than half of every group agree",
    "contested": "more than half of one group agree and less than half of another, and their intervals lie apart",
    "unclear": "too few votes to say whether the groups differ",
    "minority": "at most half of every group agree",
}


def told(draft: Draft, source: Path, folder: Path) -> list[str]:
    """The lines that an import ends with."""
    first, *rest = _found(draft.found)
    details = [f"  {one_line(line)}" for line in (*rest, *_listed(draft.found))]
    return [one_line(f"{source}: {first}"), *details, *(one_line(line) for line in _written(draft, folder))]


def _found(found: Collective) -> Iterator[str]:
    votes = found.votes
    cast = ~np.isnan(votes.matrix)
    silent = int((~cast.any(axis=1)).sum())
    same = sum(len(statement.same) for statement in votes.statements)
    unseen = sum(statement.moderated == 0 for statement in votes.statements)
    yield (
        f"{len(votes.people)} people ({silent} without a vote), {int(cast.sum())} votes on {len(votes.statements)} "
        f"statements; left out: {found.rejected} that moderators rejected, {same} that say what another says; "
        f"{int((~cast.any(axis=0)).sum())} have no vote, {unseen} were not moderated"
    )
    if votes.turned:
        yield "votes of −1 were read as agreement, as comments.csv counts them"
    if votes.miscounted:
        yield f"comments.csv counts {votes.miscounted} statements otherwise than the votes do; the votes are used"
    yield _groups(found)
    if found.fit:
        yield from _fit(found.fit)


def _groups(found: Collective) -> str:
    sizes = ", ".join(f"{group_name(place)} {size}" for place, size in enumerate(found.groups.sizes))
    outside = int((found.groups.labels == NOBODY).sum())
    tried = ", ".join(f"{k}: {value:.2f}" for k, value in sorted(found.groups.silhouettes.items()))
    silhouettes = f"; silhouettes by number of groups {tried}" if tried else ""
    return f"opinion groups: {sizes}; in none: {outside} (fewer than {FEWEST_VOTES} votes){silhouettes}"


def _fit(fit: Fit) -> Iterator[str]:
    yield (
        f"the file's own {fit.groups} groups: {fit.together:.0%} of people are in the same one "
        f"(adjusted Rand index {fit.rand:.2f}; 1 is the same, 0 chance)"
    )
    if fit.by_number is not None and fit.by_number > 0.5 > fit.rand:
        yield (
            f"given out in the order of participants' numbers they fit far better ({fit.by_number:.2f}): "
            "the column group-id seems to stand in another order than its rows"
        )
    if fit.published is not None:
        yield (
            "the file's columns group_…_consensus are agrees / votes in its own groups "
            f"(largest difference {fit.published:.6f})"
        )


def _listed(found: Collective) -> Iterator[str]:
    parts = by_standing(found)
    yield "statements: " + ", ".join(f"{len(rated)} {name}" for name, rated in parts.items())
    for name in ("contested", "minority"):
        rated = parts[name]
        for each in rated[:SHOWN]:
            yield f"{name}: {one_line(each.statement.text, 200)} ({opinion_words(each.opinion)})"
        if len(rated) > SHOWN:
            yield f"{name}: {len(rated) - SHOWN} more in votes.md"


def _written(draft: Draft, folder: Path) -> Iterator[str]:
    policy, by_id = draft.policy, {each.clause: each.opinion for each in draft.listed}
    agreed = [by_id[clause.id].consensus for clause in policy.clauses]
    divided = len(by_standing(draft.found)["contested"])
    yield (
        f"{folder / 'policy.md'}: {len(policy.clauses)} clauses (group-aware consensus {agreed[0]:.2f} to "
        f"{agreed[-1]:.2f}); {len(policy.contested)} of {divided} contested ones, not in force: people may take them "
        "at the policy gate"
    )
    if draft.kept:
        yield f"the former policy is kept in {draft.kept}"
    what = "questions made from other statements, to start with" if draft.starter else "scenarios stay as they were"
    yield f"{folder / 'scenarios.yaml'}: {draft.scenarios} {what}"
    if not draft.scenarios:
        yield "no statement is left to ask about: write scenarios before you go on"
    yield f"{folder / 'votes.md'}: every statement with its votes, those of minorities too; votes.jsonl for machines"
    yield next_steps(folder)


def markdown(found: Collective, policy: Policy, clause_of: Mapping[int, str]) -> str:
    """votes.md: how people were grouped, and every statement, by how it stands."""
    opening = [f"- {escaped(line)}" for line in _found(found)]
    parts = [f"# Votes: {escaped(policy.title)}", "\n".join(opening)]
    for name, rated in by_standing(found).items():
        rows = [_row(each, clause_of.get(each.statement.id, "")) for each in rated]
        head = ["", "statement", "all", *_names(found), "consensus", "clause"]
        body = table(head, rows) if rows else "None."
        parts.append(f"## {name.capitalize()} ({len(rated)})\n\n{MEANING[name].capitalize()}.\n\n{body}")
    shares = "Shares are of voters who agree, with Wilson's 95 % interval. The consensus is the product over groups of"
    parts.append(f"{shares} (agrees + 1) / (votes + 2).")
    return "\n\n".join(parts) + "\n"


def _names(found: Collective) -> Sequence[str]:
    return [group_name(place) for place in range(len(found.groups.sizes))]


def _row(each: Rated, clause: str) -> list[str]:
    same = f" (also {', '.join(map(str, each.statement.same))})" if each.statement.same else ""
    shares = [support_words(support) for support in (each.opinion.everyone, *each.opinion.groups)]
    cells = [str(each.statement.id), escaped(each.statement.text) + same, *map(escaped, shares)]
    return [*cells, f"{each.opinion.consensus:.2f}", escaped(clause)]
