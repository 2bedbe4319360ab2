"""Running a suite: a condition answers scenarios, each several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ratify.language_models import CallStore, LanguageModel
from prefect_ratify.records import Call, Message, Response, Sampling, Scenario, seed_from


@dataclass(frozen=True)
class Condition:
    """One way to get answers: a model, and the messages put before a scenario's own.

    The shipped ones are `base` (nothing before), `draft` and `refined` (a policy as system
    prompt), `examples` (the same with every worked example) and `finetuned`.
    """

    name: str
    model: LanguageModel
    preamble: tuple[Message, ...] = ()


def run(
    scenarios: Sequence[Scenario],
    condition: Condition,
    store: CallStore,
    *,
    sampling: Sampling,
    samples: int,
    seed: int = 0,
) -> list[Response]:
    """Answer each scenario `samples` times under a condition, in the order of the scenarios.

    Sample k of a scenario has the same seed under every condition, whatever else is run, so
    that conditions are paired and a larger run reuses a smaller one's answers. A call that
    fails is a Response with its `error`.
    """
    asked = [(scenario, sample) for scenario in scenarios for sample in range(samples)]
    calls = [
        Call(
            messages=condition.preamble + scenario.messages,
            sampling=sampling,
            seed=seed_from(seed, scenario.id, sample),
        )
        for scenario, sample in asked
    ]
    answers = store.complete(condition.model, calls, label=f"{condition.name} answers")
    return [
        Response(
            scenario_id=scenario.id,
            condition=condition.name,
            sample=sample,
            text=answer.text,
            finished=answer.finished,
            model=condition.model.name,
            error=answer.error,
        )
        for (scenario, sample), answer in zip(asked, answers, strict=True)
    ]
