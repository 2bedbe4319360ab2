"""The judge: a model's verdict on a response, clause by clause, for what checks cannot decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect_ratify.language_models import CallStore, LanguageModel
from prefect_ratify.policy_modules.models import StoreEngine, predict_all
from prefect_ratify.records import Clause, Response, Sampling, Scenario, Verdict
from prefect_ratify.scenarios.judging import JudgeModel, undecided

SAMPLING = Sampling(temperature=0.0, max_tokens=400)


def judge_with(model: LanguageModel, store: CallStore) -> JudgeModel:
    """A judge by that model; an answer that cannot be parsed is an undecided verdict."""
    from prefect_ratify.policy_modules.signatures import JudgeClause, fenced

    engine = StoreEngine(model, store, SAMPLING)

    def judge_cases(cases: Sequence[tuple[Scenario, Response, Clause]]) -> list[Verdict]:
        inputs = [
            {
                "clause": clause.text,
                "conversation": fenced(conversation(scenario)),
                "response": fenced(response.text),
            }
            for scenario, response, clause in cases
        ]
        predictions = predict_all(JudgeClause, inputs, engine)
        return [
            _verdict(response, clause, prediction, model.name)
            for (_, response, clause), prediction in zip(cases, predictions, strict=True)
        ]

    return judge_cases


def conversation(scenario: Scenario) -> str:
    """A scenario's turns as text."""
    return "\n".join(f"{message.role}: {message.content}" for message in scenario.messages)


def _verdict(response: Response, clause: Clause, prediction: Any, by: str) -> Verdict:
    if prediction is None:
        return undecided(response, clause.id, "the judge gave no usable answer", by)
    return Verdict(
        scenario_id=response.scenario_id,
        condition=response.condition,
        sample=response.sample,
        clause_id=clause.id,
        outcome=prediction.verdict,
        confidence=min(max(float(prediction.confidence), 0.0), 1.0),
        reason=str(prediction.reason),
        judge=by,
    )
