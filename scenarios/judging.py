"""Judging: a verdict for every response and every clause that its scenario touches.

What the yardstick cannot decide by itself, its judge models are asked, several at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from prefect_ratify.call_store import NOT_RUN, Asking, CallStore, pooled
from prefect_ratify.event_loop import run
from prefect_ratify.progress import Meter
from prefect_ratify.records import Response, Scenario, Verdict
from prefect_ratify.scenarios.precedents import Ruling
from prefect_ratify.scenarios.yardstick import Case, Judgement, JudgeModel, Yardstick, decided, undecided

NO_JUDGEMENT = "the judge gave no answer"


async def verdicts_on(response: Response, scenario: Scenario, by: Yardstick, asking: Asking) -> list[Verdict]:
    """A response's verdicts, in the order of the clauses; what needs a model is asked at once."""
    given = [(clause, by.decide(response, clause)) for clause in by.clauses(scenario)]
    waiting = [(scenario, response, clause) for clause, verdict in given if verdict is None]
    if not waiting:
        return [verdict for _, verdict in given if verdict is not None]
    shown = zip(waiting, await _rulings(waiting, by, asking), strict=True)
    judged = iter(await asyncio.gather(*(_ask_judges(by, case, rulings, asking) for case, rulings in shown)))
    return [verdict or next(judged) for _, verdict in given]


def judge(
    responses: Sequence[Response], scenarios: Sequence[Scenario], by: Yardstick, store: CallStore | None = None
) -> list[Verdict]:
    """Judge responses clause by clause, in the order of the responses. Judge models need a store."""
    by_id = {scenario.id: scenario for scenario in scenarios}
    found: dict[int, list[Verdict]] = {}

    async def work() -> None:
        assert store is not None
        with Meter("verdicts", 0) as meter:
            async with Asking(store, meter) as asking:

                async def one(place: int) -> None:
                    response = responses[place]
                    found[place] = await verdicts_on(response, by_id[response.scenario_id], by, asking)

                await pooled(one, range(len(responses)), sum(judge.model.at_once for judge in by.judges))

    if not by.judges:
        given = ((r, c) for r in responses for c in by.clauses(by_id[r.scenario_id]))
        return [verdict for response, clause in given if (verdict := by.decide(response, clause))]
    run(work())
    return [verdict for place in range(len(responses)) for verdict in found[place]]


def judge_cases(cases: Sequence[Case], by: Yardstick, store: CallStore | None = None) -> list[Verdict]:
    """A verdict for each case: each is a scenario of its own that touches the one clause."""
    scenarios = [
        scenario.model_copy(update={"id": str(place), "clause_ids": (clause.id,)})
        for place, (scenario, _, clause) in enumerate(cases)
    ]
    responses = [
        response.model_copy(update={"scenario_id": str(place)}) for place, (_, response, _) in enumerate(cases)
    ]
    return judge(responses, scenarios, by, store)


async def _rulings(cases: Sequence[Case], by: Yardstick, asking: Asking) -> list[tuple[Ruling, ...] | None]:
    """The rulings that judges are shown; None where no judge would be asked, since the budget is spent."""
    if by.cases is None or by.cases.embed is None:
        return [by.rulings_like(case) for case in cases]
    useful = [by.knows_rulings_like(case) or await _has_room(by, case, asking) for case in cases]
    wanted = [case for case, yes in zip(cases, useful, strict=True) if yes]
    # This may ask a model: others go on meanwhile.
    found = iter(await asyncio.to_thread(by.all_rulings_like, wanted))
    return [next(found) if yes else None for yes in useful]


async def _has_room(by: Yardstick, case: Case, asking: Asking) -> bool:
    """Whether the budget has room for any judge's call at its shortest, without rulings."""
    for judge in by.judges_on(case[2].id):
        if await asking.has_room(judge.model, judge.question(case, ())):
            return True
    return False


async def _ask_judges(by: Yardstick, case: Case, rulings: Sequence[Ruling] | None, asking: Asking) -> Verdict:
    judges = by.judges_on(case[2].id)
    names = [judge.model.name for judge in judges]
    if rulings is None:
        asking.spending.refused += len(judges)
        return _voted(case, names, [_unable(f"{NO_JUDGEMENT} ({NOT_RUN})")] * len(judges))
    judgements = await asyncio.gather(*(_ask(judge, case, rulings, asking) for judge in judges))
    return _voted(case, names, judgements)


async def _ask(judge_model: JudgeModel, case: Case, rulings: Sequence[Ruling], asking: Asking) -> Judgement:
    key = judge_model.key(case, rulings)
    # Work with an account counts the call itself, also where what came of it is known.
    judgement = None if asking.spending.account else asking.store.find(key, Judgement)
    if judgement is None:
        asking.meter.expect(1)
        answer = await asking.ask(judge_model.model, judge_model.question(case, rulings))
        if answer.error:
            return _unable(f"{NO_JUDGEMENT} ({answer.error})")
        judgement = judge_model.read(answer.text) if answer.finished else _unable("the judge's answer was cut off")
        asking.store.keep(key, judgement)
    return judgement


def _voted(case: Case, names: Sequence[str], judgements: Sequence[Judgement]) -> Verdict:
    """The outcome that more than half of the judges give, with their share as its confidence; or else undecided.

    Who alone is asked decides alone, as sure as it says. Where most cannot tell, none has decided.
    """
    _, response, clause = case
    counts = Counter(judgement.outcome for judgement in judgements)
    outcome, votes = counts.most_common(1)[0]
    said = list(zip(names, judgements, strict=True))
    missing = [judgement.reason for judgement in judgements if judgement.reason.startswith(NO_JUDGEMENT)][:1]
    if 2 * votes <= len(names):
        differ = "the judges differ: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return undecided(response, clause.id, "; ".join([*missing, differ]), ", ".join(names))
    reasons = [judgement.reason for judgement in judgements if judgement.outcome == outcome][:1]
    if outcome == "undecided":
        reasons = missing or reasons  # first, since what was not answered can still be
    reasons += [f"{name} dissents: {other.outcome}, {other.reason}" for name, other in said if other.outcome != outcome]
    if outcome == "undecided":
        return undecided(response, clause.id, "; ".join(reasons), ", ".join(names))
    alone = len(names) == 1
    confidence = judgements[0].confidence if alone else votes / len(names)
    by = names[0] if alone else f"{', '.join(names)}: {votes} of {len(names)}"
    return decided(response, clause.id, outcome, confidence, "; ".join(reasons), by)


def _unable(reason: str) -> Judgement:
    return Judgement(outcome="undecided", confidence=0.0, reason=reason)
