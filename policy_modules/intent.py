"""Whether a new wording asks for what its draft asks: a judge compares both, in both directions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import NOT_RUN, CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.answer_fields import fields_of, is_none
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.records import Completion, Sampling

SAMPLING = Sampling(temperature=0.0, max_tokens=200)


@dataclass(frozen=True)
class Intent:
    """`missing` says why the new wording is not known to ask for all that the draft asks; empty where it is.

    `adds`: what it asks beyond that.
    """

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
    adds = back["missing"] if _verdict(back["asks_for_all"]) == "no" else ""
    return Intent(_why_not(answers[0], forth), "" if is_none(adds) else adds)


def _why_not(answer: Completion, said: dict[str, str]) -> str:
    if answer.error == NOT_RUN:
        return "no judge was asked whether it keeps the intent: there was no budget, or no endpoint, for it"
    if answer.error:
        return f"the judge of its intent gave no answer ({answer.error})"
    verdict = _verdict(said["asks_for_all"])
    if not verdict:
        return "the judge of its intent gave an answer that cannot be read"
    if verdict == "yes":
        return ""
    dropped = "something, and not what" if is_none(said["missing"]) else said["missing"]
    return f"a judge says that it drops: {dropped}"


def _verdict(said: str) -> str:
    """The yes or no that a judge begins with; empty where it begins with neither, or says both."""
    words = re.findall(r"\w+", said.lower())
    first = words[0] if words else ""
    both = {"yes", "no"} <= set(words)
    return first if first in ("yes", "no") and not both else ""


@lru_cache
def _prompt() -> Prompt:
    from prefect_ratify.policy_modules.signatures import AsksForAll

    return Prompt(AsksForAll, SAMPLING)
