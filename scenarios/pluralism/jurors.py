"""Jurors: what each of them makes of responses, clause by clause, and what a response is worth to them.

A person is heard by recorded rulings. On a response that the person ruled on, that ruling is the
verdict. Elsewhere it is foretold from the person's own rulings on the same clause, of which the
NEAREST most similar cases vote, each by its similarity (the distance-weighted nearest-neighbour rule,
Dudani 1976, IEEE Transactions on Systems, Man, and Cybernetics 6(4); that a jury is foretold juror by
juror, and not as one crowd, is from Gordon et al. 2022, Jury Learning, arXiv 2202.02950).

Verdicts are arrays `[responses, clauses]` of 1 (upheld), 0 (violated) and NaN (undecided, not
applicable, or a clause that the scenario does not touch).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prefect_ratify.records import Outcome, Response, Scenario, Verdict
from prefect_ratify.scenarios.agreement import Rated, agreement
from prefect_ratify.scenarios.labels import key_of
from prefect_ratify.scenarios.pluralism.decided import mean_of_decided
from prefect_ratify.scenarios.pluralism.jury_records import Juror
from prefect_ratify.scenarios.precedents import Cases, Ruling, case_text
from prefect_ratify.scenarios.statistics import Interval, Scores, difference

NEAREST = 5  # rulings that vote; who has fewer on a clause is not foretold there
_WORTH: dict[str, float] = {"upheld": 1.0, "violated": 0.0}


@dataclass(frozen=True)
class Heard:
    """A juror's verdicts `[responses, clauses]`; how many of them are rulings by the juror, and how many foretold.

    `foretold_on` has the places of the responses on which any is foretold.
    """

    verdicts: Scores
    ruled: int = 0
    foretold: int = 0
    foretold_on: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Foresight:
    """How well a person's rulings are foretold from the person's rulings on other scenarios.

    `right` is the share of rulings that are foretold as the person ruled, `commoner` that of always
    guessing the outcome that is commoner on the clause in the others, and `gain` the difference. All
    are over the `foretold` of the person's `rulings`.
    """

    rulings: int
    foretold: int
    right: Interval
    commoner: Interval
    gain: Interval


def worths(verdicts: Scores, weights: Scores) -> Scores:
    """`[responses]` in [0, 1]: the upheld share of the decided clauses, by `[clauses]` weights; NaN for none."""
    return mean_of_decided(verdicts, weights)


def clause_weights(juror: Juror, clause_ids: Sequence[str]) -> Scores:
    """`[clauses]`: how much each matters to the juror; 1 where nothing is said of it."""
    return np.array([juror.weights.get(clause_id, 1.0) for clause_id in clause_ids], dtype=np.float64)


def as_table(verdicts: Iterable[Verdict], responses: Sequence[Response], clause_ids: Sequence[str]) -> Scores:
    """Verdicts on these responses, of whatever conditions, as an array."""
    rows = {(r.condition, r.scenario_id, r.sample): row for row, r in enumerate(responses)}
    columns = {clause_id: column for column, clause_id in enumerate(clause_ids)}
    table = np.full((len(rows), len(columns)), np.nan)
    for verdict in verdicts:
        place = rows.get((verdict.condition, verdict.scenario_id, verdict.sample))
        if place is not None and verdict.clause_id in columns:
            table[place, columns[verdict.clause_id]] = _WORTH.get(verdict.outcome, np.nan)
    return table


def by_rulings(
    cases: Cases, responses: Sequence[Response], scenarios: Mapping[str, Scenario], clause_ids: Sequence[str]
) -> Heard:
    """What a person of these rulings (in `cases` there are no others) makes of responses.

    On the clauses that their scenarios touch; nothing is made of a response that did not come.
    """
    own = {key_of(r.scenario_id, r.response, r.clause_id): r.outcome for r in reversed(cases.rulings)}
    asked = [
        (row, column, clause_id, case_text(scenarios[r.scenario_id].query, r.text))
        for row, r in enumerate(responses)
        for column, clause_id in enumerate(clause_ids)
        if not r.error and clause_id in scenarios[r.scenario_id].clause_ids
    ]
    cases.prepare((clause_id, text) for _, _, clause_id, text in asked)
    table, ruled_on, foretold_on = np.full((len(responses), len(clause_ids)), np.nan), list[int](), list[int]()
    for row, column, clause_id, text in asked:
        ruled = own.get(key_of(responses[row].scenario_id, responses[row].text, clause_id))
        outcome = ruled or foretell(cases.alike(clause_id, text, NEAREST))
        table[row, column] = _WORTH.get(outcome, np.nan)
        if outcome != "undecided":
            (ruled_on if ruled else foretold_on).append(row)
    return Heard(table, len(ruled_on), len(foretold_on), frozenset(foretold_on))


def foretell(near: Sequence[tuple[Ruling, float]]) -> Outcome:
    """The outcome for which rulings weigh most, by their similarity, of NEAREST.

    Undecided where there are fewer, where two outcomes weigh the same, or where none is similar at all.
    """
    if len(near) < NEAREST:
        return "undecided"
    weights = defaultdict[Outcome, float](float)
    for ruling, likeness in near:
        weights[ruling.outcome] += max(likeness, 0.0)
    most = max(weights.values())
    first = [outcome for outcome, weight in weights.items() if weight > most - 1e-9]
    return first[0] if len(first) == 1 and most > 0 else "undecided"


def foresight(cases: Cases) -> Foresight:
    """Foretell each ruling from the person's rulings on other scenarios, and hold that against what was ruled.

    What is on the same scenario is left out with it (leave one out, by scenario): responses to one
    request are alike, and most that are to be foretold are to requests without a ruling.
    """
    on_clause, on_both = defaultdict[str, Counter[str]](Counter), defaultdict[tuple[str, str], Counter[str]](Counter)
    for ruling in cases.rulings:
        on_clause[ruling.clause_id][ruling.outcome] += 1
        on_both[ruling.clause_id, ruling.scenario_id][ruling.outcome] += 1
    cases.prepare((ruling.clause_id, case_text(ruling.query, ruling.response)) for ruling in cases.rulings)
    right, commoner = list[Rated](), list[Rated]()
    for ruling in cases.rulings:
        beside = on_both[ruling.clause_id, ruling.scenario_id]
        said = foretell(_elsewhere(ruling, cases, beside.total()))
        if said != "undecided":
            guess = (on_clause[ruling.clause_id] - beside).most_common(1)[0][0]
            right.append((ruling.scenario_id, ruling.outcome, said))
            commoner.append((ruling.scenario_id, ruling.outcome, guess))
    gain = difference(_by_scenario(commoner), _by_scenario(right))
    return Foresight(len(cases.rulings), len(right), agreement(right), agreement(commoner), gain)


def _elsewhere(ruling: Ruling, cases: Cases, beside: int) -> list[tuple[Ruling, float]]:
    """The NEAREST rulings on other scenarios; `beside` are on its own."""
    near = cases.alike(ruling.clause_id, case_text(ruling.query, ruling.response), NEAREST + beside)
    return [each for each in near if each[0].scenario_id != ruling.scenario_id][:NEAREST]


def _by_scenario(rated: Sequence[Rated]) -> Scores:
    """`[scenarios]`: how often both say the same."""
    same = defaultdict[str, list[bool]](list)
    for scenario_id, first, second in rated:
        same[scenario_id].append(first == second)
    return np.array([np.mean(each) for each in same.values()], dtype=np.float64)
