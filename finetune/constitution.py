"""Critique and revision with a capable model: Constitutional AI's supervised phase.

After Bai et al. 2022 (arXiv 2212.08073, section 3.1): the model's own answer, a critique of it
by one clause, a revision that heeds the critique; then the next clause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prefect_ratify.records import Clause, Critique, Policy, Response, Revision, Scenario


class Critic(Protocol):
    """Criticises and revises many answers at once, in order; None where a call failed."""

    def critique(self, cases: Sequence[tuple[Scenario, str, Clause]]) -> list[Critique | None]: ...

    def revise(self, cases: Sequence[tuple[Scenario, str, Critique]]) -> list[Revision | None]: ...


def revise_all(
    scenarios: Sequence[Scenario], responses: Sequence[Response], policy: Policy, critic: Critic
) -> tuple[dict[str, tuple[Revision, ...]], dict[str, int]]:
    """Revise each scenario's answer by each clause that it touches, one clause after another.

    Returns the revisions by scenario id (the last one's text is the answer) and how many
    scenarios were lost at which clause; a lost scenario has no revisions.
    """
    texts = {response.scenario_id: response.text for response in responses if not response.error}
    revisions: dict[str, tuple[Revision, ...]] = dict.fromkeys(texts, ())
    lost: dict[str, int] = {}
    if len(texts) < len(scenarios):
        lost["no answer to revise"] = len(scenarios) - len(texts)
    for clause in policy.joined().clauses:
        open_ = [s for s in scenarios if s.id in revisions and clause.id in s.clause_ids]
        critiques = critic.critique([(s, texts[s.id], clause) for s in open_])
        cases = [(s, texts[s.id], c) for s, c in zip(open_, critiques, strict=True) if c is not None]
        revised = {s.id: r for (s, _, _), r in zip(cases, critic.revise(cases), strict=True) if r}
        for scenario in open_:
            revision = revised.get(scenario.id)
            if revision is None:
                del revisions[scenario.id]
                reason = f"no critique or revision for clause {clause.id}"
                lost[reason] = lost.get(reason, 0) + 1
            else:
                texts[scenario.id] = revision.text
                revisions[scenario.id] += (revision,)
    return revisions, lost
