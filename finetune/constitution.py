"""Critique and revision with a capable model: Constitutional AI's supervised phase.

After Bai et al. 2022 (arXiv 2212.08073, section 3.1): the model's own answer, a critique of it by
one clause, a revision that heeds the critique; then the next clause. The paper draws principles at
random; here those come first that the answer violates, and the others have their turn evenly.
"""

from __future__ import annotations

from prefect_ratify.call_store import Asking
from prefect_ratify.finetune.clause_sampling import drawn_clauses
from prefect_ratify.finetune.row_making import Lost, RowMaking, Written
from prefect_ratify.finetune.shards import RowPlace
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.records import Clause, Scenario
from prefect_ratify.scenarios.judging import verdicts_on
from prefect_ratify.scenarios.running import call_for, response_to
from prefect_ratify.training_rows import Critique, Revision

METHOD = "critique and revision"


async def revised(
    scenario: Scenario, place: RowPlace, critic: ModelCritic, making: RowMaking, asking: Asking
) -> Written:
    """The own answer to a scenario, revised by as many clauses as there are rounds; Lost where a step gave nothing."""
    own = making.own
    answer = await asking.ask(own.model, call_for(scenario, place.sample, own, making.sampling, making.seed))
    if answer.error or not answer.text:
        raise Lost(f"no answer to revise ({answer.error or 'it is empty'})")
    response = response_to(scenario, place.sample, own, answer)
    before = await verdicts_on(response, scenario, making.by, asking)
    violated = {verdict.clause_id for verdict in before if verdict.outcome == "violated"}
    text, revisions = answer.text, list[Revision]()
    for clause in _clauses(scenario, place, violated, making):
        revision = await _revision(scenario, text, clause, critic, asking)
        text, revisions = revision.text, [*revisions, revision]
    return Written(text, critic.model, METHOD, critic.wording, answer.text, before, tuple(revisions))


def rounds(touched: int, wanted: int) -> int:
    """How many critiques and revisions a row has: one for each clause at most, and for 0 one for each."""
    return min(touched, wanted or touched)


def _clauses(scenario: Scenario, place: RowPlace, violated: set[str], making: RowMaking) -> list[Clause]:
    """The clauses that a row is revised by, in their order."""
    count = rounds(len(scenario.clause_ids), making.data.rounds)
    ids = tuple(making.clauses)
    drawn = drawn_clauses(ids, scenario.clause_ids, place.place, making.seed, first=violated, count=count)
    return [making.clauses[clause_id] for clause_id in drawn]


async def _revision(scenario: Scenario, text: str, clause: Clause, critic: ModelCritic, asking: Asking) -> Revision:
    critique = await critic.critique(scenario, text, clause, asking)
    revision = await critic.revise(scenario, text, critique, asking) if isinstance(critique, Critique) else critique
    if isinstance(revision, str):
        raise Lost(f"{revision}, for clause {clause.id}")
    return revision
