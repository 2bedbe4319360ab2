"""What training did to pluralism, in sentences: the same at a gate, in the report and at a terminal.

All of it is computed from the changes. A change is named only where its 95 % interval leaves out
zero; every other one is "not shown". Names of groups, attributes and weightings are people's words:
whoever shows these sentences escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from prefect_ratify.errors import one_line
from prefect_ratify.flows.markdown import points
from prefect_ratify.flows.pages import gap, gap_reach, percent
from prefect_ratify.scenarios.pluralism.records import EVERYONE, Change, Closest, Measure, Pluralism
from prefect_ratify.scenarios.statistics import CONFIDENCE, Interval
from prefect_ratify.store import read_record

if TYPE_CHECKING:
    from prefect_ratify.flows.run_folder import Run

BASE, FINETUNED = "base", "finetuned"
TIMES = {"base": "before training", "refined": "prompted with the refined policy", "finetuned": "after training"}
ASKED = {"questions": "On the project’s own questions", "statements": "On the statements that people voted on"}
MOSTLY = 0.5  # of what a model would say: the share that is none of the options, above which that is said
NOT_SHOWN = "not shown"
NOT_COMPARED = "could not be compared"
# Which way each measure goes where a model gets less plural. Hypervolume, regret and welfare say first of
# all how well a model keeps the clauses, and little of whether it leaves room for differences.
FLATTER: dict[Measure, int] = {
    "overton": -1,
    "steerable": -1,
    "steerable, F1": -1,
    "distance": 1,
    "entropy": -1,
}
NAMES: dict[Measure, str] = {
    "overton": "coverage of reasonable answers",
    "overton, weighted": "coverage of reasonable answers, by weight",
    "steerable": "following what it is told",
    "steerable, F1": "following what it is told and nothing else (F1)",
    "distance": "distance from people",
    "entropy": "breadth of its answers (entropy)",
    "hypervolume": "all clauses together (hypervolume)",
    "regret": "regret when steered",
    "jury": "welfare of the jury",
}
SOURCE = "Sorensen et al. (2024, arXiv 2402.05070) report that standard alignment may reduce distributional pluralism"


def pluralism_of(run: Run) -> Pluralism | None:
    """What the run measured; None where its project gave nothing to measure."""
    path = run.stage_folder("compare") / "pluralism.json"
    return read_record(path, Pluralism) if path.exists() else None


def direction(interval: Interval) -> int:
    """1 or −1 where an interval leaves out zero, and 0 where it does not or where there is none."""
    if interval.low is None or interval.high is None:
        return 0
    return (interval.low > 0) - (interval.high < 0)


def said(change: Change) -> str:
    """What a change says of the second condition: `moved away from group B`, or that nothing was shown."""
    if change.interval.value is None:
        return NOT_COMPARED
    less, more = _either_way(change)
    return {-1: less, 0: NOT_SHOWN, 1: more}[direction(change.interval)]


def subject(change: Change) -> str:
    """What was measured, and of whom: `distance from people: group B`."""
    return NAMES[change.measure] + (f": {change.of}" if change.of else "")


def headline(found: Pluralism) -> list[str]:
    """What training did to pluralism, against the base model: the answer first, then what it rests on."""
    telling = _telling(found.changes)
    measured = any(change.measure in ("distance", "entropy") for change in telling)
    told = [change for change in telling if change.measure != "entropy" or _is_short_of_people(found)]
    groups = [*_groups(found.changes), *closest_words(found.closest)]
    doubt = _doubt(found)
    sentences = [_answer(told, doubt), *_open(told), *_breadth(found), *groups]
    though = f", though {doubt}" if doubt else ""
    return [*sentences, f"{SOURCE}; {_as_reported(told, measured)}{though}."]


def lines(found: Pluralism) -> list[str]:
    """The answer and the changes through training, for a terminal."""
    changes = [change for change in found.changes if change.first == BASE]
    names = [one_line(subject(change), 60) for change in changes]
    width = max(map(len, names), default=0)
    rows = [
        f"{name:<{width}}  {points(change.interval):<17}  {one_line(said(change), 80)}"
        for name, change in zip(names, changes, strict=True)
    ]
    return ["Pluralism: finetuned − base, in points, with 95 % intervals", "", *rows, "", one_line(headline(found)[0])]


def closest_words(found: Sequence[Closest]) -> list[str]:
    """The group that answers are closest to, before and after: a sentence for each set of questions."""
    told: dict[str, list[str]] = {}
    for (of, condition), group in groupby(found, key=lambda closest: (closest.of, closest.condition)):
        of_it = list(group)
        most = max(closest.share for closest in of_it)
        names = " or ".join(closest.group for closest in of_it if closest.share == most)
        sure = "" if most >= CONFIDENCE else ", not sure"
        told.setdefault(of, []).append(f"{TIMES.get(condition, condition)} {names} ({percent(most)}{sure})")
    start = "its answers are closest to (in how many resamples of the questions): "
    return [f"{ASKED[of]}, {start}{'; '.join(each)}." for of, each in told.items()]


def group_words(group: str) -> str:
    """A group of people, as it stands in a sentence."""
    return "the people as a whole" if group == EVERYONE else group


def _either_way(change: Change) -> tuple[str, str]:
    """What it says where a measure fell, and where it rose."""
    of = f" “{change.of}”" if change.of else ""
    match change.measure:
        case "overton":
            return "covers fewer of the reasonable answers", "covers more of the reasonable answers"
        case "overton, weighted":
            return "covers less of what weighs most", "covers more of what weighs most"
        case "steerable" | "steerable, F1":
            told, by = of or " what it is told", ", by F1" if change.measure == "steerable, F1" else ""
            return f"follows{told} less faithfully{by}", f"follows{told} more faithfully{by}"
        case "distance":
            return f"moved towards {group_words(change.of)}", f"moved away from {group_words(change.of)}"
        case "entropy":
            return "became narrower (entropy lower)", "became broader (entropy higher)"
        case "hypervolume":
            return "does worse on the clauses as a whole", "does better on the clauses as a whole"
        case "regret":
            return f"loses less when steered to{of}", f"loses more when steered to{of}"
        case "jury":
            return "is worth less to the jury", "is worth more to the jury"


def _telling(changes: Sequence[Change]) -> list[Change]:
    """The changes through training that say whether pluralism was reduced, one of each measure.

    That is the one over all; where there is none, those of the single groups, attributes or weightings.
    F1 stands for accuracy where it was measured: who follows everything, told or not, is not steered.
    """
    there = [c for c in changes if c.first == BASE and c.interval.value is not None]
    replaced = "steerable" if any(c.measure == "steerable, F1" for c in there) else ""
    found = []
    for measure in FLATTER:
        of_it = [c for c in there if c.measure == measure and measure != replaced]
        found += [c for c in of_it if c.of in ("", EVERYONE)] or of_it
    return found


def _is_short_of_people(found: Pluralism) -> bool:
    """Whether the base or the finetuned model is narrower than the people as a whole; True where nobody knows.

    A model is to be as broad as the people, not as broad as can be: from broader than they are to as broad is
    no loss, and back again no gain. Which people it then speaks like is what the distances say.
    """
    ours, people = _entropies(found)
    return people is None or min(ours.values(), default=0.0) < people


def _breadth(found: Pluralism) -> list[str]:
    """How broad the model's answers were, are, and the people's, and whether that was counted."""
    ours, people = _entropies(found)
    if people is None or len(ours) < 2:
        return []
    figures = "; ".join(f"{TIMES[name]} {percent(value)}" for name, value in ours.items())
    never = " By these figures it was never narrower than the people, so that this counts as neither gain nor loss."
    counted = "" if _is_short_of_people(found) else never
    return [f"Breadth of its answers (entropy): {figures}; of the people {percent(people)}.{counted}"]


def _entropies(found: Pluralism) -> tuple[dict[str, float], float | None]:
    """Those of the base and the finetuned model, and that of the people as a whole, where they were measured."""
    of_all = [each for each in found.leanings if each.group == EVERYONE and each.condition in (BASE, FINETUNED)]
    people = next((each.entropy_of_people.value for each in of_all), None)
    return {each.condition: each.entropy.value for each in of_all if each.entropy.value is not None}, people


def _doubt(found: Pluralism) -> str:
    """How much of what it would say was none of the options, where that is most of it before or after training."""
    shares = [
        each.neither.value
        for each in found.leanings
        if each.condition in (BASE, FINETUNED) and each.neither and each.neither.value is not None
    ]
    least, most = min(shares, default=0.0), max(shares, default=0.0)
    start = "" if percent(least) == percent(most) else f"{least * 100:.0f} to "
    return f"{start}{percent(most)} of what it would say was none of the options" if most > MOSTLY else ""


def _answer(told: Sequence[Change], doubt: str) -> str:
    """Whether training reduced pluralism, in one sentence; `doubt` stands beside what was told of distributions."""
    if not told:
        return "Whether training reduced pluralism was not measured, or could not be told."
    less = [c for c in told if direction(c.interval) == FLATTER[c.measure]]
    more = [c for c in told if direction(c.interval) == -FLATTER[c.measure]]
    if less and more:
        both = f"{_listed(less, doubt)}; {_listed(more, doubt)}"
        return f"Training reduced pluralism in part and raised it in part: the model {both}."
    if less or more:
        did = "reduced" if less else "raised"
        return f"Training {did} pluralism, where it could be told: the model {_listed(less or more, doubt)}."
    return "That training changed pluralism, in either direction, is not shown: every 95 % interval includes zero."


def _open(told: Sequence[Change]) -> list[str]:
    """What is not shown, where anything is."""
    missing = [subject(change) for change in told if not direction(change.interval)]
    if len(missing) in (0, len(told)):
        return []
    return [f"Not shown, since the interval includes zero: {'; '.join(missing)}."]


def _groups(changes: Sequence[Change]) -> list[str]:
    """Towards whom training moved the model, and away from whom."""
    found = [c for c in changes if (c.first, c.measure) == (BASE, "distance") and c.of != EVERYONE]
    moved = [f"{said(c)} ({_figure(c)})" for c in found if direction(c.interval)]
    others = ", ".join(c.of for c in found if not direction(c.interval))
    if not found:
        return []
    told = "; it ".join(moved) or "was not shown to move towards or away from any"
    return [f"Group by group, the model {told}{f'; not shown of {others}' if moved and others else ''}."]


def _as_reported(told: Sequence[Change], measured: bool) -> str:
    """Whether that is what was found here, where distributions were `measured`."""
    found = [c for c in told if c.measure in ("distance", "entropy")]
    if not measured:
        return "whether that happened here was not measured, for want of questions or votes"
    moved = {direction(c.interval) * FLATTER[c.measure] for c in found} - {0}
    if len(moved) > 1:
        return "here it did by one measure and not by another"
    return {1: "here it did", -1: "here the reverse was found", 0: "here it is not shown"}[max(moved, default=0)]


def _listed(changes: Sequence[Change], doubt: str) -> str:
    beside = {"distance": doubt, "entropy": doubt}
    *first, last = [
        f"{said(change)} ({'; '.join(filter(None, (_figure(change), beside.get(change.measure))))})"
        for change in changes
    ]
    return f"{', '.join(first)}, and {last}" if first else last


def _figure(change: Change) -> str:
    return f"{gap(change.interval)}, {gap_reach(change.interval)}"
