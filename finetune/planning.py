"""How many calls rows take at most: what a run says before it asks for any."""

from __future__ import annotations

from prefect_ratify.finetune.constitution import rounds
from prefect_ratify.finetune.row_making import RowMaking
from prefect_ratify.finetune.row_pairs import planned_pair_calls
from prefect_ratify.finetune.sentences import most_tries
from prefect_ratify.finetune.shards import Way
from prefect_ratify.policy_modules.critic import CALLS_A_ROUND
from prefect_ratify.records import Scenario


def planned_calls(scenario: Scenario, way: Way, making: RowMaking) -> int:
    """The calls that an answer to be learned takes at most, without judges' and those of its pairs.

    Sentences are written before, and not among them. A row that is lost on its way takes fewer.
    """
    if way == "own" or not scenario.clause_ids:
        return 1
    if way == "distil":
        return making.data.best_of
    return 1 + CALLS_A_ROUND * rounds(len(scenario.clause_ids), making.data.rounds) if way == "revise" else 0


def planned_in_all(scenario: Scenario, way: Way, making: RowMaking) -> int:
    """All calls that a row takes at most: judges', its pairs' and those for sentences among them."""
    own = planned_calls(scenario, way, making)
    touched = len(scenario.clause_ids)
    if way == "own" or not touched:
        return own
    judging = sum(
        len(making.by.judges_on(clause.id)) for clause in making.by.clauses(scenario) if not making.by.checks[clause.id]
    )
    # Judged are the answer before and after; of rows that no answer was revised for, one to hold against.
    times = making.data.best_of + 1 if way == "distil" else 2
    votes = making.data.votes if making.critic else 0
    pairs = planned_pair_calls(touched, votes, has_original=way == "revise")
    sentences = most_tries(scenario, making.suite) if way == "compose" else 0
    return own + times * judging + pairs + sentences
