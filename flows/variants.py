"""`ratify variants`: several drafts of one policy, or of one clause, tried side by side and measured alike.

Every version is judged by the clauses of policy.md, so that none looks better by asking for less. Clauses
that only a variant has are judged too, apart: the draft was never told them, and no sum counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from prefect_ratify.errors import InputError
from prefect_ratify.flows.project import load_project
from prefect_ratify.flows.regressing import Bench, Measuring, Regression, regress, set_up
from prefect_ratify.flows.versions import DRAFT, Versions, load_versions
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Record, Verdict
from prefect_ratify.scenarios.comparing import ALL, Comparison, Difference, Rate, compare, corrected
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.statistics import p_value
from prefect_ratify.store import read_records

FEWEST_TOGETHER = 2  # scenarios on which two clauses moved, before it is said of them


class Best(Record):
    """The version under which a clause was upheld most; `rivals` are those that are not shown to do worse.

    `name` is empty where nothing was decided.
    """

    clause_id: str
    name: str
    rivals: tuple[str, ...] = ()

    @property
    def is_shown(self) -> bool:
        """Whether that is more than noise: it is a variant, and the draft is shown to do worse."""
        return bool(self.name) and self.name != DRAFT and DRAFT not in self.rivals


class Together(Record):
    """Two clauses that both moved on some scenarios, from the draft to a variant: on how many alike, and against."""

    variant: str
    clause_ids: tuple[str, str]
    alike: int
    against: int


class Tried(Record):
    """The draft and its variants on the same scenarios, judged alike.

    `comparisons` are those from the draft to each variant, and then among the variants. The p-values of
    each of these two kinds are adjusted over clauses and variants together, those of added clauses apart. `best`
    has each clause of policy.md, all of them together, and last the clauses that only variants have.
    """

    regression: Regression
    comparisons: tuple[Comparison, ...]
    best: tuple[Best, ...]
    together: tuple[Together, ...]

    @property
    def names(self) -> list[str]:
        """The versions tried, the draft first."""
        return [measured.name for measured in self.regression.conditions]

    def difference(self, first: str, second: str, clause_id: str) -> Difference:
        """From one version to a later one, on a clause."""
        found = next(c for c in self.comparisons if (c.first, c.second) == (first, second))
        return next(d for d in found.differences if d.clause_id == clause_id)

    def rate(self, name: str, clause_id: str) -> Rate:
        """How often a clause was upheld under a version."""
        given = (rate for comparison in self.comparisons for rate in comparison.rates)
        return next(rate for rate in given if (rate.condition, rate.clause_id) == (name, clause_id))


def set_up_variants(folder: Path, measuring: Measuring) -> tuple[Versions, Bench]:
    """Open all that trying takes; InputError for what is wrong, before anything is asked."""
    versions = load_versions(folder)
    if not versions.tried:
        advice = "reword a clause in one, or copy a draft out of its folder former to compare with that"
        raise InputError("every variant says what policy.md says", advice, path=folder / "variants")
    project = load_project(folder, policy=versions.yardstick)
    bench = set_up(folder, [DRAFT], measuring, project=project)
    model = bench.conditions[0].model
    policies = {DRAFT: versions.policy} | {variant.name: variant.policy for variant in versions.tried}
    conditions = tuple(Condition(name, model, preamble(policy)) for name, policy in policies.items())
    return versions, replace(bench, conditions=conditions, rules=())


def try_variants(versions: Versions, bench: Bench) -> Tried:
    """Answer and judge the scenarios under the draft and every variant, within the budget, and compare."""
    regression, added = regress(bench), versions.added
    by_name: dict[str, list[Verdict]] = {condition.name: [] for condition in bench.conditions}
    for verdict in read_records(bench.folder / "verdicts.jsonl", Verdict):
        by_name[verdict.condition].append(verdict)
    found = [_compared(by_name[first], by_name[second], versions) for first, second in combinations(by_name, 2)]
    variants = len(by_name) - 1  # the first comparisons are the draft's
    comparisons = (*_corrected(found[:variants], added), *_corrected(found[variants:], added))
    tried = Tried(regression=regression, comparisons=comparisons, best=(), together=tuple(_together(comparisons)))
    listed = (*versions.policy.clause_ids, ALL, *added)
    return tried.model_copy(update={"best": tuple(_best(tried, clause_id) for clause_id in listed)})


def choices(versions: Versions, tried: Tried) -> dict[str, str]:
    """What to take: for each clause, of the rewordings shown to be better than the draft's the one upheld most."""
    found = {}
    for clause_id in versions.policy.clause_ids:
        better = [
            variant.name
            for variant in versions.tried
            if versions.rewords(variant.name, clause_id)
            and tried.difference(DRAFT, variant.name, clause_id).finding == "better"
        ]
        if better:
            found[clause_id] = max(better, key=lambda name: tried.rate(name, clause_id).interval.value or 0.0)
    return found


def _compared(first: Sequence[Verdict], second: Sequence[Verdict], versions: Versions) -> Comparison:
    """Two versions compared on every clause; what is said of all clauses together is of those of policy.md."""
    every = compare(first, second, versions.yardstick.clause_ids)
    if not versions.added:
        return every
    own = versions.policy.clause_ids
    before, after = ([verdict for verdict in given if verdict.clause_id in own] for given in (first, second))
    alone = compare(before, after, own)
    return every.model_copy(
        update={
            "rates": (*(r for r in every.rates if r.clause_id != ALL), *(r for r in alone.rates if r.clause_id == ALL)),
            "differences": (*every.differences[:-1], alone.total()),
        }
    )


def _corrected(comparisons: Sequence[Comparison], added: Sequence[str]) -> Iterator[Comparison]:
    """The comparisons, with findings adjusted over all their clauses together (Benjamini and Hochberg 1995).

    One comparison alone is adjusted over its clauses; of many variants, some clause would win by chance.
    Added clauses are adjusted apart: they win where they were told, and would lend the others significance.
    """
    alone = [_unadjusted(c, d) for c in comparisons for d in c.differences[:-1]]
    own = iter(corrected([d for d in alone if d.clause_id not in added]))
    new = iter(corrected([d for d in alone if d.clause_id in added]))
    totals = iter(corrected([comparison.total() for comparison in comparisons]))
    for comparison in comparisons:
        by_clause = [next(new if d.clause_id in added else own) for d in comparison.differences[:-1]]
        yield comparison.model_copy(update={"differences": (*by_clause, next(totals))})


def _unadjusted(comparison: Comparison, difference: Difference) -> Difference:
    """The difference with its own p-value, as if it were the only one."""
    cells = [cell for cell in comparison.cells if cell.clause_id == difference.clause_id]
    first, second = np.array([[cell.first, cell.second] for cell in cells], dtype=np.float64).reshape(-1, 2).T
    return difference.model_copy(update={"p_value": p_value(first, second)})


def _best(tried: Tried, clause_id: str) -> Best:
    shares = {name: tried.rate(name, clause_id).interval.value for name in tried.names}
    decided = {name: share for name, share in shares.items() if share is not None}
    if not decided:
        return Best(clause_id=clause_id, name="")
    best = max(decided, key=lambda name: decided[name])  # of equals the first: the draft, where it is one
    rivals = tuple(name for name in decided if name != best and not _is_worse(tried, name, best, clause_id))
    return Best(clause_id=clause_id, name=best, rivals=rivals)


def _is_worse(tried: Tried, name: str, than: str, clause_id: str) -> bool:
    if tried.names.index(name) < tried.names.index(than):
        return tried.difference(name, than, clause_id).finding == "better"
    return tried.difference(than, name, clause_id).finding == "worse"


def _together(comparisons: Sequence[Comparison]) -> list[Together]:
    """Pairs of clauses that moved on the same scenarios, counted; those that pull apart most come first."""
    found = []
    for comparison in comparisons:
        if comparison.first != DRAFT:
            continue
        moves = {
            (cell.clause_id, cell.scenario_id): cell.change == "fixed"
            for cell in comparison.cells
            if cell.change in ("fixed", "regressed")
        }
        for pair in combinations(dict.fromkeys(d.clause_id for d in comparison.differences), 2):
            both = [moves[pair[0], s] == moves[pair[1], s] for c, s in moves if c == pair[0] and (pair[1], s) in moves]
            if len(both) >= FEWEST_TOGETHER:
                alike = sum(both)
                found.append(
                    Together(variant=comparison.second, clause_ids=pair, alike=alike, against=len(both) - alike)
                )
    return sorted(found, key=lambda pair: (-pair.against, -pair.alike))
