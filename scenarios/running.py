"""Running a suite: a condition answers scenarios, each several times; each answer is judged as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import NOT_RUN, Asking, CallStore, pooled
from prefect_ratify.errors import RatifyError
from prefect_ratify.event_loop import run as run_async
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.progress import Meter
from prefect_ratify.records import (
    Call,
    Completion,
    Message,
    Record,
    Response,
    Sampling,
    Scenario,
    Verdict,
    made,
    seed_from,
)
from prefect_ratify.scenarios.judging import NO_JUDGEMENT, verdicts_on
from prefect_ratify.scenarios.yardstick import CHECK, NOBODY, Yardstick


@dataclass(frozen=True)
class Condition:
    """One way to get answers: a model, and the messages put before a scenario's own.

    The shipped ones are `base` (nothing before), `draft` and `refined` (a policy as system
    prompt), `examples` (the same with every worked example) and `finetuned`.
    """

    name: str
    model: LanguageModel
    preamble: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """A condition's responses, scenario by scenario and sample by sample, and their verdicts."""

    responses: list[Response]
    verdicts: list[Verdict]


class Account(Record):
    """What became of every row that was asked for; `responses` and `verdicts` each add up to their total.

    `responses`: answered, not run, and failed by class of error. `verdicts`: by outcome, and for
    the undecided ones whether there was no response, nobody to decide, a judge who was not asked
    (there was no budget, or no endpoint) or gave no answer, or one who could not.
    """

    responses: dict[str, int]
    verdicts: dict[str, int]


Heard = Callable[[Response, Sequence[Verdict]], None]


def rows(scenarios: Sequence[Scenario], samples: int) -> list[tuple[Scenario, int]]:
    """What a run asks for: each scenario, `samples` times."""
    return [(scenario, sample) for scenario in scenarios for sample in range(samples)]


def call_for(scenario: Scenario, sample: int, condition: Condition, sampling: Sampling, seed: int) -> Call:
    """The call that answers a row.

    Sample k of a scenario has the same seed under every condition, whatever else is run, so
    that conditions are paired and a larger run reuses a smaller one's answers.
    """
    return Call(
        messages=condition.preamble + scenario.messages,
        sampling=sampling,
        seed=seed_from(seed, scenario.id, sample),
    )


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

    A call that fails is a Response with its `error`; RatifyError where all did.
    """
    asked = rows(scenarios, samples)
    calls = [call_for(scenario, sample, condition, sampling, seed) for scenario, sample in asked]
    answers = store.complete(condition.model, calls, label=f"{condition.name} answers")
    found = [response_to(*row, condition, answer) for row, answer in zip(asked, answers, strict=True)]
    _require_some(found, condition)
    return found


def evaluate(
    scenarios: Sequence[Scenario],
    condition: Condition,
    by: Yardstick,
    store: CallStore,
    *,
    sampling: Sampling,
    samples: int,
    seed: int = 0,
    spending: Spending | None = None,
    heard: Heard = lambda response, verdicts: None,
    label: str | None = None,
) -> Evaluation:
    """Answer each scenario `samples` times and judge every answer as soon as it is there.

    `heard` is told of each row when its verdicts are complete, in any order. `label` names the
    line of progress (an empty one shows none). RatifyError where the model gave no answer to any
    call.
    """
    asked = rows(scenarios, samples)
    found: dict[int, tuple[Response, list[Verdict]]] = {}

    async def work() -> None:
        with Meter(condition.name if label is None else label, len(asked), spending) as meter:
            async with Asking(store, meter) as asking:

                async def one(place: int) -> None:
                    scenario, sample = asked[place]
                    answer = await asking.ask(condition.model, call_for(scenario, sample, condition, sampling, seed))
                    response = response_to(scenario, sample, condition, answer)
                    found[place] = response, await verdicts_on(response, scenario, by, asking)
                    heard(*found[place])

                # As many rows as can wait for the one model, and as many again for each of the others.
                at_once = condition.model.at_once + sum(judge.model.at_once for judge in by.judges)
                await pooled(one, range(len(asked)), at_once)

    run_async(work())
    ordered = [found[place] for place in range(len(asked))]
    responses = [response for response, _ in ordered]
    _require_some(responses, condition)
    return Evaluation(responses, [verdict for _, verdicts in ordered for verdict in verdicts])


def account(evaluation: Evaluation) -> Account:
    """Count what became of every row."""
    return Account(
        responses=dict(Counter(_fate(response) for response in evaluation.responses)),
        verdicts=dict(Counter(_kind(verdict) for verdict in evaluation.verdicts)),
    )


def _fate(response: Response) -> str:
    if response.error == NOT_RUN:
        return "not run"
    return f"failed ({response.error})" if response.error else "answered"


def _kind(verdict: Verdict) -> str:
    if verdict.outcome != "undecided":
        return verdict.outcome
    if verdict.reason.startswith("there is no response"):
        return "undecided (no response)"
    if verdict.judge == NOBODY:
        return "undecided (nobody to decide)"
    if verdict.reason.startswith(f"{NO_JUDGEMENT} ({NOT_RUN})"):
        return "undecided (its judge was not asked)"
    if verdict.reason.startswith(NO_JUDGEMENT):
        return "undecided (its judge gave no answer)"
    return f"undecided (its {'check' if verdict.judge == CHECK else 'judge'} cannot tell)"


def _require_some(responses: Sequence[Response], condition: Condition) -> None:
    errors = Counter(response.error for response in responses)
    if responses and not errors[""] and set(errors) - {NOT_RUN, ""}:
        counted = ", ".join(f"{count} × {error}" for error, count in errors.most_common())
        raise RatifyError(
            f"the model {condition.model.name!r} answered none of {len(responses)} calls ({counted}); "
            "see to it, and run the same command again"
        )


def response_to(scenario: Scenario, sample: int, condition: Condition, answer: Completion) -> Response:
    """A completion as the answer to a row."""
    return made(
        Response,
        scenario_id=scenario.id,
        condition=condition.name,
        sample=sample,
        text=answer.text,
        finished=answer.finished,
        model=condition.model.name,
        error=answer.error,
    )
