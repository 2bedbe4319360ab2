"""What a run would ask for, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.budget import CHARACTERS_A_TOKEN, cost, tokens_in
from prefect_ratify.call_store import CallStore, call_key
from prefect_ratify.records import Call, Completion, Record, Response, Sampling, Scenario
from prefect_ratify.scenarios.running import Condition, call_for, response_to, rows
from prefect_ratify.scenarios.yardstick import Case, Judgement, Yardstick

TOKENS_OF_A_JUDGEMENT = 60  # a verdict, a confidence and a sentence


class Plan(Record):
    """Calls that are known and calls that would be made, with about how many tokens and dollars those take.

    Judgements of answers that are not there yet are counted as missing, whatever they will say. An
    embedder is not asked: where it would have to say which rulings are similar, judges are taken to
    see the longest.
    """

    condition: str
    answers_known: int = 0
    answers_missing: int = 0
    judgements_known: int = 0
    judgements_missing: int = 0
    tokens: int = 0
    dollars: float = 0.0

    @property
    def calls(self) -> int:
        """How many calls would be made."""
        return self.answers_missing + self.judgements_missing


def plan(
    scenarios: Sequence[Scenario],
    condition: Condition,
    by: Yardstick,
    store: CallStore,
    *,
    sampling: Sampling,
    samples: int,
    seed: int = 0,
    at_most: bool = False,
) -> Plan:
    """Count what `evaluate` would ask for: about, or at most."""
    asked = [(s, k, call_for(s, k, condition, sampling, seed)) for s, k in rows(scenarios, samples)]
    answers = [store.find(call_key(condition.model, call), Completion) for _, _, call in asked]
    length = sampling.max_tokens if at_most else _usual_length(answers, sampling)
    found = Plan(condition=condition.name)
    seen: set[str] = set()
    for (scenario, sample, call), answer in zip(asked, answers, strict=True):
        key = call_key(condition.model, call)
        if answer is None and key not in seen:
            found = _with(found, condition.model.name, call, length, answers_missing=1)
        elif answer is not None:
            found = found.model_copy(update={"answers_known": found.answers_known + 1})
        seen.add(key)
        text = answer or Completion(text="x" * CHARACTERS_A_TOKEN * length)
        response = response_to(scenario, sample, condition, text)
        for case in _for_the_judges(scenario, response, by):
            found = _judged(found, by, case, store, is_there=answer is not None, at_most=at_most)
    return found


def _for_the_judges(scenario: Scenario, response: Response, by: Yardstick) -> list[Case]:
    return [(scenario, response, clause) for clause in by.clauses(scenario) if by.decide(response, clause) is None]


def _judged(found: Plan, by: Yardstick, case: Case, store: CallStore, *, is_there: bool, at_most: bool) -> Plan:
    usual = is_there or not at_most
    rulings = by.rulings_like(case) if usual and by.knows_rulings_like(case) else by.longest_rulings(case)
    for judge in by.judges_on(case[2].id):
        if is_there and store.find(judge.key(case, rulings), Judgement) is not None:
            found = found.model_copy(update={"judgements_known": found.judgements_known + 1})
        else:
            call = judge.question(case, rulings)
            written = call.sampling.max_tokens if at_most else TOKENS_OF_A_JUDGEMENT
            found = _with(found, judge.model.name, call, written, judgements_missing=1)
    return found


def _with(found: Plan, model_name: str, call: Call, written: int, **counts: int) -> Plan:
    read = tokens_in(call)
    return found.model_copy(
        update={
            **{name: getattr(found, name) + count for name, count in counts.items()},
            "tokens": found.tokens + read + written,
            "dollars": found.dollars + cost(model_name, read, written),
        }
    )


def _usual_length(answers: Sequence[Completion | None], sampling: Sampling) -> int:
    """How many tokens an answer has: as those that are known, or else as many as it may have."""
    lengths = [answer.tokens_written for answer in answers if answer is not None and answer.tokens_written]
    return round(sum(lengths) / len(lengths)) if lengths else sampling.max_tokens
