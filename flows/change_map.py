"""The map of a comparison: scenarios down, clauses across, and behind each cell the two answers.

It needs no script: a cell is a link, and what it leads to is shown by CSS because it is the
link's target. Each scenario's answers stand on the page once, however many cells lead there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.flows.pages import percent
from prefect_ratify.flows.regression_words import CHANGES
from prefect_ratify.flows.word_difference import Piece, word_differences
from prefect_ratify.records import Message, Policy, Response, Scenario, Verdict
from prefect_ratify.scenarios.comparing import Cell, Change, Comparison

MOST_PAIRS = 600  # pairs of answers on a map: with more scenarios, fewer samples of each are shown
GROUPS = {
    "regressed": "Worse on a clause",
    "fixed": "Better on a clause, worse on none",
    "undecided": "Not decided on both sides",
    "unchanged": "No change",
}
# Each kind of mark: its sign, and what it means. Signs differ, so that no reader has to see colours.
KINDS = {
    "fixed": (CHANGES["fixed"], "fixed"),
    "regressed": (CHANGES["regressed"], "regressed"),
    "kept": (CHANGES["unchanged"], "unchanged, upheld"),
    "failing": ("×", "unchanged, violated"),
    "partly": ("~", "unchanged, upheld at times"),
    "open": (CHANGES["undecided"], "undecided on one side"),
    "neither": ("–", "decided on neither side"),
}


@dataclass(frozen=True)
class Mark:
    """A cell of the map. `kind` is how it looks, `told` what it says in words, `target` what it opens."""

    sign: str
    kind: str
    told: str
    target: str


@dataclass(frozen=True)
class Line:
    """A scenario's line of marks; None for clauses that it does not touch."""

    scenario_id: str
    anchor: str
    target: str
    marks: list[Mark | None]


@dataclass(frozen=True)
class Answer:
    """One side of a pair: the answer, with what the other has not marked; None where there is no answer at all."""

    label: str
    response: Response | None
    pieces: list[Piece]


@dataclass(frozen=True)
class Pair:
    """Two answers to one scenario, of the same sample; `unlike` where they have too little in common to mark."""

    sample: int
    first: Answer
    second: Answer
    same: bool
    unlike: bool


@dataclass(frozen=True)
class Ruling:
    """What was said of a clause on both sides, sample by sample."""

    mark: Mark
    clause_id: str
    text: str
    anchor: str
    first: list[Verdict]
    second: list[Verdict]


@dataclass(frozen=True)
class Opened:
    """What a scenario's cells open: its query, its pairs of answers, and the verdicts on them."""

    scenario_id: str
    anchor: str
    back: str
    worse: bool
    messages: Sequence[Message]
    tags: Sequence[str]
    pairs: list[Pair]
    rulings: list[Ruling]


@dataclass(frozen=True)
class ChangeMap:
    """The whole map, its lines grouped by the worst that happened there.

    `legend` has the sign, look and meaning of each kind of mark, and how many there are.
    """

    labels: tuple[str, str]
    clause_ids: Sequence[str]
    groups: list[tuple[str, list[Line]]]
    opened: list[Opened]
    legend: list[tuple[str, str, str, int]]
    samples: int
    shown: int


@dataclass(frozen=True)
class _Sides:
    """What both conditions have, by scenario."""

    responses: Mapping[tuple[str, str], list[Response]]
    verdicts: Mapping[tuple[str, str, str], list[Verdict]]


def change_map(
    comparison: Comparison,
    policy: Policy,
    scenarios: Sequence[Scenario],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    labels: Mapping[str, str] | None = None,
    prefix: str = "m",
) -> ChangeMap:
    """Lay out a comparison; `labels` names its conditions for readers, `prefix` is the map's own on its page."""
    names = (comparison.first, comparison.second)
    given = _sides(names, responses, verdicts)
    cells = {(cell.scenario_id, cell.clause_id): cell for cell in comparison.cells}
    clause_ids = [d.clause_id for d in comparison.differences[:-1]]  # the last is of all clauses
    known = {scenario.id: scenario for scenario in scenarios}
    judged = {(s, c) for s, c, _ in given.verdicts}
    ids = [i for i in dict.fromkeys([*known, *(c.scenario_id for c in comparison.cells)]) if _is_there(i, names, given)]
    samples = max((len(found) for found in given.responses.values()), default=1)
    shown = max(1, min(samples, MOST_PAIRS // max(1, len(ids))))
    grouped: dict[str, list[Line]] = {group: [] for group in GROUPS}
    opened = []
    for number, scenario_id in enumerate(ids):
        anchor = f"{prefix}-{number}"
        marks = [
            _mark(cells.get((scenario_id, c)), (scenario_id, c) in judged, f"{anchor}-{place}")
            for place, c in enumerate(clause_ids)
        ]
        line = Line(scenario_id, f"{anchor}-line", anchor, marks)
        group = _group([cells[scenario_id, c].change for c in clause_ids if (scenario_id, c) in cells])
        grouped[group].append(line)
        opened.append(_opened(line, names, policy, clause_ids, known.get(scenario_id), given, shown, labels or {}))
    found = [mark.kind for lines in grouped.values() for line in lines for mark in line.marks if mark is not None]
    return ChangeMap(
        labels=(_label(names[0], labels or {}), _label(names[1], labels or {})),
        clause_ids=clause_ids,
        groups=[(GROUPS[group], lines) for group, lines in grouped.items() if lines],
        opened=opened,
        legend=[(sign, kind, told, found.count(kind)) for kind, (sign, told) in KINDS.items()],
        samples=samples,
        shown=shown,
    )


def _sides(names: tuple[str, str], responses: Sequence[Response], verdicts: Sequence[Verdict]) -> _Sides:
    answered: dict[tuple[str, str], list[Response]] = {}
    for response in responses:
        if response.condition in names:
            answered.setdefault((response.scenario_id, response.condition), []).append(response)
    judged: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.condition in names:
            judged.setdefault((verdict.scenario_id, verdict.clause_id, verdict.condition), []).append(verdict)
    return _Sides(
        {key: sorted(found, key=lambda response: response.sample) for key, found in answered.items()},
        {key: sorted(found, key=lambda verdict: verdict.sample) for key, found in judged.items()},
    )


def _is_there(scenario_id: str, names: tuple[str, str], given: _Sides) -> bool:
    return any((scenario_id, name) in given.responses for name in names)


def _group(changes: Sequence[Change]) -> str:
    return next((group for group in GROUPS if group in changes), "undecided" if not changes else "unchanged")


def _mark(cell: Cell | None, was_judged: bool, target: str) -> Mark | None:
    if cell is None and not was_judged:
        return None
    kind = "neither" if cell is None else _kind(cell)
    sign, told = KINDS[kind]
    shares = f": {percent(cell.first)} → {percent(cell.second)}" if cell is not None else ""
    return Mark(sign, kind, told + shares, target)


def _kind(cell: Cell) -> str:
    if cell.change == "unchanged":
        return {1.0: "kept", 0.0: "failing"}.get(cell.second or 0.0, "partly")
    return "open" if cell.change == "undecided" else cell.change


def _opened(
    line: Line,
    names: tuple[str, str],
    policy: Policy,
    clause_ids: Sequence[str],
    scenario: Scenario | None,
    given: _Sides,
    shown: int,
    labels: Mapping[str, str],
) -> Opened:
    texts = {clause.id: clause.text for clause in policy.clauses}
    first, second = (given.responses.get((line.scenario_id, name), []) for name in names)
    numbers = sorted({response.sample for response in (*first, *second)})[:shown]
    rulings = [
        Ruling(
            mark,
            clause_id,
            texts.get(clause_id, ""),
            mark.target,
            given.verdicts.get((line.scenario_id, clause_id, names[0]), []),
            given.verdicts.get((line.scenario_id, clause_id, names[1]), []),
        )
        for clause_id, mark in zip(clause_ids, line.marks, strict=True)
        if mark is not None
    ]
    return Opened(
        scenario_id=line.scenario_id,
        anchor=line.target,
        back=line.anchor,
        worse=any(mark is not None and mark.kind == "regressed" for mark in line.marks),
        messages=scenario.messages if scenario else (),
        tags=scenario.tags if scenario else (),
        pairs=[_pair(number, names, first, second, labels) for number in numbers],
        rulings=rulings,
    )


def _pair(
    sample: int,
    names: tuple[str, str],
    first: Sequence[Response],
    second: Sequence[Response],
    labels: Mapping[str, str],
) -> Pair:
    before, after = (next((r for r in side if r.sample == sample), None) for side in (first, second))
    texts = [response.text if response and not response.error else "" for response in (before, after)]
    pieces = word_differences(*texts) if all(texts) else tuple([Piece(text)] if text else [] for text in texts)
    return Pair(
        sample,
        Answer(_label(names[0], labels), before, pieces[0]),
        Answer(_label(names[1], labels), after, pieces[1]),
        same=bool(texts[0]) and texts[0] == texts[1],
        unlike=all(texts) and texts[0] != texts[1] and not any(piece.tone for side in pieces for piece in side),
    )


def _label(name: str, labels: Mapping[str, str]) -> str:
    return labels.get(name, name)
