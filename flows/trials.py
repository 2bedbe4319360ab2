"""A scenario file as tests: what is wanted of it, and what one test of a scenario and clause comes to, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from prefect_ratify import embedded
from prefect_ratify.call_store import NOT_RUN
from prefect_ratify.errors import one_line, readable
from prefect_ratify.flows.project import Project, Settings
from prefect_ratify.policy_modules.judge import conversation
from prefect_ratify.records import Outcome, Response, Scenario, Verdict
from prefect_ratify.scenarios.rules import Rule
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.yardstick import CHECK, NOBODY, Yardstick

SAMPLING = Settings().sampling  # with that of `ratify run` and `ratify regress`, each finds the others' answers
NO_ANSWER, NO_JUDGEMENT = "there is no response", "the judge gave no answer"  # how judging begins such reasons
AGAIN = "run the same command again: what was answered is kept"

Answers = Sequence[tuple[Response, Verdict]]
Key = tuple[str, str, str, str]  # a file, a condition, a scenario and a clause


@dataclass(frozen=True)
class Wanted:
    """What the options ask for. `split` is empty for the one that suits what is tested."""

    policy: Path
    model: str = embedded.NAME
    judge: str = ""
    against: str = ""
    samples: int = 1
    split: str = ""
    rule: str = ""
    max_calls: int | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is tested, then what it is held against. A finetuned model is not shown the policy that it keeps."""
        tested = self.model if is_finetuned(self.model) else "draft"
        return (tested, self.against) if self.against else (tested,)

    @property
    def fair_split(self) -> str:
        """The held-out scenarios where a finetuned model takes part, which was trained on the others."""
        return self.split or ("held_out" if any(map(is_finetuned, self.conditions)) else "develop")


@dataclass(frozen=True)
class Trial:
    """A scenario file, read, with all that trying it takes. `name` is what pytest calls it.

    A scenario's `clause_ids` are what it is tested on: clauses, and EXPECTATION where it has one.
    """

    name: str
    project: Project
    scenarios: tuple[Scenario, ...]
    lines: Mapping[str, int]
    conditions: tuple[Condition, ...]
    yardstick: Yardstick
    rules: tuple[Rule, ...]
    wanted: Wanted

    def chosen(self, clause_ids: Mapping[str, Sequence[str]]) -> Trial:
        """The same of these scenarios and clauses alone: for what is not tested, nothing is asked."""
        scenarios = [s.model_copy(update={"clause_ids": tuple(clause_ids.get(s.id, ()))}) for s in self.scenarios]
        return replace(self, scenarios=tuple(s for s in scenarios if s.clause_ids))


@dataclass(frozen=True)
class Found:
    """What one test comes to, and the text that says why."""

    outcome: Literal["passed", "failed", "skipped", "error"]
    text: str = ""


def outcome_of(trial: Trial, scenario: Scenario, clause_id: str, tests: Mapping[Key, Answers]) -> Found:
    """What a test comes to: alone, or held against the other condition."""
    sides = [tests[trial.name, condition.name, scenario.id, clause_id] for condition in trial.conditions]
    missing = _missing([answer for side in sides for answer in side], trial.wanted)
    if missing and (len(sides) == 2 or not _with_outcome(sides[0], "violated")):
        return Found("error", f"[{clause_id}] {missing}")
    texts = {clause.id: clause.text for clause in trial.project.policy.clauses}
    told = _field("clause", texts.get(clause_id, "what this scenario alone expects, by its own check"))
    told += _field("query", scenario.query if len(scenario.messages) == 1 else conversation(scenario))
    if len(sides) == 2:
        return _held_against(sides[0], sides[1], clause_id, told)
    return _alone(sides[0], clause_id, told)


def _missing(answers: Answers, wanted: Wanted) -> str:
    """What was not answered, by a model or a judge: an error, which is no finding; empty where nothing is missing."""
    for response, verdict in answers:
        unanswered = response.error or verdict.reason.startswith(NO_JUDGEMENT)
        if unanswered and NOT_RUN in (response.error or verdict.reason):
            why = (
                "the endpoint is down" if wanted.max_calls is None else f"--max-calls {wanted.max_calls} allows no more"
            )
            return f"was not asked for under {response.condition}: {why}; {AGAIN}"
        if unanswered:
            said = f"{NO_ANSWER} ({response.error})" if response.error else one_line(verdict.reason)
            return f"{said} under {response.condition}, by {response.model}; {AGAIN}"
    return ""


def _alone(answers: Answers, clause_id: str, told: str) -> Found:
    violations, undecided = _with_outcome(answers, "violated"), _with_outcome(answers, "undecided")
    of_all = f" of {len(answers)} answers"
    if violations:
        response, verdict = violations[0]
        count = f"{len(violations)}{of_all} violate it; of one, " if len(answers) > 1 else ""
        return Found("failed", f"[{clause_id}] {count}{_said(verdict)}\n{told}{_answer('response', response)}")
    if undecided:
        count = f"{len(undecided)}{of_all}: " if len(answers) > 1 else ""
        return Found("skipped", f"[{clause_id}] {count}{_said(undecided[0][1])}")
    if all(verdict.outcome == "not applicable" for _, verdict in answers):
        return Found("skipped", f"[{clause_id}] {_said(answers[0][1])}")
    return Found("passed")


def _held_against(now: Answers, before: Answers, clause_id: str, told: str) -> Found:
    share, share_before = _share(now), _share(before)
    for side, of_side in ((now, share), (before, share_before)):
        if of_side is None:
            response, verdict = side[0]
            return Found("skipped", f"[{clause_id}] under {response.condition}: {_said(verdict)}")
    assert share is not None and share_before is not None
    if share >= share_before:
        return Found("passed")
    (worse, why), (better, why_better) = _with_outcome(now, "violated")[0], _with_outcome(before, "upheld")[0]
    counts = " after ".join(f"{len(_with_outcome(side, 'upheld'))} of {len(side)}" for side in (now, before))
    return Found(
        "failed",
        f"[{clause_id}] got worse than under {better.condition}: upheld by {counts} answers\n{told}"
        f"{_answer('response', worse)}{_field('', _said(why))}"
        f"{_answer('before', better)}{_field('', _said(why_better))}",
    )


def _share(answers: Answers) -> float | None:
    """The share of upheld among decided answers, as `compare` has it; None where none is decided."""
    outcomes = [verdict.outcome for _, verdict in answers]
    decided = outcomes.count("upheld") + outcomes.count("violated")
    return outcomes.count("upheld") / decided if decided else None


def _with_outcome(answers: Answers, outcome: Outcome) -> Answers:
    return [answer for answer in answers if answer[1].outcome == outcome]


def _said(verdict: Verdict) -> str:
    """The outcome, who says so, and why."""
    reason = one_line(verdict.reason)
    if verdict.judge == NOBODY:
        return f"{verdict.outcome}: {reason} (give --judge MODEL, or the clause a check)"
    by = "its check" if verdict.judge == CHECK else verdict.judge
    return f"{verdict.outcome}, says {one_line(by)}: {reason}"


def _answer(label: str, response: Response) -> str:
    cut = "" if response.finished else f"\n[cut off at {SAMPLING.max_tokens} tokens]"
    return _field(label, f"({response.condition}, by {response.model})\n{response.text or '[empty]'}{cut}")


def _field(label: str, text: str) -> str:
    """Foreign text beside its label; nothing in it steers a terminal, or passes for a line of this tool."""
    return f"  {label:<9} " + textwrap.indent(readable(text), " " * 12).lstrip(" ") + "\n"


def is_finetuned(name: str) -> bool:
    """Whether a condition of that name is a finetuned model."""
    return name.partition("@")[0] == "finetuned"
