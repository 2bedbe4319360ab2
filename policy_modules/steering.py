"""Steering: a condition whose model is told one thing more.

Sorensen et al. 2024 (arXiv 2402.05070, steerably pluralistic models and trade-off steerable
benchmarks) leave open how a model is steered. Here it is told in words, by the system prompt: after
the policy where there is one, alone for a model that is told nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prefect_ratify.records import Message, Policy
from prefect_ratify.scenarios.running import Condition


def steered(condition: Condition, told: str, to: str) -> Condition:
    """The condition with `told` at the end of its system prompt; its name says what it is steered `to`."""
    first, rest = condition.preamble[:1], condition.preamble[1:]
    if first and first[0].role == "system":
        told = f"{first[0].content}\n\n{told}"
    else:
        rest = condition.preamble
    name = f"{condition.name}, steered to {to}"
    return replace(condition, name=name, preamble=(Message(role="system", content=told), *rest))


def weighting_text(weights: Mapping[str, float], policy: Policy) -> str:
    """How much each of these clauses matters, in words, and that others count 1; the weightiest first."""
    by_weight = sorted((clause for clause in policy.clauses if clause.id in weights), key=lambda c: -weights[c.id])
    lines = [f"- {clause.text} ({weights[clause.id]:g})" for clause in by_weight]
    told = "Where you cannot do all that is asked for, what has the higher number matters more (others have 1):"
    return "\n".join([told, *lines])
