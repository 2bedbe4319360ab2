"""The jury: what base, refined and finetuned models' responses are worth to each juror, and to all of them.

People are heard by their rulings on scenarios of both splits. Judges are shown those on development
scenarios alone, since what they say also chooses wordings and training rows; a jury's verdicts choose
nothing, and what a person said of a held-out scenario is the best that is known of what that person
makes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from prefect_ratify.flows.pages import percent, reach
from prefect_ratify.flows.pluralism import MEASURED
from prefect_ratify.flows.project import Project
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.names import name_key
from prefect_ratify.records import Response, Verdict
from prefect_ratify.scenarios.judging import judge
from prefect_ratify.scenarios.pluralism.alpha import agreements, alpha_words
from prefect_ratify.scenarios.pluralism.jurors import (
    NEAREST,
    Foresight,
    Heard,
    as_table,
    by_rulings,
    clause_weights,
    foresight,
    worths,
)
from prefect_ratify.scenarios.pluralism.jury import Jury, deliberate
from prefect_ratify.scenarios.pluralism.jury_records import Foretold, Juror
from prefect_ratify.scenarios.pluralism.welfare import function_name
from prefect_ratify.scenarios.precedents import Cases
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.store import write_record

JURIES = "juries.json"


def hear_jury(
    run: Run,
    folder: Path,
    answers: Mapping[str, Sequence[Response]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> None:
    """Write juries.json into `folder`; nothing where stakeholders.yaml describes no jurors.

    `answers` and `verdicts` are those of held-out scenarios, by condition.
    """
    stakeholders, clause_ids = run.project.stakeholders, run.project.policy.clause_ids
    if not stakeholders.jurors:
        return
    conditions = tuple(name for name in MEASURED if name in answers)
    responses = tuple(response for name in conditions for response in answers[name])
    given = [verdict for name in conditions for verdict in verdicts[name]]
    heard = {juror.name: _hear(run, juror, responses, given) for juror in stakeholders.jurors}
    columns = [worths(heard[juror.name].verdicts, clause_weights(juror, clause_ids)) for juror in stakeholders.jurors]
    foretold = {name: each.foretold_on for name, each in heard.items()}
    jury = Jury(stakeholders.jurors, conditions, responses, np.stack(columns, axis=1), foretold)
    found = deliberate(jury, stakeholders.power)
    known = {j.name: foresight(rulings_by(j.name, run.cases())) for j in jury.jurors if j.kind == "rulings"}
    notes = [note for juror in jury.jurors for note in _notes(run, juror, heard[juror.name], known.get(juror.name))]
    added = {
        "agreement": agreements(run.cases().rulings),
        "foretold": tuple(_foretold(name, heard[name], each) for name, each in known.items()),
        "notes": (*notes, *_unsure(heard.values()), *_left_out(jury)),
    }
    write_record(folder / JURIES, found.model_copy(update=added))


def described(project: Project) -> list[str]:
    """Who sits on the project's jury, for whom what is missing, and how far people rule alike; no line for nothing."""
    jurors, cases = project.stakeholders.jurors, project.cases(None)
    lines = []
    if jurors:
        function = function_name(project.stakeholders.power)
        lines.append(f"a jury judges the compared models' responses (welfare: {function}): {_listed(jurors)}")
    if told := [_named(juror) for juror in jurors if juror.kind == "perspective"]:
        lines.append(f"{', '.join(told)}: a judge model decides (--judge), or nothing is decided for them")
    for juror in jurors:
        counts = Counter(ruling.clause_id for ruling in rulings_by(juror.name, cases).rulings)
        few = [clause_id for clause_id in project.policy.clause_ids if counts[clause_id] < NEAREST]
        if juror.kind == "rulings" and few:
            lines.append(f"{juror.name}: fewer than {NEAREST} rulings on {', '.join(few)}; nothing is foretold there")
    return [*lines, *(f"rulings: {alpha_words(found)}" for found in agreements(cases.rulings)[:1])]


def _listed(jurors: Sequence[Juror]) -> str:
    """`Ana, renter (simulated) × 2, Bo (without a seat)`."""
    seats = {1.0: "", 0.0: " (without a seat)"}
    return ", ".join(f"{_named(juror)}{seats.get(juror.seats, f' × {juror.seats:g}')}" for juror in jurors)


def rulings_by(name: str, cases: Cases) -> Cases:
    """The rulings of one person, however the name is spelt."""
    own = tuple(ruling for ruling in cases.rulings if name_key(ruling.by) == name_key(name))
    return Cases(own, cases.embed)


def _hear(run: Run, juror: Juror, responses: Sequence[Response], verdicts: Sequence[Verdict]) -> Heard:
    """The juror's verdicts, by the clauses that the scenarios touch."""
    policy, scenarios = run.project.policy, run.project.suite.split("held_out")
    if juror.kind == "rulings":
        by_id = {scenario.id: scenario for scenario in scenarios}
        return by_rulings(rulings_by(juror.name, run.cases()), responses, by_id, policy.clause_ids)
    if juror.kind == "perspective":
        verdicts = judge(responses, scenarios, _in_perspective(run, juror), run.store)
    return Heard(as_table(verdicts, responses, policy.clause_ids))


def _in_perspective(run: Run, juror: Juror) -> Yardstick:
    """The run's judges, told the perspective: with no check, ruling or precedent, which are of others."""
    from prefect_ratify.policy_modules.perspectives import in_perspective

    policy = run.project.policy
    told = tuple(in_perspective(each, juror.perspective) for each in run.judges())
    return Yardstick(policy, {}, judges=told, barred=run.project.calibration.barred(policy))


def _foretold(name: str, heard: Heard, known: Foresight) -> Foretold:
    return Foretold(
        juror=name,
        ruled=heard.ruled,
        foretold=heard.foretold,
        right=known.right,
        commoner=known.commoner,
        better=is_better(known),
    )


def is_better(known: Foresight) -> bool:
    """Whether rulings are shown to be foretold better than by guessing the commoner outcome."""
    return (known.gain.low or 0.0) > 0


def _notes(run: Run, juror: Juror, heard: Heard, known: Foresight | None) -> list[str]:
    if juror.kind == "perspective" and not run.settings.models.judge:
        return [f"{_named(juror)}: nothing is decided for them, since no judge model is named (--judge)."]
    if known is None:
        return []
    total = heard.ruled + heard.foretold
    if not total:
        return [f"{juror.name}: nothing is decided for them, since no clause has {NEAREST} rulings by them."]
    return [
        f"{juror.name}: {heard.ruled} of {total} verdicts are their own rulings on these responses; the others are "
        f"foretold from their {NEAREST} most similar rulings on the clause. {foresight_words(known)}"
    ]


def foresight_words(known: Foresight) -> str:
    """How far a person's rulings can be foretold, and whether that is more than guessing."""
    right, commoner = known.right, known.commoner
    if right.value is None:
        return f"Of {known.rulings} rulings none can be foretold from those on other scenarios."
    better = "which is better" if is_better(known) else "which is not shown to be better"
    return (
        f"Of {known.rulings} rulings {known.foretold} could be foretold from those on other scenarios, "
        f"{percent(right.value)} [{reach(right)}] of them rightly, {better} than always guessing the commoner outcome "
        f"({percent(commoner.value)})."
    )


def _unsure(heard: Iterable[Heard]) -> list[str]:
    """What no interval holds, where anything was foretold."""
    if not any(each.foretold for each in heard):
        return []
    return ["Intervals are over scenarios: that what is foretold may not be what people would say is in none of them."]


def _left_out(jury: Jury) -> list[str]:
    """Where jurors were left out of the welfare of responses on which nothing is decided for them."""
    undecided = np.isnan(jury.worths)
    counts = {_named(juror): int(n) for juror, n in zip(jury.jurors, undecided.sum(axis=0), strict=True) if n}
    if not counts:
        return []
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [
        f"Of {len(jury.responses)} responses of all models, jurors were left out where nothing was decided for them: "
        f"{told}. The welfare of those is that of the others; nobody was heard on {int(undecided.all(axis=1).sum())}."
    ]


def _named(juror: Juror) -> str:
    return f"{juror.name} (simulated)" if juror.simulated else juror.name
