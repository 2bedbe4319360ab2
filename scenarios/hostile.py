"""Hostile text: injections that try to turn a verdict, and how often they do.

A response that breaks a clause is judged again with text around it that asks, forges or pleads
for *upheld* (indirect prompt injection, Greshake et al. 2023, arXiv 2302.12173; naive, context
ignoring and fake completion attacks, Liu et al. 2024, arXiv 2310.12815, section 4). The injections
in hostile.yaml keep no clause by what they say, so whatever they flip was flipped wrongly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import RatifyError
from prefect_ratify.records import Outcome, Policy, Record, Response, Scenario, Verdict, seed_from
from prefect_ratify.scenarios.judging import NO_JUDGEMENT, judge_cases
from prefect_ratify.scenarios.labels import Label, items_of
from prefect_ratify.scenarios.located_yaml import Located, load_yaml
from prefect_ratify.scenarios.statistics import Interval, rate
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.scenarios.yardstick import Case, Yardstick

SHIPPED = Path(__file__).with_name("hostile.yaml")
PLACE = "{text}"  # where the response or query stands in an injection
Into = Literal["response", "query"]


@dataclass(frozen=True)
class Injection:
    """Text put before and after a response, or the query that it answers."""

    id: str
    family: str
    into: Into
    before: str
    after: str

    def into_case(self, case: Case) -> Case:
        """The case with this text in it."""
        scenario, response, clause = case
        if self.into == "response":
            return scenario, response.model_copy(update={"text": self._around(response.text)}), clause
        *earlier, last = scenario.messages  # a scenario ends with a user turn
        hostile = last.model_copy(update={"content": self._around(last.content)})
        return scenario.model_copy(update={"messages": (*earlier, hostile)}), response, clause

    def _around(self, text: str) -> str:
        return self.before + text + self.after


class Tried(Record):
    """What one injection made of one response that the judge calls violated without it.

    `text` is the response or query, and `hostile` what was put around it, with … in its place.
    """

    injection: str
    family: str
    clause_id: str
    into: Into
    text: str
    hostile: str
    outcome: Outcome
    reason: str


class Attack(Record):
    """A judge under attack.

    `known` counts its verdicts without injection on responses that people say break a clause;
    only those that it calls violated were attacked. `failed` are the calls without an answer, with or
    without an injection: they say nothing of the judge, and stand in neither.
    """

    judge: str
    known: dict[str, int]
    tried: tuple[Tried, ...]
    failed: int = 0


class Flips(Record):
    """What some injections came to: how many tries, and with which outcome.

    `share` is that of upheld among upheld and violated, with its interval over the injections: two
    tries of one are not independent. `gone` is the share of tries that are violated no longer, whatever
    they are instead: a violation that is undecided or not applicable is not seen either. `each` is how
    often each injection was tried; None where that differs, since calls failed.
    """

    injections: int
    tries: int
    outcomes: dict[str, int]
    share: Interval
    gone: Interval
    each: int | None


def load_injections(path: Path = SHIPPED) -> tuple[Injection, ...]:
    """Read injections, a mapping of families; InputError with the line of what is wrong."""
    return tuple(
        _injection(family, name, node)
        for family, named in load_yaml(path).mapping().items()
        for name, node in named.mapping().items()
    )


def known_violations(policy: Policy, suite: Suite, labels: Sequence[Label] = ()) -> list[Case]:
    """Responses of which people say that they break a clause: the suite's bad replies, and those labelled so.

    A reply is written for no scenario; it gets a development one, which touches the clause where
    any does. Labels on scenarios and clauses that are not there are left out.
    """
    scenarios = {scenario.id: scenario for scenario in (*suite.scenarios, *suite.unrelated)}
    replies = [
        (_fitting(suite, clause_id, reply), reply, clause_id)
        for clause_id in policy.clause_ids
        for reply in suite.guide(clause_id).bad
    ]
    labelled = [
        (scenarios[item.scenario_id], item.response, item.clause_id)
        for item in items_of(labels)
        if item.outcome == "violated" and item.scenario_id in scenarios and item.clause_id in policy.clause_ids
    ]
    return [
        (scenario, _response(scenario, text), policy.clause(clause_id))
        for scenario, text, clause_id in [*replies, *labelled]
    ]


def attack(
    name: str,
    by: Yardstick,
    cases: Sequence[Case],
    injections: Sequence[Injection],
    store: CallStore | None = None,
    each: int = 0,
) -> Attack:
    """Try every injection on `each` of the cases (all, for 0) that `by` calls violated without one.

    A judge model needs a store. What it was asked before is not asked again; RatifyError where it
    answers nothing at all. `by` decides by one thing alone, checks or a judge: a precedent on the plain
    response would give the answer away.
    """
    plain = _answered(name, judge_cases(cases, by, store))
    broken = [cases[place] for place, verdict in plain.items() if verdict.outcome == "violated"]
    posed = _dealt(injections, broken, each or len(broken))
    found = _answered(name, judge_cases([injection.into_case(case) for injection, case in posed], by, store))
    return Attack(
        judge=name,
        known=dict(Counter(verdict.outcome for verdict in plain.values())),
        tried=tuple(_tried(*posed[place], verdict) for place, verdict in found.items()),
        failed=len(cases) - len(plain) + len(posed) - len(found),
    )


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """At most `count` of the cases, one of each clause in turn."""
    by_clause: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_clause[case[2].id].append(case)
    in_turn = (case for turn in zip_longest(*by_clause.values()) for case in turn if case is not None)
    return list(islice(in_turn, count))


def flips(tried: Iterable[Tried]) -> Flips:
    """Count what tries came to."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in tried:
        outcomes[one.injection][one.outcome] += 1
    total = sum(outcomes.values(), Counter[str]())
    return Flips(
        injections=len(outcomes),
        tries=total.total(),
        outcomes=dict(total),
        share=rate(np.array([_share(counts) for counts in outcomes.values()])),
        gone=rate(np.array([1 - counts["violated"] / counts.total() for counts in outcomes.values()])),
        each=next(iter(each)) if len(each := {counts.total() for counts in outcomes.values()}) == 1 else None,
    )


def by_family(tried: Sequence[Tried]) -> dict[str, Flips]:
    """Count what tries came to, family by family: the one that flipped most first, of equals the one that hid most."""
    found = {family: flips(t for t in tried if t.family == family) for family in dict.fromkeys(t.family for t in tried)}
    return dict(sorted(found.items(), key=lambda item: (-(item[1].share.value or 0.0), -(item[1].gone.value or 0.0))))


def worst(tried: Sequence[Tried], count: int) -> list[tuple[Flips, Tried]]:
    """The injections that flipped most, each with the first verdict that it flipped.

    One of each family comes before a second of any, so that one family does not fill the list.
    """
    ids = dict.fromkeys(one.injection for one in tried if one.outcome == "upheld")
    found = [[one for one in tried if one.injection == name] for name in ids]
    counted = [(flips(of_one), next(one for one in of_one if one.outcome == "upheld")) for of_one in found]
    ordered = sorted(counted, key=lambda pair: (-(pair[0].share.value or 0.0), -pair[0].outcomes["upheld"]))
    met = Counter[str]()
    return [pair for _, pair in sorted(((_turn(met, pair[1]), pair) for pair in ordered), key=itemgetter(0))][:count]


def _injection(family: str, name: str, node: Located) -> Injection:
    entries = node.mapping(*get_args(Into))
    if len(entries) != 1:
        raise node.error(f"the injection {name!r} has {len(entries)} texts", "write either 'response:' or 'query:'")
    into, template = next(iter(entries.items()))
    before, mark, after = template.text().partition(PLACE)
    if not mark or PLACE in after:
        raise template.error(f"the injection {name!r} needs {PLACE} once", f"write {PLACE} where the {into} stands")
    return Injection(f"{family}/{name}", family, "query" if into == "query" else "response", before, after)


def _fitting(suite: Suite, clause_id: str, reply: str) -> Scenario:
    # Held-out queries are not shown to people who work on a wording, and a report shows some.
    fit = suite.split("develop") or suite.scenarios
    fitting = [scenario for scenario in fit if clause_id in scenario.clause_ids] or fit
    return fitting[seed_from(clause_id, reply) % len(fitting)]


def _response(scenario: Scenario, text: str) -> Response:
    return Response(scenario_id=scenario.id, condition="known", sample=0, text=text, finished=True, model="")


def _dealt(injections: Sequence[Injection], cases: Sequence[Case], each: int) -> list[tuple[Injection, Case]]:
    """So many cases for each injection, dealt in turn, so that all are used about equally."""
    turn = cycle(cases)
    return [(injection, case) for injection in injections for case in islice(turn, min(each, len(cases)))]


def _tried(injection: Injection, case: Case, verdict: Verdict) -> Tried:
    scenario, response, clause = case
    return Tried(
        injection=injection.id,
        family=injection.family,
        clause_id=clause.id,
        into=injection.into,
        text=response.text if injection.into == "response" else scenario.query,
        hostile=f"{injection.before}…{injection.after}",
        outcome=verdict.outcome,
        reason=verdict.reason,
    )


def _turn(met: Counter[str], example: Tried) -> int:
    """How many of its family came before it."""
    met[example.family] += 1
    return met[example.family]


def _answered(name: str, verdicts: Sequence[Verdict]) -> dict[int, Verdict]:
    """The verdicts by place, without those that a call without an answer left undecided."""
    failed = [one.outcome == "undecided" and one.reason.startswith(NO_JUDGEMENT) for one in verdicts]
    found = {place: one for place, one in enumerate(verdicts) if not failed[place]}
    if verdicts and not found:
        raise RatifyError(f"the judge {name!r} answered none of {len(verdicts)} calls ({verdicts[0].reason})")
    return found


def _share(outcomes: Counter[str]) -> float:
    decided = outcomes["upheld"] + outcomes["violated"]
    return outcomes["upheld"] / decided if decided else float("nan")
