"""What juries find: verdicts by juror, and what a jury of a composition decides by a welfare function."""

from __future__ import annotations

from typing import Literal

from prefect_ratify.records import Record
from prefect_ratify.scenarios.statistics import Interval

JurorKind = Literal["rulings", "perspective", "weights"]


class Juror(Record):
    """One who judges: a person by recorded rulings, or (simulated) a described perspective or a weighting of clauses.

    `simulated` jurors are marked so wherever they appear. `weights` say how much each clause matters to
    the juror; a clause that is not named counts as 1, where any are.
    """

    name: str
    kind: JurorKind
    simulated: bool
    seats: float = 1.0
    perspective: str = ""
    weights: dict[str, float] = {}


class JurorRate(Record):
    """How content a juror is with a condition's responses: the mean of what each is worth to them, in [0, 1]."""

    condition: str
    juror: str
    interval: Interval
    undecided: int = 0


class JuryWelfare(Record):
    """A jury's welfare over responses. `power` is the exponent of the mean: 1 mean, 0 Nash, −inf Rawls.

    `composition` names it: `as seated`, or another that was tried.
    """

    condition: str
    function: str
    composition: str
    interval: Interval


class Split(Record):
    """A response on which jurors differ most: each juror's worth of it."""

    condition: str
    scenario_id: str
    sample: int
    worths: dict[str, float]


class JuryAgreement(Record):
    """Krippendorff's alpha between people who ruled on the same responses."""

    clause_id: str  # empty over all clauses
    alpha: Interval
    people: int
    responses: int


class JuryFindings(Record):
    """All that the jury found; `spread` counts, by condition and juror, responses by worth in tenths (0 … 10)."""

    jurors: tuple[Juror, ...] = ()
    rates: tuple[JurorRate, ...] = ()
    welfare: tuple[JuryWelfare, ...] = ()
    changes: tuple[JuryWelfare, ...] = ()  # finetuned minus the condition that it names, as seated
    spread: dict[str, dict[str, tuple[int, ...]]] = {}
    splits: tuple[Split, ...] = ()
    agreement: tuple[JuryAgreement, ...] = ()
    notes: tuple[str, ...] = ()
