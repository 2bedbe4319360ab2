"""What trying variants is said to show: the same sentences at a terminal, in Markdown and on a page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prefect_ratify.flows.regressing import Bench
from prefect_ratify.flows.variants import Best, Together, Tried, choices
from prefect_ratify.flows.versions import DRAFT, Versions, asked
from prefect_ratify.flows.word_difference import Piece, word_difference
from prefect_ratify.records import Clause
from prefect_ratify.scenarios.comparing import ALL, Rate
from prefect_ratify.scenarios.pluralism.objectives import front

SHOWN_TOGETHER = 3  # pairs of clauses; those that pull apart most


def notices(versions: Versions, bench: Bench) -> list[str]:
    """What a reader must know of the files before reading figures."""
    told = [f"{name} says what {_the(twin)} says, and is not tried again." for name, twin in versions.twins.items()]
    for variant in versions.variants:
        if variant.unused:
            parts, verb = " and ".join(variant.unused), "is" if len(variant.unused) == 1 else "are"
            told.append(f"{variant.name}: its {parts} {verb} not used; clauses alone are compared and taken.")
    for clause_id in versions.added:
        told.append(f"{clause_id} stands {only_in(versions, clause_id)}: {_judged(bench, clause_id)}.")
    if versions.added:
        told.append(f"Not counted in {ALL}: {_listed(versions.added)}. The draft was not told to keep it.")
    return told


def only_in(versions: Versions, clause_id: str) -> str:
    """`only in variant b`."""
    names = [variant.name for variant in versions.variants if versions.clause(variant.name, clause_id)]
    return f"only in variant{'' if len(names) == 1 else 's'} {_listed(names)}"


def told_best(best: Best, versions: Versions) -> str:
    """Which version is best on a clause, and whether that is more than noise."""
    where = f"{only_in(versions, best.clause_id)}: " if best.clause_id in versions.added else ""
    return where + _told_best(best, versions)


def _told_best(best: Best, versions: Versions) -> str:
    if not best.name:
        return "nothing decided"
    if best.name == DRAFT or not best.is_shown:
        most = "" if best.name == DRAFT else f"; upheld most in {best.name}, by no more than noise could do"
        return f"no variant is shown to be better{most}"
    rivals = f"; not told apart from {_listed(best.rivals)}" if best.rivals else ""
    return f"best in {best.name}{_aside(best, versions)}, by more than noise{rivals}"


def undecided(rate: Rate) -> str:
    """`3 of 24 undecided`; empty where all are decided."""
    count = rate.verdicts.get("undecided", 0)
    return f"{count} of {sum(rate.verdicts.values())} undecided" if count else ""


def wording(versions: Versions, name: str, clause_id: str) -> list[Piece] | None:
    """A version's wording of a clause, marked against the draft's; None where it is the draft's or there is none."""
    clause, draft = versions.clause(name, clause_id), versions.clause(DRAFT, clause_id)
    if clause is None or (name != DRAFT and draft is not None and asked(clause) == asked(draft)):
        return None
    return [Piece(_asked(clause))] if name == DRAFT or draft is None else word_difference(_asked(draft), _asked(clause))


def sums(tried: Tried, name: str) -> str:
    """Which clauses a variant gains and loses together, against the draft."""
    found: dict[str, list[str]] = {"better": [], "worse": []}
    for clause_id in (best.clause_id for best in tried.best if best.clause_id != ALL):
        found.setdefault(tried.difference(DRAFT, name, clause_id).finding, []).append(clause_id)
    gains, losses = (_listed(found[finding]) or "nothing" for finding in ("better", "worse"))
    return f"gains {gains}, loses {losses}"


def pairs(tried: Tried, name: str) -> list[str]:
    """On how many scenarios two clauses moved together, from the draft to a variant."""
    return [_pair(pair) for pair in tried.together if pair.variant == name][:SHOWN_TOGETHER]


def front_words(tried: Tried) -> str:
    """Which versions no other is at least as good as on every clause and better on one.

    See `scenarios.pluralism.objectives` (Sorensen et al. 2024, multi-objective benchmarks).
    """
    clause_ids = [best.clause_id for best in tried.best if best.clause_id != ALL]
    values = [[tried.rate(name, clause_id).interval.value for clause_id in clause_ids] for name in tried.names]
    on_it = front([np.array(each, dtype=np.float64) for each in values])  # None becomes NaN: not decided
    named = _listed([name for name, is_on in zip(tried.names, on_it, strict=True) if is_on])
    others = "" if all(on_it) else "; one of these is on every clause at least as good as each other version"
    return f"On the Pareto front of the clauses, by the estimates: {named}{others}."


def cautions(tried: Tried) -> list[str]:
    """What keeps the figures from being read as more than they are."""
    told = list(tried.regression.judge_words)
    if tried.regression.not_run:
        told.append(
            f"The budget was spent: {tried.regression.not_run} calls were not made, and their rows are missing."
        )
    told.append(front_words(tried))
    told.append("No difference shown is not no difference: the interval says how large it may still be.")
    told.append("A variant is tried as a whole: what a clause gains or loses may come from the wording of another one.")
    if len(tried.names) > 2:
        told.append("The best of several is best partly by luck, and will most likely do a little worse than here.")
    return told


def next_steps(folder: Path, versions: Versions, tried: Tried) -> list[tuple[str, str]]:
    """What to do next: a command, and what it is for."""
    chosen = choices(versions, tried)
    steps = []
    if chosen:
        words = [f"{clause_id}={name}" for clause_id, name in chosen.items()]
        steps.append((_command(folder, *words), "Take the wordings that are shown to be better than the draft's"))
    for clause_id in versions.added:
        name = next(v.name for v in versions.variants if versions.clause(v.name, clause_id))
        steps.append((_command(folder, f"{clause_id}={name}"), f"Add the clause {clause_id}, if you want that rule"))
    if not chosen and (preferred := _reworded(versions)):
        steps.append((_command(folder, preferred), "Take a wording that you prefer all the same"))
    again = f"ratify variants {shlex.quote(str(folder))}"
    steps.append((again, "Then try what you took together, with the same options; the former policy.md is kept"))
    return steps


def _reworded(versions: Versions) -> str:
    """The first rewording of a clause of policy.md, to be taken; empty where variants only add clauses."""
    own = [(i, variant.name) for variant in versions.tried for i in variant.own if i in versions.policy.clause_ids]
    return next((f"{i}={name}" for i, name in own if versions.rewords(name, i)), "")


def _aside(best: Best, versions: Versions) -> str:
    """What a gain has to be read with: that the version was not told the clause, or not anew."""
    if best.clause_id in versions.added:
        return "" if versions.clause(best.name, best.clause_id) else " (a side effect: it does not have the clause)"
    if best.clause_id == ALL or versions.rewords(best.name, best.clause_id):
        return ""
    return " (a side effect: it has the draft's wording)"


def _judged(bench: Bench, clause_id: str) -> str:
    if bench.project.suite.guide(clause_id).check:
        return "put to the model there, and judged in every version by its check"
    if bench.measuring.judge:
        return "put to the model there, and judged in every version by the judge"
    return "put to the model there; nobody can judge it (no check in scenarios.yaml, no --judge)"


def _asked(clause: Clause) -> str:
    """A clause's words as a model sees them: its text, and the worked examples beneath."""
    examples = [f'Example: "{item.query}" → "{item.sentence}"' for item in clause.examples]
    return "\n".join([clause.text, *examples])


def _pair(pair: Together) -> str:
    ways = [f"{n} {way}" for n, way in ((pair.alike, "alike"), (pair.against, "against each other")) if n]
    first, second = pair.clause_ids
    return f"{first} and {second} both moved on {pair.alike + pair.against} scenarios, {' and '.join(ways)}"


def _command(folder: Path, *words: str) -> str:
    return shlex.join(["ratify", "variants", str(folder), "--take", *words])


def _the(name: str) -> str:
    return "the draft" if name == DRAFT else name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
