"""What a search for a better wording is given, and what it gives back; see `clause_search.py` for ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.budget import Payment
from prefect_ratify.call_store import NOT_RUN
from prefect_ratify.clause_changes import ClauseChange, Failure, Refusal
from prefect_ratify.policy_modules.rewording import Parts, Proposal, Proposer
from prefect_ratify.records import Policy, Response, Scenario, Verdict, digest

Followed = tuple[list[Response], list[Verdict]]
Follow = Callable[[Policy, Sequence[Scenario]], Followed]


@dataclass(frozen=True)
class Candidate:
    """A policy that a search found, with the changes that led to it."""

    policy: Policy
    changes: list[ClauseChange]


@dataclass(frozen=True)
class SearchTask:
    """What a search is to do, and may.

    It begins at `start`: the draft, or what an earlier round made of it. `follow` answers scenarios
    under a policy and judges the answers by the draft's clauses. Of the development `scenarios` the
    first `selection` are used. `budget` bounds how many (policy, scenario) pairs are scored, and
    `room` says whether another policy may be tried at all; `spent` is what calls have come to.
    """

    draft: Policy
    start: Policy
    scenarios: Sequence[Scenario]
    follow: Follow
    propose: Proposer
    budget: int
    selection: int
    room: Callable[[], bool] = lambda: True
    spent: Callable[[], Payment] = Payment
    seed: int = 0

    @property
    def used(self) -> list[Scenario]:
        """The scenarios on which wordings are tried."""
        return selected(self.scenarios, self.selection)


@dataclass(frozen=True)
class Search:
    """What a search found: candidates, best first (the start is among them), and what was refused."""

    candidates: list[Candidate]
    refusals: list[Refusal]
    tried: int  # policies beside the start


def selected(scenarios: Sequence[Scenario], count: int) -> list[Scenario]:
    """The scenarios on which wordings are tried: the first, by a hash of their ids."""
    return sorted(scenarios, key=lambda scenario: digest(scenario.id))[:count]


def cut_short(found: Followed) -> bool:
    """Whether the budget ended before everything was answered and judged."""
    responses, verdicts = found
    return any(response.error == NOT_RUN for response in responses) or any(
        verdict.outcome == "undecided" and NOT_RUN in verdict.reason for verdict in verdicts
    )


def change_of(clause_id: str, old: Parts, proposed: Proposal, failures: Sequence[Failure]) -> ClauseChange:
    """A proposal as a step of its clause's lineage."""
    what = "put in two" if len(proposed.parts) > len(old) else "reworded"
    if [part.text for part in old] == [part.text for part in proposed.parts]:
        what = "worked examples added"
    return ClauseChange(
        clause_id=clause_id,
        old=old,
        new=proposed.parts,
        why=f"{what}: it failed in {len(failures)} answers to development scenarios",
        proposer=proposed.proposer,
        failures=tuple(failures),
        adds=proposed.adds,
    )


def share_upheld(decided: Mapping[str, float]) -> float | None:
    """The share of a response's decided clauses that it upholds; None where none was decided."""
    return sum(decided.values()) / len(decided) if decided else None


def outcomes(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """1 or 0 for each clause that was decided, of one response's verdicts."""
    return {v.clause_id: float(v.outcome == "upheld") for v in verdicts if v.outcome in ("upheld", "violated")}
