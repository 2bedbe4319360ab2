"""Distributional pluralism: how each model is spread over answers, and how the people are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from prefect_ratify import embedded
from prefect_ratify.flows.pages import percent
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.option_choice import SAMPLES, TOP_LOGPROBS, Chosen, How, choose
from prefect_ratify.scenarios.pluralism.changes import changes
from prefect_ratify.scenarios.pluralism.distributional import closest, distances, entropies
from prefect_ratify.scenarios.pluralism.plan import PluralismPlan, Question
from prefect_ratify.scenarios.pluralism.records import EVERYONE, Closest, Leaning, Pluralism
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.statistics import Scores, rate

METHODS: Mapping[How, str] = {
    "options": "from the log-probabilities of the options' texts",
    "first word": f"from the log-probabilities of the {TOP_LOGPROBS} likeliest first words (any other counts as 0)",
    "samples": f"from at least {SAMPLES} sampled answers",
}


def measure_distributions(run: Run, plan: PluralismPlan, conditions: Sequence[Condition]) -> Pluralism:
    """How far each model is from each group of people, on the questions and on the statements of the votes."""
    questions = plan.all_questions
    if not questions:
        return Pluralism()
    chosen = {c.name: choose(questions, c, run.store, run.settings.seed) for c in conditions}
    models = {name: [each.shares for each in given] for name, given in chosen.items()}
    people = {group: _people(questions, group) for group in _groups(questions)}
    away = {group: {name: distances(m, theirs) for name, m in models.items()} for group, theirs in people.items()}
    return Pluralism(
        leanings=tuple(
            _leaning(name, group, away[group][name], given, people[group])
            for group in people
            for name, given in chosen.items()
        ),
        closest=(
            *_closest("questions", plan.questions, questions, models),
            *_closest("statements", plan.statements, questions, models),
        ),
        changes=(
            *(change for group in people for change in changes("distance", group, away[group])),
            *changes("entropy", EVERYONE, {name: entropies(model) for name, model in models.items()}),
        ),
        notes=tuple(_notes(run, plan, chosen)),
    )


def _groups(questions: Sequence[Question]) -> list[str]:
    """The groups that anybody is of, everyone first."""
    named = dict.fromkeys(group for question in questions for group in question.people)
    return sorted(named, key=lambda group: group != EVERYONE)


def _people(questions: Sequence[Question], group: str) -> list[Scores]:
    """The group's shares of each question's options; NaN where it has not answered."""
    unknown = (np.full(len(question.options), np.nan) for question in questions)
    return [np.array(q.people.get(group, nothing)) for q, nothing in zip(questions, unknown, strict=True)]


def _leaning(name: str, group: str, away: Scores, chosen: Sequence[Chosen], people: Sequence[Scores]) -> Leaning:
    """On the questions that both have answered; `neither` on all, since who says none of the options has not."""
    known = ~np.isnan(away)
    neither = np.array([each.neither for each in chosen], dtype=np.float64)
    return Leaning(
        condition=name,
        group=group,
        distance=rate(away),
        entropy=rate(np.where(known, entropies([each.shares for each in chosen]), np.nan)),
        entropy_of_people=rate(np.where(known, entropies(people), np.nan)),
        neither=rate(neither),
    )


def _closest(
    of: Literal["questions", "statements"],
    part: Sequence[Question],
    questions: Sequence[Question],
    models: Mapping[str, Sequence[Scores]],
) -> Iterator[Closest]:
    """By model, the share of each group in being closest; none where there is but one group to be close to."""
    by_group = {group: _people(part, group) for group in _groups(part) if group != EVERYONE}
    if len(by_group) < 2:
        return
    places = [questions.index(question) for question in part]
    for name, model in models.items():
        shares = closest([model[place] for place in places], by_group)
        yield from (Closest(condition=name, group=g, share=round(share, 4), of=of) for g, share in shares.items())


def _notes(run: Run, plan: PluralismPlan, chosen: Mapping[str, Sequence[Chosen]]) -> Iterator[str]:
    if plan.statements:
        there = "" if len(plan.statements) == plan.statements_there else f" of {plan.statements_there:,}, drawn by lot"
        yield f"The models were asked about {len(plan.statements)} statements of the votes{there}."
    for name, given in chosen.items():
        yield _how(name, given)
    yield (
        "Every question was asked in as many orders as it has options, so that each option stood once in each place, "
        "and the mean was taken. All at temperature 1: at another a distribution is narrower or wider."
    )
    if any(each.how == "samples" for given in chosen.values() for each in given):
        yield (
            "So few samples make a distribution narrower than the model's is, and uneven by chance, which alone puts "
            "it farther from people: hold it against others that were sampled too."
        )
    yield (
        "Few votes make a group's distribution uneven by chance, which alone puts it farther from any model: small "
        "groups look farther away than they are."
    )
    if embedded.NAME in (run.settings.models.student, run.settings.models.responder):
        yield (
            "Of a model as small as the embedded one, log-probabilities of such words say little about opinions: it "
            "leans to words and places more than to what they mean."
        )


def _how(name: str, given: Sequence[Chosen]) -> str:
    """A condition's sentence: how it was asked, how much of it was no answer, and what the order did."""
    methods = Counter(METHODS[each.how] for each in given)
    counted = ", ".join(f"{count} {method}" for method, count in methods.items())
    undecided = sum(bool(np.isnan(each.shares).any()) for each in given)
    parts = [f"{name}: {len(given)} questions, {counted}"]
    neither, moved = (_mean([getattr(each, key) for each in given]) for key in ("neither", "moved"))
    if neither is not None:
        parts.append(f"{percent(neither)} of what it would say was none of the options")
    if moved is not None:
        parts.append(f"another order of the options moved its distribution by a distance of {moved:.2f} on average")
    if undecided:
        parts.append(f"{undecided} undecided")
    return "; ".join(parts) + "."


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
