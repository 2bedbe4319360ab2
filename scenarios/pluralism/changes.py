"""What training changed: the finetuned model minus each other, paired by scenario or question."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect_ratify.scenarios.pluralism.records import Change, Measure
from prefect_ratify.scenarios.statistics import Interval, Scores, difference


def changes(
    measure: Measure, of: str, scores: Mapping[str, Scores], by: Callable[[Scores, Scores], Interval] = difference
) -> tuple[Change, ...]:
    """The changes of a measure to the last condition from each before.

    `scores` are what the change is taken from `by`: each condition's, by unit, where it is the mean difference.
    """
    *others, last = scores
    return tuple(
        Change(measure=measure, of=of, first=name, second=last, interval=by(scores[name], scores[last]))
        for name in others
    )
