"""A jury: jurors with seats, and what models' responses are worth to them together.

A jury of chosen composition rates responses (Gordon et al. 2022, Jury Learning, arXiv 2202.02950, in
which who sits is chosen openly, and may be changed), and a welfare function joins their ratings
(Sorensen et al. 2024, arXiv 2402.05070, the definition of jury-pluralistic benchmarks). Welfare is of
each response by itself, then the mean of a scenario's responses, then that of the scenarios, which are
the units of the intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.records import Response
from prefect_ratify.scenarios.pluralism.decided import mean_of_decided
from prefect_ratify.scenarios.pluralism.jury_records import Juror, JurorRate, JuryFindings, JuryWelfare, Split
from prefect_ratify.scenarios.pluralism.welfare import MEAN, NASH, RAWLS, function_name, welfare
from prefect_ratify.scenarios.statistics import Scores, difference, rate

POWERS = (MEAN, NASH, RAWLS, -1.0)
AS_SEATED, EACH_ONCE = "as seated", "each once"
MOST_SPLITS = 8
_LEAST_SPLIT = 1e-9  # what rounding makes of no difference


@dataclass(frozen=True)
class Jury:
    """Jurors, the responses of all conditions, and what each is worth to each: `worths` is `[responses, jurors]`.

    NaN is undecided: that juror is left out of the welfare of that response. The last condition is the
    one that the others are compared with. `foretold` has, by juror, the places of the responses on which
    the juror did not rule, or not on all.
    """

    jurors: tuple[Juror, ...]
    conditions: tuple[str, ...]
    responses: tuple[Response, ...]
    worths: Scores
    foretold: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def by_scenario(self, condition: str, values: Scores) -> Scores:
        """`[scenarios]`: the means of `values`, `[responses]`, over a condition's responses; NaN where all are."""
        return np.array([mean_of_decided(values[rows]) for rows in self._rows[condition]], dtype=np.float64)

    def of(self, condition: str) -> Scores:
        """The worths of a condition's responses."""
        return self.worths[[response.condition == condition for response in self.responses]]

    @cached_property
    def _rows(self) -> dict[str, list[NDArray[np.intp]]]:
        """For each condition, where each scenario's responses stand; the scenarios in one order for all."""
        scenario_ids = dict.fromkeys(response.scenario_id for response in self.responses)
        rows: dict[tuple[str, str], list[int]] = {}
        for row, response in enumerate(self.responses):
            rows.setdefault((response.condition, response.scenario_id), []).append(row)
        return {
            condition: [np.array(rows.get((condition, each), []), dtype=np.intp) for each in scenario_ids]
            for condition in self.conditions
        }


def deliberate(jury: Jury, power: float) -> JuryFindings:
    """All that follows from the worths, for the welfare function of this power first and POWERS after it."""
    powers = tuple(dict.fromkeys((power, *POWERS)))
    return JuryFindings(
        jurors=jury.jurors,
        rates=tuple(_rates(jury)),
        welfare=tuple(_welfares(jury, powers)),
        changes=tuple(_changes(jury, powers)),
        spread={condition: _spread(jury, condition) for condition in jury.conditions},
        splits=tuple(splits(jury)),
    )


def compositions(jurors: Sequence[Juror]) -> dict[str, Scores]:
    """The juries that are tried, by name: the seats `[jurors]` of each.

    As seated; each juror counted once, where that is another; and the jury without each who sits on
    it, where anybody is left.
    """
    seated = np.array([juror.seats for juror in jurors], dtype=np.float64)
    found = {AS_SEATED: seated}
    if len(set(seated.tolist())) > 1:
        found[EACH_ONCE] = np.ones(len(jurors))
    for place, juror in enumerate(jurors):
        left = np.where(np.arange(len(jurors)) == place, 0.0, seated)
        if seated[place] > 0 and left.any():
            found[f"without {juror.name}"] = left
    return found


def splits(jury: Jury) -> list[Split]:
    """The responses on which jurors differ most, at most one to a scenario and MOST_SPLITS in all.

    By how far the most and the least content are apart; then by the spread of all; then the last
    condition's first.
    """
    known = np.where(np.isnan(jury.worths).all(axis=1, keepdims=True), 0.0, jury.worths)  # alone nobody differs
    far, spread = np.nanmax(known, axis=1) - np.nanmin(known, axis=1), np.nanstd(known, axis=1)
    late = {condition: -place for place, condition in enumerate(jury.conditions)}

    def key(row: int) -> tuple[float, float, int, str, int]:
        one = jury.responses[row]
        return -round(far[row], 9), -round(spread[row], 9), late[one.condition], one.scenario_id, one.sample

    first: dict[str, int] = {}
    for row in sorted(np.flatnonzero(far > _LEAST_SPLIT).tolist(), key=key):
        first.setdefault(jury.responses[row].scenario_id, row)
    return [_split(jury, row) for row in list(first.values())[:MOST_SPLITS]]


def _split(jury: Jury, row: int) -> Split:
    response = jury.responses[row]
    worths = {juror.name: worth for juror, worth in zip(jury.jurors, jury.worths[row].tolist(), strict=True)}
    return Split(
        condition=response.condition,
        scenario_id=response.scenario_id,
        sample=response.sample,
        worths={name: round(worth, 4) for name, worth in worths.items() if not np.isnan(worth)},
        foretold=tuple(name for name in worths if row in jury.foretold.get(name, ())),
    )


def _rates(jury: Jury) -> Iterator[JurorRate]:
    for condition in jury.conditions:
        undecided = np.isnan(jury.of(condition)).sum(axis=0).tolist()
        for place, juror in enumerate(jury.jurors):
            scores = jury.by_scenario(condition, jury.worths[:, place])
            yield JurorRate(condition=condition, juror=juror.name, interval=rate(scores), undecided=undecided[place])


def _welfares(jury: Jury, powers: Sequence[float]) -> Iterator[JuryWelfare]:
    """Every composition by every function; a juror alone by the first, since all are the same for one."""
    tried = [(name, seats, power) for name, seats in compositions(jury.jurors).items() for power in powers]
    if len(jury.jurors) > 1:
        alone = zip(jury.jurors, np.eye(len(jury.jurors)), strict=True)
        tried += [(f"{juror.name} alone", seats, powers[0]) for juror, seats in alone]
    for name, seats, power in tried:
        together = welfare(jury.worths, seats, power)
        for condition in jury.conditions:
            yield JuryWelfare(
                condition=condition,
                function=function_name(power),
                composition=name,
                interval=rate(jury.by_scenario(condition, together)),
            )


def _changes(jury: Jury, powers: Sequence[float]) -> Iterator[JuryWelfare]:
    *others, last = jury.conditions
    seats = compositions(jury.jurors)[AS_SEATED]
    for power in powers:
        together = welfare(jury.worths, seats, power)
        after = jury.by_scenario(last, together)
        for condition in others:
            before = jury.by_scenario(condition, together)
            yield JuryWelfare(
                condition=condition,
                function=function_name(power),
                composition=AS_SEATED,
                interval=difference(before, after),
            )


def _spread(jury: Jury, condition: str) -> dict[str, tuple[int, ...]]:
    """For each juror how many of a condition's responses are worth 0, 1, … 10 tenths."""
    columns = jury.of(condition).T
    tenths = [np.rint(column[~np.isnan(column)] * 10).astype(np.intp) for column in columns]
    counts = [tuple(np.bincount(each, minlength=11).tolist()) for each in tenths]
    return {juror.name: count for juror, count in zip(jury.jurors, counts, strict=True)}
