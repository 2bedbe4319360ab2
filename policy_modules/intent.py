"""Whether a new wording asks for what its draft asks: a judge compares both, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.answer_fields import fields_of
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.records import Sampling

SAMPLING = Sampling(temperature=0.0, max_tokens=200)
NOTHING = {"", "nothing", "none", "n/a", "-"}


@dataclass(frozen=True)
class Intent:
    """`keeps`: the new wording asks for all that the draft asks. `adds`: what it asks beyond that."""

    keeps: bool
    missing: str
    adds: str


def compare_intent(
    draft: str, new: str, model: LanguageModel, store: CallStore, spending: Spending | None = None
) -> Intent:
    """Ask a judge in both directions. What it does not clearly affirm is not kept."""
    from prefect_ratify.policy_modules.signatures import AsksForAll

    pairs = [{"original": draft, "tested": new}, {"original": new, "tested": draft}]
    answers = store.complete(model, [_prompt().call(pair) for pair in pairs], "intent", spending)
    forth, back = (fields_of(answer.text, AsksForAll.output_fields) for answer in answers)
    keeps = forth["asks_for_all"].strip(" .").lower() == "yes"
    missing = "" if keeps else forth["missing"] or "the judge gave no usable answer"
    adds = back["missing"] if back["asks_for_all"].strip(" .").lower() == "no" else ""
    return Intent(keeps, missing, "" if adds.strip(" .").lower() in NOTHING else adds)


@lru_cache
def _prompt() -> Prompt:
    from prefect_ratify.policy_modules.signatures import AsksForAll

    return Prompt(AsksForAll, SAMPLING)
