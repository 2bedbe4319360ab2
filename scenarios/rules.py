"""A regression rule, in words: what may not get worse.

    no clause worse by more than 0.05 with 95 % confidence; clause attorney never worse

* `no clause worse by more than D with N % confidence` is broken where some clause's drop is surely
  larger than D, and kept where every clause's is surely not;
* `clause ID not worse by more than D with N % confidence` is the same of one clause, and
  `total not worse …` of all together;
* `clause ID never worse` and `no clause ever worse` are broken where the share of upheld fell on
  any scenario, and kept where it fell on none.

Between broken and kept lies *not shown*: this suite cannot tell. `by more than` is 0 and the
confidence 95 % where they are not given. "Surely" is by the interval of that confidence, for
several clauses at once by Bonferroni's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from prefect_ratify.errors import InputError
from prefect_ratify.records import Record
from prefect_ratify.scenarios.comparing import ALL, Comparison
from prefect_ratify.scenarios.statistics import Interval, Scores, difference
from prefect_ratify.scenarios.verdict_table import column_of

_SENTENCE = re.compile(
    r"^(?P<what>no clause|total|clause\s+(?P<clause>\S+))\s+(?P<ever>(?:never|ever|not)\s+)?worse"
    r"(?:\s+by\s+more\s+than\s+(?P<margin>\d*\.?\d+)\s*(?P<unit>%|points?)?)?"
    r"(?:\s+with\s+(?P<level>\d+(?:\.\d+)?)\s*%\s+confidence)?$"
)
FORMS = "write 'no clause worse by more than 0.05 with 95 % confidence' or 'clause ID never worse', parted by ';'"


class Rule(Record):
    """One sentence. `clause_id` is empty for every clause; `margin` None for *never worse*."""

    text: str
    clause_id: str
    margin: float | None
    level: float


class RuleFinding(Record):
    """What a comparison says to a rule, and why."""

    rule: str
    outcome: Literal["kept", "broken", "not shown"]
    reason: str


def parse_rules(text: str, clause_ids: Sequence[str], path: Path | None = None) -> tuple[Rule, ...]:
    """Read rules; InputError with what cannot be understood, and the file in which they stand."""
    sentences = [" ".join(part.split()).rstrip(".") for part in re.split(r"[;\n]", text)]
    return tuple(_parse(sentence, clause_ids, path) for sentence in sentences if sentence)


def examine(rules: Sequence[Rule], comparison: Comparison) -> list[RuleFinding]:
    """Hold a comparison against each rule."""
    return [_examine(rule, comparison) for rule in rules]


def _parse(sentence: str, clause_ids: Sequence[str], path: Path | None) -> Rule:
    found = _SENTENCE.match(sentence)
    if found is None:
        raise InputError(f"the rule {sentence!r} cannot be understood", FORMS, path=path)
    clause_id = ALL if found["what"] == "total" else found["clause"] or ""
    if found["clause"] and clause_id not in clause_ids:
        known = f"there are: {', '.join(clause_ids)}"
        raise InputError(f"the rule {sentence!r} names no clause of the policy", known, path=path)
    never = (found["ever"] or "").strip() in ("never", "ever") and not found["margin"] and not found["level"]
    margin = float(found["margin"] or 0) / (100 if found["unit"] else 1)
    level = float(found["level"] or 95) / 100
    if margin >= 1 or not 0.5 <= level < 1:
        raise InputError(
            f"the rule {sentence!r} has a number out of range",
            "a drop lies below 1 (or 100 %), a confidence between 50 and 99.9 %",
            path=path,
        )
    return Rule(text=sentence, clause_id=clause_id, margin=None if never else margin, level=level)


def _examine(rule: Rule, comparison: Comparison) -> RuleFinding:
    if rule.margin is None:
        return _never_worse(rule, comparison)
    clause_ids = [d.clause_id for d in comparison.differences if d.clause_id != ALL]
    chosen = [rule.clause_id] if rule.clause_id else clause_ids
    level = 1 - (1 - rule.level) / max(len(chosen), 1)
    intervals = {clause_id: difference(*_scores(comparison, clause_id, clause_ids), level) for clause_id in chosen}
    broken = [c for c, i in intervals.items() if i.high is not None and i.high < -rule.margin]
    unsure = [c for c, i in intervals.items() if i.low is None or i.low < -rule.margin]
    if broken:
        return RuleFinding(rule=rule.text, outcome="broken", reason=_listed(broken, intervals))
    if unsure:
        reason = f"this suite cannot tell for {_listed(unsure, intervals)}"
        return RuleFinding(rule=rule.text, outcome="not shown", reason=reason)
    return RuleFinding(rule=rule.text, outcome="kept", reason=_listed(chosen, intervals))


def _never_worse(rule: Rule, comparison: Comparison) -> RuleFinding:
    cells = [cell for cell in comparison.cells if not rule.clause_id or cell.clause_id == rule.clause_id]
    worse = [f"{cell.clause_id} on {cell.scenario_id}" for cell in cells if cell.change == "regressed"]
    both = sum(cell.change != "undecided" for cell in cells)
    if worse:
        shown = ", ".join(worse[:5]) + (f" and {len(worse) - 5} more" if len(worse) > 5 else "")
        return RuleFinding(rule=rule.text, outcome="broken", reason=shown)
    if not both:
        return RuleFinding(rule=rule.text, outcome="not shown", reason="nothing was decided on both sides")
    return RuleFinding(rule=rule.text, outcome="kept", reason=f"on none of {both} scenarios")


def _scores(comparison: Comparison, clause_id: str, clause_ids: Sequence[str]) -> tuple[Scores, Scores]:
    """The scenarios' shares of upheld before and after, from the cells."""
    rows = {cell.scenario_id: 0 for cell in comparison.cells}
    rows = {scenario_id: i for i, scenario_id in enumerate(rows)}
    columns = {c: j for j, c in enumerate(clause_ids)}
    before, after = (np.full((len(rows), len(columns)), math.nan) for _ in range(2))
    for cell in comparison.cells:
        place = rows[cell.scenario_id], columns[cell.clause_id]
        before[place] = math.nan if cell.first is None else cell.first
        after[place] = math.nan if cell.second is None else cell.second
    index = len(columns) if clause_id == ALL else columns[clause_id]
    return column_of(before, index), column_of(after, index)


def _listed(clause_ids: Sequence[str], intervals: dict[str, Interval]) -> str:
    return ", ".join(f"{clause_id} {_span(intervals[clause_id])}" for clause_id in clause_ids)


def _span(found: Interval) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "(nothing decided)"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
