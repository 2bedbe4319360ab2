"""Calibration: how far a judge may be believed on each clause, by what people say of the same responses.

A judge whose verdicts people's labels do not show to be better than chance is barred from that
clause. With too few labels to tell it is named as not calibrated, and barred only where it does no
better than chance on those that there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text
from prefect_ratify.records import Clause, Policy, Record, Verdict, digest
from prefect_ratify.scenarios.agreement import (
    BOTH,
    NOTHING,
    Rated,
    agreement,
    auc,
    holm,
    kappa,
    labels_missing,
    p_better,
)
from prefect_ratify.scenarios.comparing import OUTCOMES
from prefect_ratify.scenarios.labels import Item, Ruled
from prefect_ratify.scenarios.statistics import CONFIDENCE, Interval
from prefect_ratify.scenarios.yardstick import CHECK

LEVEL = 1 - CONFIDENCE + 1e-9  # what rounding makes of 1/20 is still 1/20
RULED: tuple[Ruled, ...] = ("upheld", "violated", "not applicable")
State = Literal["better", "barred", "not calibrated"]
WORST_FIRST: tuple[State, ...] = ("barred", "not calibrated", "better")


@dataclass(frozen=True)
class Judged:
    """An item whose label people agree on, and a judge's verdict on it."""

    item: Item
    verdict: Verdict

    @property
    def decided(self) -> bool:
        """Whether the judge could tell."""
        return self.verdict.outcome != "undecided"

    @property
    def right(self) -> bool:
        """Whether the judge says what people say."""
        return self.verdict.outcome == self.item.outcome

    @property
    def rated(self) -> Rated:
        """The scenario, what people say and what the judge says."""
        return self.item.scenario_id, str(self.item.outcome), self.verdict.outcome

    @property
    def confidence_upheld(self) -> float:
        """How sure the judge is that the clause is upheld."""
        sure = self.verdict.confidence
        return sure if self.verdict.outcome == "upheld" else 1 - sure


class ClauseCalibration(Record):
    """What a judge's verdicts on one clause are worth. All intervals are over scenarios.

    `clause` is the digest of the clause's text. `confusion[verdict][label]` counts items.
    `decided` is the share of items that the judge decides; all else is of those alone.
    `agreement` and `kappa` are over all labels, `accuracy` is over those that say upheld or
    violated, `missed` is the share of what people call violated that the judge does not.
    `auc_right`: whether the judge is surer where it is right than where it is wrong; `auc_upheld`:
    whether it is surer that the clause is upheld where people say so than where they say that it is
    violated. `p_value` is Holm's, over the judge's clauses; None where no judge could
    have passed. `made` is a time in UTC, `labels_digest` the digest of the labels.
    """

    judge: str
    clause_id: str
    clause: str
    labels: int
    confusion: dict[str, dict[str, int]]
    decided: Interval
    agreement: Interval
    kappa: Interval
    accuracy: Interval
    missed: Interval = NOTHING
    auc_right: Interval
    auc_upheld: Interval
    p_value: float | None
    state: State
    why: str
    made: str
    labels_digest: str

    @property
    def barring(self) -> str:
        """The sentence that says so, where it is barred. A check is not asked, but written: it has to be mended."""
        if self.judge == CHECK:
            return f"The check of clause {self.clause_id} is {self.why}: it has to be mended."
        return f"The judge {self.judge} may not decide clause {self.clause_id}: {self.why}."


class Calibration(Record):
    """What is known of each judge on each clause."""

    clauses: tuple[ClauseCalibration, ...] = ()

    def barred(self, policy: Policy) -> frozenset[tuple[str, str]]:
        """Judge and clause id, where that judge may not decide; for clauses whose text is still the same."""
        found = (self.of(judge, clause) for judge in {c.judge for c in self.clauses} for clause in policy.clauses)
        return frozenset((c.judge, c.clause_id) for c in found if c is not None and c.state == "barred")

    def of(self, judge: str, clause: Clause) -> ClauseCalibration | None:
        """What is known of a judge on a clause of this very text."""
        of_both = (c for c in self.clauses if (c.judge, c.clause_id) == (judge, clause.id))
        return next((c for c in of_both if c.clause == digest(clause.text)), None)

    def words(self, policy: Policy, judges: Sequence[str]) -> list[str]:
        """What people at a gate must know of these judges: where each is barred, and where not calibrated."""
        sentences = []
        for judge in judges:
            known = [(clause.id, self.of(judge, clause)) for clause in policy.clauses]
            sentences += [found.barring for _, found in known if found and found.state == "barred"]
            unknown = [clause_id for clause_id, found in known if found is None or found.state == "not calibrated"]
            if unknown:
                name = "check" if judge == CHECK else f"judge {judge}"
                clauses = "clause" if len(unknown) == 1 else "clauses"
                sentences.append(f"The {name} was not calibrated on {clauses} {', '.join(unknown)}.")
        return sentences

    def updated(self, found: Sequence[ClauseCalibration]) -> Calibration:
        """With what was found now in place of what was known of the same judges and clauses."""
        now = {(c.judge, c.clause_id) for c in found}
        kept = [c for c in self.clauses if (c.judge, c.clause_id) not in now]
        return Calibration(clauses=(*kept, *found))


@dataclass(frozen=True)
class TwoPeople:
    """How far two people agree on the items that both labelled: what can be asked of a judge at most."""

    first: str
    second: str
    items: int
    agreement: Interval
    kappa: Interval


def calibrate(
    judge: str, judged: Sequence[Judged], policy: Policy, *, made: str, labels_digest: str
) -> list[ClauseCalibration]:
    """One judge's verdicts held against labels, clause by clause, the worst first.

    Better than chance is what `agreement.p_better` shows at 5 %, with Holm's adjustment over the
    judge's clauses: a judge without any sense is let through on some clause in at most one of
    twenty calibrations, however many clauses there are. Barred is who could have passed with
    these labels, and did not; and, with however few labels of both outcomes, who agrees with people
    no more than chance does: nothing speaks for letting it decide.
    """
    by_clause = defaultdict[str, list[Judged]](list)
    for each in judged:
        by_clause[each.item.clause_id].append(each)
    measured = [
        _measured(given, judge=judge, clause=policy.clause(clause_id), made=made, labels_digest=labels_digest)
        for clause_id, given in by_clause.items()
    ]
    found = _with_states(measured, by_clause)
    return sorted(found, key=lambda c: (WORST_FIRST.index(c.state), c.agreement.value or 0.0, c.clause_id))


def people(items: Sequence[Item]) -> list[TwoPeople]:
    """Each two people who labelled some of the same items, over all clauses together."""
    rated = defaultdict[tuple[str, str], list[Rated]](list)
    for item in items:
        said = {label.by: label.outcome for label in item.labels if label.by}
        for first, second in combinations(sorted(said), 2):
            rated[first, second].append((item.scenario_id, said[first], said[second]))
    return [TwoPeople(*names, len(given), agreement(given), kappa(given)) for names, given in sorted(rated.items())]


def load_calibration(path: Path) -> Calibration | None:
    """Read calibration.json; None where there is none, InputError where it cannot be read."""
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(read_text(path))
    except ValidationError as error:
        what = error.errors()[0]
        place = f"{'.'.join(map(str, what['loc']))}: " if what["loc"] else ""
        seen = f"this is no calibration ({place}{what['msg']})"
        raise InputError(seen, "make it anew: ratify calibrate", path=path) from None


def _measured(given: Sequence[Judged], *, judge: str, clause: Clause, **of_all: str) -> ClauseCalibration:
    decided = [each for each in given if each.decided]
    clear = [each for each in decided if each.item.outcome in BOTH]
    pairs = Counter((str(each.verdict.outcome), each.item.outcome) for each in given)
    return ClauseCalibration(
        judge=judge,
        clause_id=clause.id,
        clause=digest(clause.text),
        labels=len(given),
        confusion={verdict: {label: pairs[verdict, label] for label in RULED} for verdict in OUTCOMES},
        decided=agreement([(each.item.scenario_id, "True", str(each.decided)) for each in given]),
        agreement=agreement([each.rated for each in decided]),
        kappa=kappa([each.rated for each in decided]),
        accuracy=agreement([each.rated for each in clear]),
        missed=agreement(
            [(each.item.scenario_id, "True", str(not each.right)) for each in clear if each.item.outcome == "violated"]
        ),
        auc_right=auc(
            [(each.item.scenario_id, each.verdict.confidence) for each in decided if each.right],
            [(each.item.scenario_id, each.verdict.confidence) for each in decided if not each.right],
        ),
        auc_upheld=auc(
            [(each.item.scenario_id, each.confidence_upheld) for each in clear if each.item.outcome == "upheld"],
            [(each.item.scenario_id, each.confidence_upheld) for each in clear if each.item.outcome == "violated"],
        ),
        p_value=None,
        state="not calibrated",
        why="",
        **of_all,
    )


def _with_states(
    measured: Sequence[ClauseCalibration], judged: Mapping[str, Sequence[Judged]]
) -> list[ClauseCalibration]:
    """The same with what the test comes to. It is made on the clauses on which a judge without fault would pass it."""
    rated = {c.clause_id: [each.rated for each in judged[c.clause_id] if each.decided] for c in measured}
    best = {clause_id: p_better([(s, label, label) for s, label, _ in given]) for clause_id, given in rated.items()}
    tested = [clause_id for clause_id, p in best.items() if p is not None and p <= LEVEL]
    adjusted = dict(zip(tested, holm([p_better(rated[clause_id]) or 0.0 for clause_id in tested]), strict=True))
    left = sum(p > LEVEL for p in adjusted.values())
    found = []
    for c in measured:
        p, least = adjusted.get(c.clause_id), best[c.clause_id]
        state: State = "not calibrated"
        if p is not None and least is not None and (p <= LEVEL or left * least <= LEVEL):
            state = "better" if p <= LEVEL else "barred"
        if least is not None and c.kappa.value is not None and c.kappa.value <= 0:
            state = "barred"
        why = _why(c, state, rated[c.clause_id], LEVEL / len(measured))
        found.append(c.model_copy(update={"p_value": p, "state": state, "why": why}))
    return found


def _why(c: ClauseCalibration, state: State, rated: Sequence[Rated], level: float) -> str:
    decided = Counter(label for _, label, _ in rated)
    upheld, violated = decided["upheld"], decided["violated"]
    scenarios = {scenario_id for scenario_id, label, _ in rated if label in BOTH}
    sharing = len(scenarios) < upheld + violated  # of one scenario: they count for less than as many of several
    if state == "better":
        return f"better than chance on {c.labels} labels (kappa {told(c.kappa)})"
    if state == "barred":
        more = "labelled responses to more scenarios" if sharing else "more labelled responses"
        hope = f"; {more} may show that it is" if (c.kappa.value or 0.0) > 0 else ""
        return f"not shown to be better than chance on {c.labels} labels (kappa {told(c.kappa)}{hope})"
    more = f"{max(labels_missing(upheld, violated, level), 1)} more would do"
    more = "label responses to more scenarios" if sharing else more
    for outcome, count in (("upheld", upheld), ("violated", violated)):
        if not sum(c.confusion[verdict][outcome] for verdict in OUTCOMES):
            return f"none of {c.labels} labels says {outcome}; {more}"
        if not count:
            return f"it decided nothing that people call {outcome}"
    return f"{c.labels} labels are too few to tell; {more}"


def told(interval: Interval) -> str:
    """`0.05 [-0.20, 0.30]`, or a dash where there is no estimate."""
    if interval.value is None or interval.low is None or interval.high is None:
        return "–"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
