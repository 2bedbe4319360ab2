"""Preference pairs sampled from the tuned model itself (on-policy), ranked by verdicts.

After Bai et al. 2022 (arXiv 2212.08073, section 4.1), with the clauses' verdicts in place of
a feedback model. Pairs from the untuned model were tried and broke the student: its answers
lie too far from the chosen ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from prefect_ratify.finetune.composing import whole_sentences
from prefect_ratify.records import (
    Message,
    Policy,
    PreferencePair,
    Provenance,
    Response,
    Scenario,
    Verdict,
    digest,
)


def prefer(
    scenarios: Sequence[Scenario], responses: Sequence[Response], verdicts: Sequence[Verdict], policy: Policy, seed: int
) -> list[PreferencePair]:
    """For each scenario, its best answer against its worst, where they differ in clauses upheld.

    An answer that the token limit cut ends with its last whole sentence: as it stands it would
    teach the model not to end.
    """
    scores = _scores(verdicts)
    by_scenario: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        text = response.text if response.finished else whole_sentences(response.text)
        if text and not response.error:
            by_scenario[response.scenario_id].append(response.model_copy(update={"text": text}))
    pairs = []
    for scenario in scenarios:
        ranked = sorted(by_scenario[scenario.id], key=lambda r: (scores[r.scenario_id, r.sample], -r.sample))
        if len(ranked) > 1:
            worst, best = ranked[0], ranked[-1]
            if scores[best.scenario_id, best.sample] > scores[worst.scenario_id, worst.sample]:
                pairs.append(_pair(scenario, best, worst, policy, seed))
    return pairs


def turned_round(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on unrelated requests, where a clause's behaviour is what should not show."""
    other = {"upheld": "violated", "violated": "upheld"}
    return [v.model_copy(update={"outcome": other.get(v.outcome, v.outcome)}) for v in verdicts]


def _scores(verdicts: Sequence[Verdict]) -> Mapping[tuple[str, int], float]:
    """Share of decided clauses upheld, by scenario id and sample."""
    upheld: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.outcome in ("upheld", "violated"):
            upheld[verdict.scenario_id, verdict.sample].append(verdict.outcome == "upheld")
    return defaultdict(float, {key: sum(values) / len(values) for key, values in upheld.items()})


def _pair(scenario: Scenario, best: Response, worst: Response, policy: Policy, seed: int) -> PreferencePair:
    return PreferencePair(
        prompt=scenario.messages,
        chosen=(Message(role="assistant", content=best.text),),
        rejected=(Message(role="assistant", content=worst.text),),
        provenance=Provenance(
            scenario_id=scenario.id,
            clause_ids=scenario.clause_ids,
            policy=digest(policy),
            model=best.model,
            method="sampled from the tuned model, ranked by verdicts",
            seed=seed,
        ),
    )
