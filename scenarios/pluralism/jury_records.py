"""What juries find: verdicts by juror, and what a jury of a composition decides by a welfare function."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prefect_ratify.records import Record
from prefect_ratify.scenarios.statistics import Interval

JurorKind = Literal["rulings", "perspective", "weights"]


class Juror(Record):
    """One who judges: a person by recorded rulings, or (simulated) a described perspective or a weighting of clauses.

    `simulated` jurors are marked so wherever they appear. `weights` say how much each clause matters to
    the juror; a clause that is not named counts as 1. Who has no `seats` is heard, and does not sit.
    """

    name: str
    kind: JurorKind
    simulated: bool
    seats: float = 1.0
    perspective: str = ""
    weights: dict[str, float] = Field(default_factory=dict)


class JurorRate(Record):
    """How content a juror is with a condition's responses: the mean of what each is worth to them, in [0, 1]."""

    condition: str
    juror: str
    interval: Interval
    undecided: int = 0


class JuryWelfare(Record):
    """A jury's welfare over responses, by `function`: `mean`, `nash`, `rawls`, or a power mean such as `power -1`.

    `composition` names the jury: `as seated`, `each once`, `NAME alone` or `without NAME`.
    """

    condition: str
    function: str
    composition: str
    interval: Interval


class Split(Record):
    """A response on which jurors differ most: each juror's worth of it, and for whom that is (in part) foretold."""

    condition: str
    scenario_id: str
    sample: int
    worths: dict[str, float]
    foretold: tuple[str, ...] = ()


class JuryAgreement(Record):
    """Krippendorff's alpha between people who ruled on the same responses."""

    clause_id: str  # empty over all clauses
    alpha: Interval
    people: int
    responses: int


class Foretold(Record):
    """How a person was heard: by so many rulings on these very responses, elsewhere foretold from similar ones.

    `right` is how often the person's rulings are foretold rightly from those on other scenarios, `commoner`
    how often guessing the commoner outcome is right, and `better` whether the first is shown to be more.
    """

    juror: str
    ruled: int
    foretold: int
    right: Interval
    commoner: Interval
    better: bool


class JuryFindings(Record):
    """All that the jury found; `spread` counts, by condition and juror, responses by worth in tenths (0 … 10)."""

    jurors: tuple[Juror, ...] = ()
    rates: tuple[JurorRate, ...] = ()
    welfare: tuple[JuryWelfare, ...] = ()
    changes: tuple[JuryWelfare, ...] = ()  # finetuned minus the condition that it names, as seated
    spread: dict[str, dict[str, tuple[int, ...]]] = Field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    agreement: tuple[JuryAgreement, ...] = ()
    foretold: tuple[Foretold, ...] = ()
    notes: tuple[str, ...] = ()
