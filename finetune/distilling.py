"""Prompt distillation: answers given with the policy as prompt, learned without it.

After Askell et al. 2021 (arXiv 2112.00861, section 2.2, context distillation), with sampled answers
in the place of distributions, of which the best by the clauses' verdicts is kept (best of n).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect_ratify.call_store import Asking
from prefect_ratify.finetune.composing import whole_sentences
from prefect_ratify.finetune.row_making import Lost, RowMaking, Written
from prefect_ratify.finetune.shards import RowPlace
from prefect_ratify.policy_modules import refiner
from prefect_ratify.records import Response, Scenario, Verdict, digest
from prefect_ratify.scenarios.judging import verdicts_on
from prefect_ratify.scenarios.running import call_for, response_to

METHOD = "distilled from the policy as prompt"


async def distilled(scenario: Scenario, place: RowPlace, making: RowMaking, asking: Asking) -> Written:
    """The best of some answers with the policy as prompt; Lost where there is none.

    The best upholds the largest share of the clauses that are decided; of equal ones it is the first.
    """
    first = place.sample * making.data.best_of
    samples = range(first, first + making.data.best_of)
    tried = await asyncio.gather(*(_tried(scenario, sample, making, asking) for sample in samples))
    usable = [(response, verdicts) for response, verdicts in tried if response.text]
    if not usable:
        why = ", ".join(sorted({response.error or "no whole sentence" for response, _ in tried}))
        raise Lost(f"no answer with the policy as prompt ({why})")
    response, verdicts = max(usable, key=lambda each: share_upheld(each[1]))
    return Written(response.text, making.prompted.model, METHOD, digest(making.prompted.preamble), after=verdicts)


def share_upheld(verdicts: Sequence[Verdict]) -> float:
    """The share of decided clauses that an answer upholds; 0 where none is decided."""
    return refiner.share_upheld(refiner.outcomes(verdicts)) or 0.0


async def _tried(scenario: Scenario, sample: int, making: RowMaking, asking: Asking) -> tuple[Response, list[Verdict]]:
    prompted = making.prompted
    answer = await asking.ask(prompted.model, call_for(scenario, sample, prompted, making.sampling, making.seed))
    if not answer.finished:
        answer = answer.model_copy(update={"text": whole_sentences(answer.text), "finished": True})
    response = response_to(scenario, sample, prompted, answer)
    return response, await verdicts_on(response, scenario, making.by, asking) if response.text else []
