"""What a jury made of the models, in sentences: the same at a gate, in the report and at a terminal.

Whoever shows them escapes them. A juror that is a model told a perspective, or a weighting of the
clauses, is named as simulated wherever its name stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.markdown import points
from prefect_ratify.flows.pages import gap, gap_reach, percent, reach
from prefect_ratify.flows.pluralism_words import BASE, NOT_COMPARED, NOT_SHOWN, direction
from prefect_ratify.scenarios.pluralism.jury_records import Foretold, JuryFindings, JuryWelfare
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import read_record

if TYPE_CHECKING:
    from prefect_ratify.flows.run_folder import Run

SIMULATED = "simulated"
AS_SEATED = "as seated"
FUNCTIONS = {
    "mean": "mean (utilitarian)",
    "nash": "Nash (geometric mean)",
    "rawls": "Rawls (the least content juror)",
    "power -1": "power −1 (harmonic mean)",
}


def jury_of(run: Run) -> JuryFindings | None:
    """What the run's jury found; None where its project has no jurors."""
    path = run.stage_folder("compare") / "juries.json"
    return read_record(path, JuryFindings) if path.exists() else None


def simulated(found: JuryFindings) -> list[str]:
    """The names of the jurors that are no people, in the order of their seats."""
    return [juror.name for juror in found.jurors if juror.simulated]


def named(name: str, found: JuryFindings) -> str:
    """A juror's name, or a composition's; marked where that juror is simulated."""
    of_it = {form for juror in simulated(found) for form in (juror, f"{juror} alone", f"without {juror}")}
    return f"{name} ({SIMULATED})" if name in of_it else name


def foretold_words(found: Foretold) -> str:
    """How much of a person's voice is their own, and what the rest is worth."""
    total = found.ruled + found.foretold
    if not total:
        return "nothing could be foretold from so few rulings"
    share = f"{found.foretold:,} of {total:,} verdicts foretold from similar rulings"
    if found.right.value is None:
        return share
    worth = "" if found.better else "not shown to be "
    guess = f"{worth}better than guessing the commoner outcome ({percent(found.commoner.value)})"
    return f"{share}, which is right in {percent(found.right.value)} [{reach(found.right)}], {guess}"


def function_words(function: str) -> str:
    """A welfare function's name for readers."""
    return FUNCTIONS.get(function, function.replace("-", "−"))


def welfare_said(interval: Interval) -> str:
    """What a change of welfare says of the finetuned model."""
    if interval.value is None:
        return f"the change {NOT_COMPARED}"
    return {
        -1: "the finetuned model is worth less to the jury",
        0: f"a change is {NOT_SHOWN}",
        1: "the finetuned model is worth more to the jury",
    }[direction(interval)]


def jury_headline(found: JuryFindings) -> list[str]:
    """Who sits on the jury, and whether it is more content with the finetuned model than with the base model."""
    changes = [change for change in found.changes if change.condition == BASE]
    told = [f"{function_words(c.function)}, {welfare_said(c.interval)}{_figure(c.interval)}" for c in changes]
    others = [f"By other welfare functions: {'; '.join(told[1:])}."] if told[1:] else []
    first = f"by {told[0]}" if told else "what training changed for it was not measured"
    return [f"On a jury of {_seated(found)}: {first}.", *others]


def _seated(found: JuryFindings) -> str:
    """Who sits: `3 people (170 of their 180 verdicts foretold) and 2 simulated jurors`."""
    seated = [juror for juror in found.jurors if juror.seats]
    people, models = (sum(juror.simulated == is_model for juror in seated) for is_model in (False, True))
    names = {juror.name for juror in seated}
    foretold = sum(each.foretold for each in found.foretold if each.juror in names)
    total = foretold + sum(each.ruled for each in found.foretold if each.juror in names)
    of_them = f" ({foretold:,} of their {total:,} verdicts foretold)" if foretold else ""
    sat = [f"{people} {'person' if people == 1 else 'people'}{of_them}"] if people else []
    sat += [f"{models} {SIMULATED} juror{'' if models == 1 else 's'}"] if models else []
    return " and ".join(sat)


def ranking(found: JuryFindings) -> str:
    """Whether another composition or welfare function would put another model first, by the figures alone."""
    places = dict.fromkeys((each.composition, each.function) for each in found.welfare)
    counts = Counter(filter(None, (_first(found.welfare, *place) for place in places)))
    if not counts:
        return ""
    told = ", ".join(f"{name} in {count}" for name, count in counts.most_common())
    tried = f"{counts.total()} combination{'' if counts.total() == 1 else 's'} of composition and welfare function"
    return f"The model that comes first, in {tried}: {told} (by the figures alone; intervals may overlap)."


def jury_lines(found: JuryFindings) -> list[str]:
    """Who sat, what changed for them, and the ranking, for a terminal."""
    people = ", ".join(one_line(named(juror.name, found), 40) for juror in found.jurors)
    rows = [
        f"{one_line(function_words(c.function), 40):<34}  {points(c.interval):<17}  {welfare_said(c.interval)}"
        for c in found.changes
        if c.condition == BASE
    ]
    ranked = [one_line(ranking(found))] if ranking(found) else []
    title = f"Jury of {_seated(found)}: welfare, finetuned − base, in points, with 95 % intervals"
    return [title, f"Jurors: {people}", "", *rows, "", *ranked]


def _figure(interval: Interval) -> str:
    return f" ({gap(interval)}, {gap_reach(interval)})" if gap_reach(interval) else ""


def _first(welfare: Sequence[JuryWelfare], composition: str, function: str) -> str:
    """The condition of the highest welfare, or that several have it; empty where nothing was measured."""
    of_it = {
        each.condition: each.interval.value
        for each in welfare
        if (each.composition, each.function) == (composition, function) and each.interval.value is not None
    }
    best = [condition for condition, value in of_it.items() if value == max(of_it.values())]
    return "a tie" if len(best) > 1 else "".join(best)
