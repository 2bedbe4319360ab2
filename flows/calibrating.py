"""`ratify calibrate`: judges and checks held against people's labels, clause by clause.

Judges are asked on the labelled responses themselves, with no precedent and no check before
them; what they said before is not asked again. What comes of it is kept in calibration.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError, RatifyError, one_line
from prefect_ratify.flows.labelling import LABELS, labels_in
from prefect_ratify.flows.project import CALIBRATION, Project, load_project
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.pairwise import PairwiseBias, ResponsePair, labelled_pairs, measure_bias, prefer
from prefect_ratify.progress import say
from prefect_ratify.records import Response, Scenario, Verdict, digest
from prefect_ratify.scenarios.calibration import (
    Calibration,
    ClauseCalibration,
    Judged,
    TwoPeople,
    calibrate,
    load_calibration,
    people,
)
from prefect_ratify.scenarios.judging import NO_JUDGEMENT, judge_cases
from prefect_ratify.scenarios.labels import Item, items_of
from prefect_ratify.scenarios.pluralism.alpha import agreements
from prefect_ratify.scenarios.pluralism.jury_records import JuryAgreement
from prefect_ratify.scenarios.yardstick import CHECK, JudgeModel, Yardstick
from prefect_ratify.store import write_record


@dataclass(frozen=True)
class JudgeReport:
    """One judge (or the checks): each clause, the worst first; where it differs from people; calls that failed.

    `bias` is what position and length do to its choices between two responses, one of which people
    call upheld and one violated; None where there are no such pairs.
    """

    judge: str
    clauses: tuple[ClauseCalibration, ...]
    disagreements: tuple[Judged, ...]
    failed: int
    bias: PairwiseBias | None = None


@dataclass(frozen=True)
class CalibrationReport:
    """All that a calibration found. `disputed` are items on which people do not agree; they are not used.

    `alpha` is how far all people agree together, over all clauses; None where no two labelled the same.
    """

    title: str
    labels: int
    items: int
    disputed: tuple[Item, ...]
    people: tuple[TwoPeople, ...]
    judges: tuple[JudgeReport, ...]
    alpha: JuryAgreement | None = None


@dataclass(frozen=True)
class Bench:
    """A project's labels, and the judges that are held against them."""

    project: Project
    labels: int
    labels_digest: str
    items: tuple[Item, ...]
    judges: tuple[JudgeModel, ...]
    known: Calibration
    store: CallStore

    @property
    def path(self) -> Path:
        """Where what is found is kept."""
        return self.project.folder / CALIBRATION

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """All that may be labelled."""
        return (*self.project.suite.scenarios, *self.project.suite.unrelated)

    @cached_property
    def pairs(self) -> list[ResponsePair]:
        """Labelled responses to one scenario, one of which keeps the clause and one does not."""
        return labelled_pairs(self.items, self.project.policy, self.scenarios)

    @property
    def settled(self) -> list[Item]:
        """The items whose label people agree on."""
        return [item for item in self.items if item.outcome is not None]


def set_up(folder: Path, labels: Path | None, judges: Sequence[str], problems: list[InputError]) -> Bench:
    """Read labels and open judges; InputError for what is wrong, before anything is asked.

    What is wrong with single labels is added to `problems`.
    """
    known = _known(folder / CALIBRATION)
    project = load_project(folder, calibration=known)
    path = labels or folder / LABELS
    if labels is None and not path.exists():
        advice = f"collect some (ratify label {folder}), or name a CSV or JSONL file"
        raise InputError("there are no labels yet", advice, path=path)
    given = labels_in(project, path, problems)
    opened = judges_named(",".join(judges), lambda name: open_model(name, greet=False))
    store = CallStore(folder / ".ratify" / "calls.sqlite")
    bench = Bench(project, len(given), digest(given), tuple(items_of(given)), opened, known, store)
    if not opened and not _with_check(bench) and not problems:
        raise InputError("no labelled clause has a check, and there is no judge", "give --judge MODEL", path=path)
    return bench


def calibrate_judges(bench: Bench) -> CalibrationReport:
    """Ask what is not known yet, measure each judge, and write calibration.json.

    RatifyError, and nothing written, where a judge answered no call at all.
    """
    made, policy = datetime.now(UTC).isoformat(timespec="seconds"), bench.project.policy
    if bench.judges:
        say(_calls(bench))
    reports = []
    for name, given in _verdicts(bench):
        found = calibrate(name, given, policy, made=made, labels_digest=bench.labels_digest)
        reports.append(replace(_report(name, found, given), bias=_bias(name, bench)))
    write_record(bench.path, bench.known.updated([clause for report in reports for clause in report.clauses]))
    return CalibrationReport(
        title=policy.title,
        labels=bench.labels,
        items=len(bench.items),
        disputed=tuple(item for item in bench.items if item.outcome is None),
        people=tuple(people(bench.items)),
        judges=tuple(reports),
        alpha=next(iter(agreements(label for item in bench.items for label in item.labels)), None),
    )


def _bias(name: str, bench: Bench) -> PairwiseBias | None:
    """What a judge prefers of two labelled responses, each pair asked in both orders."""
    model = next((judge.model for judge in bench.judges if judge.model.name == name), None)
    if model is None or not bench.pairs:
        return None
    return measure_bias(prefer(bench.pairs, model, bench.store), bench.pairs)


def _calls(bench: Bench) -> str:
    """How many calls it takes at most, since what is known is not asked again."""
    judges, items, pairs = len(bench.judges), len(bench.settled), len(bench.pairs)
    who = f"{judges} judge{'' if judges == 1 else 's'}"
    return f"at most {judges * (items + 2 * pairs)} calls: {who} × ({items} labelled responses + 2 × {pairs} pairs)"


def _known(path: Path) -> Calibration:
    """What is known so far: nothing where the file is broken, since this is the command that makes it anew."""
    try:
        return load_calibration(path) or Calibration()
    except InputError as problem:
        if not path.is_file():
            raise
        say(f"{one_line(str(problem))} (as is done now, without what it said of other judges)")
        return Calibration()


def _verdicts(bench: Bench) -> list[tuple[str, list[Judged]]]:
    """What each judge says of the items, and the checks of those that have one."""
    policy, found = bench.project.policy, []
    for judge_model in bench.judges:
        name = judge_model.model.name
        say(f"judge {one_line(name)}: {len(bench.settled)} labelled responses")
        given = _judged(bench.settled, Yardstick(policy, {}, judges=(judge_model,)), bench)
        failed = sum(_failed(each.verdict) for each in given)
        if given and failed == len(given):
            raise RatifyError(f"the judge {name!r} answered none of {failed} calls ({given[0].verdict.reason})")
        found.append((name, given))
    checked = _with_check(bench)
    if checked:
        checks = {clause_id: bench.project.suite.guide(clause_id).check for clause_id in policy.clause_ids}
        found.append((CHECK, _judged(checked, Yardstick(policy, checks), bench)))
    return found


def _judged(items: Sequence[Item], by: Yardstick, bench: Bench) -> list[Judged]:
    """One verdict an item."""
    scenarios = {scenario.id: scenario for scenario in bench.scenarios}
    cases = [
        (scenarios[item.scenario_id], _response(item), bench.project.policy.clause(item.clause_id)) for item in items
    ]
    verdicts = judge_cases(cases, by, bench.store)
    return [Judged(item, verdict) for item, verdict in zip(items, verdicts, strict=True)]


def _response(item: Item) -> Response:
    return Response(
        scenario_id=item.scenario_id, condition="labelled", sample=0, text=item.response, finished=True, model=""
    )


def _with_check(bench: Bench) -> list[Item]:
    return [item for item in bench.settled if bench.project.suite.guide(item.clause_id).check is not None]


def _report(name: str, found: Sequence[ClauseCalibration], given: Sequence[Judged]) -> JudgeReport:
    order = {clause.clause_id: place for place, clause in enumerate(found)}
    differing = [each for each in given if each.decided and not each.right]
    surest_first = sorted(differing, key=lambda each: (order[each.item.clause_id], -each.verdict.confidence))
    return JudgeReport(name, tuple(found), tuple(surest_first), sum(_failed(each.verdict) for each in given))


def _failed(verdict: Verdict) -> bool:
    return verdict.outcome == "undecided" and verdict.reason.startswith(NO_JUDGEMENT)
