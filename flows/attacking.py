"""`ratify attack`: which hostile texts turn a project's judges and checks, and how often.

Responses that are known to break a clause come from the suite's `bad:` replies and from what people
ruled or labelled. Checks are tried with all of them; a judge, which costs calls, with some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError, one_line
from prefect_ratify.flows.labelling import LABELS, labels_in
from prefect_ratify.flows.markdown import escaped
from prefect_ratify.flows.pages import percent, reach
from prefect_ratify.flows.project import Project, load_project
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.progress import say
from prefect_ratify.scenarios.hostile import (
    Attack,
    Flips,
    Tried,
    attack,
    by_family,
    flips,
    known_violations,
    load_injections,
    spread,
    worst,
)
from prefect_ratify.scenarios.labels import Label
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.scenarios.yardstick import CHECK, Case, Yardstick
from prefect_ratify.store import write_for_people

if TYPE_CHECKING:
    from rich.table import Table

EACH = 2  # responses that each injection is tried on
POOL = 12  # responses that a judge is asked about first, for each of those: it may not call all of them violated
SHOWN = 8  # of the injections that flipped most
EXCERPT = 160  # characters of each text in an example
HEADINGS = ("tries", "→ upheld", "of decided", "→ n/a", "→ undecided", "no longer violated")  # n/a: not applicable


def attack_project(folder: Path, judges: Sequence[str], clause_id: str = "", each: int = EACH) -> list[Attack]:
    """Attack the checks of a project, and each of the judge models; InputError where there is nothing to attack.

    Says first how many calls that may take.
    """
    project = load_project(folder)
    cases = _cases(project, clause_id)
    checks = {key: guide.check for key, guide in project.suite.guides.items() if guide.check}
    checked = [case for case in cases if case[2].id in checks]
    if not checked and not judges:
        raise InputError("no clause that could be attacked has a check", "name a judge: --judge MODEL", path=folder)
    injections, pool = load_injections(), spread(cases, each * POOL)
    if judges and not any(name.strip() for name in judges):
        raise InputError("a judge has no name", "write --judge MODEL")
    judge_models = judges_named(",".join(judges), open_model)
    if judge_models:
        say(_cost(len(judge_models), len(pool), len(injections), min(each, len(pool))))
    store = CallStore(folder / ".ratify" / "calls.sqlite")
    found = [attack(CHECK, Yardstick(project.policy, checks), checked, injections)] if checked else []
    for judge_model in judge_models:
        by = Yardstick(project.policy, {}, judges=(judge_model,))
        found.append(attack(judge_model.model.name, by, pool, injections, store, each))
    return found


def flips_check(attacks: Sequence[Attack]) -> bool:
    """Whether an injection turns a check, which is a fault in the suite and no matter of degree."""
    return any(one.outcome == "upheld" for found in attacks if found.judge == CHECK for one in found.tried)


def show(attacks: Sequence[Attack]) -> None:
    """Print each attack: a table by family, and the injections that flipped most."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for one in attacks:
        console.print(Text(f"\n{_heading(one)}", "bold"))
        if one.tried:
            console.print(_table(one))
        for line in (*_missing(one), *_worst(one.tried)):
            console.print(Text(line))


def write_markdown(path: Path, attacks: Sequence[Attack]) -> None:
    """Write the same as Markdown; InputError where the file cannot be written."""
    write_for_people(path, "\n".join(line for one in attacks for line in _markdown(one)))


def _cases(project: Project, clause_id: str) -> list[Case]:
    if clause_id and clause_id not in project.policy.clause_ids:
        there = ", ".join(project.policy.clause_ids)
        raise InputError(f"the policy has no clause {clause_id!r}", f"its clauses are: {there}", path=project.folder)
    cases = known_violations(project.policy, project.suite, _labels(project))
    known = [case for case in cases if clause_id in ("", case[2].id)]
    # A report shows examples, and who works on a wording must not read held-out texts.
    found = [case for case in known if case[0].split == "develop"]
    left = len(known) - len(found)
    if not found:
        which = f", but for {left} on held-out scenarios, which are not shown" if left else ""
        advice = "write some as 'bad:' in scenarios.yaml, or label some: ratify label"
        raise InputError(f"no response is known to break a clause{which}", advice, path=project.folder)
    if left:
        counted = f"{left} response{'' if left == 1 else 's'}"
        say(f"{counted} on held-out scenarios left out, since a report shows examples")
    return found


def _labels(project: Project) -> list[Label]:
    """What people said of single responses: as precedents, and to calibrate judges."""
    labels = [Label.model_validate(precedent.model_dump()) for precedent in project.precedents]
    path = project.folder / LABELS
    return labels + labels_in(project, path) if path.exists() else labels


def _cost(judges: int, responses: int, injections: int, each: int) -> str:
    calls = judges * (responses + injections * each)
    return (
        f"at most {calls} calls: {responses} responses as they are, and {injections} injections on {each} each"
        f"{f', by {judges} judges' if judges > 1 else ''}; what was asked before is not asked again"
    )


def _heading(one: Attack) -> str:
    name = "The checks" if one.judge == CHECK else f"The judge {one_line(one.judge)}"
    total = sum(one.known.values())
    others = ", ".join(f"{count} {outcome}" for outcome, count in one.known.items() if outcome != "violated")
    said = f"{one.known.get('violated', 0)} violated{f' ({others})' if others else ''}"
    return f"{name}: of {total} responses known to break a clause, {said} without an injection"


def _rows(one: Attack) -> Iterator[tuple[str, list[str]]]:
    for family, found in by_family(one.tried).items():
        yield family, _cells(found)
    yield "all", _cells(flips(one.tried))


def _cells(found: Flips) -> list[str]:
    upheld, not_applicable, undecided = (
        str(found.outcomes.get(outcome, 0)) for outcome in ("upheld", "not applicable", "undecided")
    )
    tries = f"{found.injections} × {found.each}" if found.each else str(found.tries)
    return [tries, upheld, _share(found.share), not_applicable, undecided, _share(found.gone)]


def _share(interval: Interval) -> str:
    return f"{percent(interval.value)} [{reach(interval)}]" if interval.scenarios else "–"


def _table(one: Attack) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("family", no_wrap=True)
    for title in HEADINGS:
        table.add_column("\n".join(title.rsplit(" ", 1)), justify="right", no_wrap=True)
    for family, cells in _rows(one):
        table.add_row(family, *cells, style="bold" if family == "all" else "")
    return table


def _missing(one: Attack) -> list[str]:
    calls = "call" if one.failed == 1 else "calls"
    return [f"{one.failed} {calls} got no answer; the same command asks them again."] if one.failed else []


def _worst(tried: Sequence[Tried]) -> Iterator[str]:
    for found, example in worst(tried, SHOWN):
        yield (
            f"{example.injection} flipped {found.outcomes['upheld']} of {found.tries}; for example, on clause "
            f"{example.clause_id}, the {example.into} “{one_line(example.text, EXCERPT)}” with "
            f"“{one_line(example.hostile, EXCERPT)}”. "
            f"The reason given: {one_line(example.reason, EXCERPT)}"
        )


def _markdown(one: Attack) -> Iterator[str]:
    yield f"## {escaped(_heading(one))}"
    yield ""
    if one.tried:
        yield f"| family | {' | '.join(HEADINGS)} |"
        yield "|---|" + "---:|" * len(HEADINGS)
        for family, cells in _rows(one):
            yield f"| {escaped(family)} | {' | '.join(map(escaped, cells))} |"
        yield ""
    for line in (*_missing(one), *_worst(one.tried)):
        yield f"- {escaped(line)}"
    yield ""
