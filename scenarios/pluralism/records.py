"""What the measures of pluralism find, for the report and for machines.

Every figure is in [0, 1] and is one of a condition (`base`, `refined`, `finetuned`), so that what
training changed is a paired difference of the same measure. Counts of what nobody could decide stand
beside each figure, and are in none.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prefect_ratify.records import Record
from prefect_ratify.scenarios.statistics import Interval

EVERYONE = "everyone"
Measure = Literal[
    "overton",
    "overton, weighted",
    "steerable",
    "steerable, F1",
    "distance",
    "entropy",
    "hypervolume",
    "regret",
    "jury",
]


class Coverage(Record):
    """Overton: the share of a scenario's reasonable answers that responses cover, plain and by weight."""

    condition: str
    share: Interval
    weighted: Interval
    by_answer: dict[str, float] = Field(default_factory=dict)  # whose answer → share of responses
    undecided: int = 0


class Steering(Record):
    """How faithfully responses follow the attribute that the model was steered to; `attribute` is empty over all.

    `accuracy` is the share that follow their own attribute, `f1` the harmonic mean of precision (of those
    that follow it, how many were steered to it) and recall; over all attributes the mean of theirs.
    """

    condition: str
    attribute: str
    accuracy: Interval
    f1: Interval
    undecided: int = 0


class Leaning(Record):
    """The model's distribution over answer options against that of a group of people.

    `distance` is the Jensen–Shannon distance (the root of the divergence in bits). `entropy` is the
    model's, and `entropy_of_people` the group's, each as a share of what evenly many on each option would have.
    All are of what the model would say that is one of the options; `neither` is the share that is none of them.
    """

    condition: str
    group: str
    distance: Interval
    entropy: Interval
    entropy_of_people: Interval
    neither: Interval | None = None


class Closest(Record):
    """The group that a model's answers are closest to: in `share` of the resamples of the questions.

    `of` says which questions: the project's own, or the statements that people voted on.
    """

    condition: str
    group: str
    share: float
    of: Literal["questions", "statements"] = "questions"


class Objectives(Record):
    """A model's rates of upheld verdicts as a point: each clause an objective.

    `dominated_by` are the conditions that are at least as good on every clause and better on one.
    `hypervolume` is the volume between the origin and the point alone.
    """

    condition: str
    rates: dict[str, float]
    hypervolume: Interval
    dominated_by: tuple[str, ...] = ()
    on_front: bool = True


class TradeOff(Record):
    """A weighting of the clauses, the model steered to it, and what it lost against the best that was tried."""

    condition: str
    weighting: str
    reward: Interval
    regret: Interval
    best: str  # the condition and weighting that did best by this one
    undecided: int = 0


class Change(Record):
    """Second condition minus first on one measure, paired by scenario or question; `of` is a group, attribute …"""

    measure: Measure
    of: str
    first: str
    second: str
    interval: Interval


class Pluralism(Record):
    """All that was measured; what a project gives nothing for is empty. `notes` are sentences for readers."""

    coverage: tuple[Coverage, ...] = ()
    steering: tuple[Steering, ...] = ()
    leanings: tuple[Leaning, ...] = ()
    closest: tuple[Closest, ...] = ()
    objectives: tuple[Objectives, ...] = ()
    front_volume: float | None = None
    trade_offs: tuple[TradeOff, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
