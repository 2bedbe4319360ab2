"""More prompts than people wrote: variations of development scenarios, each accounted for.

They are of five kinds, evenly: another person, place, severity or tone, which leave the clauses that
a scenario touches as they are; and look-alikes, innocent requests with the same words, to which the
policy does not apply (against over-refusal: Röttger et al. 2023, arXiv 2308.01263, section 2). A
variation that repeats another prompt, or comes near a held-out scenario, is written to no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from prefect_ratify.errors import ShortOfRows
from prefect_ratify.finetune.leaks import LeakCheck
from prefect_ratify.finetune.near_duplicates import NearDuplicates
from prefect_ratify.finetune.refusals import evasion
from prefect_ratify.policy_modules.varying import KINDS, LOOK_ALIKE, NO_ANSWER, Order, Varying
from prefect_ratify.records import Message, Record, Scenario
from prefect_ratify.training_rows import TrainingPrompt

MOST_AT_ONCE = 8  # variations in one order: of more, a model repeats itself
ORDERS_AT_ONCE = 512  # in memory, and before a model
LONGEST = 4  # times its scenario's length, and EXTRA characters, that a variation may have
EXTRA = 400
EMPTY, EVASIVE, TOO_LONG = "empty", "the model answered something else", "too long"
REPEATS, LEAKS = "nearly the same as another prompt", "too close to a held-out scenario"


class VariationCounts(Record):
    """Every variation that was asked for: kept (and of which kind), or refused by reason."""

    asked: int
    kept: int
    by_kind: dict[str, int]
    refused: dict[str, int]


@dataclass
class VariationTally:
    """The same, while they are made."""

    by_kind: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def counts(self) -> VariationCounts:
        """What there is of them now."""
        kept = self.by_kind.total()
        return VariationCounts(
            asked=kept + self.refused.total(),
            kept=kept,
            by_kind=dict(sorted(self.by_kind.items())),
            refused=dict(sorted(self.refused.items())),
        )


def vary(
    scenarios: Sequence[Scenario],
    wanted: int,
    by: Varying,
    leaks: LeakCheck,
    tally: VariationTally,
    others: Sequence[Scenario] = (),
) -> Iterator[TrainingPrompt]:
    """`wanted` variations of each scenario, fewer where some are refused; in the scenarios' order, as they come.

    `others` are more prompts that none may repeat. The same scenarios and the same writer give the
    same variations. ShortOfRows, after the last one, where calls got no answer that might get one
    later: what was written is then not what the same inputs give another time.
    """
    seen = NearDuplicates()
    for scenario in (*scenarios, *others):
        seen.seen(scenario.query)
    orders = _orders(scenarios, wanted)
    while batch := list(islice(orders, ORDERS_AT_ONCE)):
        filled = list(zip(batch, by.write(batch), strict=True))
        varied = [
            (order, _varied(order, text, number, by.name))
            for order, written in filled
            for number, text in enumerate(written.texts, start=order.first)
        ]
        leaks.prepare(scenario for _, scenario in varied)
        for order, scenario in varied:
            why = _why_refused(scenario, order.scenario, leaks, seen)
            if why:
                tally.refused[why] += 1
            else:
                tally.by_kind[order.kind] += 1
                yield TrainingPrompt(scenario=scenario, of=order.scenario.id, how=order.kind)
        for order, written in filled:
            missing = order.count - len(written.texts)
            tally.refused.update({written.why: missing} if missing else {})
    if tally.refused[NO_ANSWER]:
        raise ShortOfRows(
            f"{tally.refused[NO_ANSWER]} of {tally.counts().asked} variations got no answer: "
            "start the run again when the model answers; only these are asked for"
        )


def _orders(scenarios: Sequence[Scenario], wanted: int) -> Iterator[Order]:
    """What to ask for: of every kind as many, over all scenarios, and within each to within one."""
    for place, scenario in enumerate(scenarios):
        number = 1
        for turn in range(len(KINDS)):
            kind = [*KINDS][(place * wanted + turn) % len(KINDS)]
            count = (wanted - turn + len(KINDS) - 1) // len(KINDS)
            for before in range(0, count, MOST_AT_ONCE):
                yield Order(scenario, kind, min(MOST_AT_ONCE, count - before), before, number + before)
            number += count


def _varied(order: Order, text: str, number: int, by: str) -> Scenario:
    """The scenario with another last request; a look-alike begins anew, and touches no clause."""
    of, alone = order.scenario, order.kind == LOOK_ALIKE
    last = max(place for place, message in enumerate(of.messages) if message.role == "user")
    before = () if alone else of.messages[:last]
    return of.model_copy(
        update={
            "id": f"{of.id}~{number}",
            "messages": (*before, Message(role="user", content=text)),
            "clause_ids": () if alone else of.clause_ids,
            "source": f"{of.id}, varied ({order.kind}) by {by}",
        }
    )


def _why_refused(varied: Scenario, of: Scenario, leaks: LeakCheck, seen: NearDuplicates) -> str:
    """Why a variation is not taken; empty for one that is, which no later one may repeat."""
    text = varied.query
    if not any(character.isalnum() for character in text):
        return EMPTY
    if evasion(text) == "refusal":
        return EVASIVE
    if len(text) > LONGEST * len(of.query) + EXTRA:
        return TOO_LONG
    if leaks(varied):
        return LEAKS
    return REPEATS if seen.seen(text) else ""
