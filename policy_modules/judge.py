"""The judge: a model's verdict on a response, clause by clause, for what checks cannot decide."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.records import Call, Sampling, Scenario, digest
from prefect_ratify.scenarios.judging import Case, Judgement, JudgeModel

SAMPLING = Sampling(temperature=0.0, max_tokens=400)


def judge_with(model: LanguageModel) -> JudgeModel:
    """A judge by that model; an answer that cannot be parsed is an undecided verdict."""
    return JudgeModel(model, _prompt_digest(), _question, _read)


def conversation(scenario: Scenario) -> str:
    """A scenario's turns as text."""
    return "\n".join(f"{message.role}: {message.content}" for message in scenario.messages)


def _question(case: Case) -> Call:
    from prefect_ratify.policy_modules.signatures import fenced

    scenario, response, clause = case
    return prompt().call(
        {
            "clause": clause.text,
            "conversation": fenced(conversation(scenario)),
            "response": fenced(response.text),
        }
    )


def _read(text: str) -> Judgement:
    said = prompt().read(text)
    if said is None:
        return Judgement(outcome="undecided", confidence=0.0, reason="the judge gave no usable answer")
    return Judgement(
        outcome=said["verdict"],
        confidence=min(max(float(said["confidence"]), 0.0), 1.0),
        reason=str(said["reason"]),
    )


@lru_cache
def prompt() -> Prompt:
    """How a judge is asked."""
    from prefect_ratify.policy_modules.signatures import JudgeClause

    return Prompt(JudgeClause, SAMPLING)


@lru_cache
def _prompt_digest() -> str:
    # Of the file and not of the signature: known judgements must be found without loading DSPy. Where
    # another signature in it has changed, the judge's calls are still the same, and still known.
    text = Path(__file__).with_name("signatures.py").read_text(encoding="utf-8")
    return digest([text, version("dspy"), SAMPLING])
