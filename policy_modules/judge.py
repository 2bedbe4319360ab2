"""The judge: a model's verdict on a response, clause by clause, for what checks cannot decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from prefect_ratify.errors import InputError
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules import judgement_text
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.policy_modules.rulings_text import rulings_text
from prefect_ratify.records import Call, Sampling, Scenario, canonical, digest
from prefect_ratify.scenarios.precedents import Ruling
from prefect_ratify.scenarios.yardstick import Case, JudgeModel

SAMPLING = Sampling(temperature=0.0, max_tokens=400)
SCHEMA = canonical(  # without bounds of the number, which not every provider takes
    {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["upheld", "violated", "not applicable", "undecided"]},
            "confidence": {"type": "number", "description": "between 0 and 1"},
            "reason": {"type": "string", "description": "one sentence that quotes the response"},
        },
        "required": ["verdict", "confidence", "reason"],
        "additionalProperties": False,
    }
)


def judge_with(model: LanguageModel) -> JudgeModel:
    """A judge by that model; an answer that cannot be parsed is an undecided verdict."""
    return JudgeModel(model, _prompt_digest(), _question, judgement_text.read)


def judges_named(names: str, open_model: Callable[[str], LanguageModel]) -> tuple[JudgeModel, ...]:
    """Judges by the names of their models, which commas separate; none for an empty text.

    InputError where a name is empty, or stands there twice.
    """
    listed = [name.strip() for name in names.split(",")] if names else []
    if "" in listed:
        raise InputError(f"a judge has no name in {names!r}", "write --judge MODEL or --judge MODEL,MODEL")
    if len(set(listed)) < len(listed):
        raise InputError(f"a judge would vote twice in {names!r}", "name different models")
    return tuple(judge_with(open_model(name)) for name in listed)


def conversation(scenario: Scenario) -> str:
    """A scenario's turns as text."""
    return "\n".join(f"{message.role}: {message.content}" for message in scenario.messages)


def _question(case: Case, rulings: Sequence[Ruling]) -> Call:
    from prefect_ratify.policy_modules.signatures import fenced

    scenario, response, clause = case
    return prompt().call(
        {
            "clause": clause.text,
            "precedents": rulings_text(rulings),
            "conversation": fenced(conversation(scenario)),
            "response": fenced(response.text),
        }
    )


@lru_cache
def prompt() -> Prompt:
    """How a judge is asked."""
    from prefect_ratify.policy_modules.signatures import JudgeClause

    return Prompt(JudgeClause, SAMPLING, SCHEMA)


@lru_cache
def _prompt_digest() -> str:
    # Of files and not of the signature: known judgements must be found without loading DSPy. Where
    # something else in them has changed, the judge's calls are still the same, and still known.
    names = ("signatures.py", "judge.py", "judgement_text.py", "rulings_text.py", "models.py")
    texts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names]
    return digest([texts, version("dspy"), SAMPLING])
