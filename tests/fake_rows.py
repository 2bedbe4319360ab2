"""Rows as a data stage writes them, of which a test says the little that it is about."""

from __future__ import annotations

from prefect_ratify.records import Message, Policy, Scenario, digest
from prefect_ratify.training_rows import Demonstration, Provenance


def demonstration(scenario: Scenario, text: str, policy: Policy, model: str, method: str, seed: int) -> Demonstration:
    """One supervised row."""
    return Demonstration(
        prompt=scenario.messages,
        completion=(Message(role="assistant", content=text),),
        provenance=Provenance(
            scenario_id=scenario.id,
            clause_ids=scenario.clause_ids,
            policy=digest(policy),
            model=model,
            method=method,
            seed=seed,
        ),
    )
