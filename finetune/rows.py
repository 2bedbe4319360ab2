"""Making rows many at a time, each on its own from its first call to its last.

A row that got no answer to a call, while an endpoint was silent, is made again when that answers:
rows are lost for what they are, not for the minute in which they were asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from prefect_ratify.call_store import Asking, CallStore, pooled
from prefect_ratify.errors import ShortOfRows
from prefect_ratify.event_loop import run
from prefect_ratify.finetune.counts import ShardCounts, counted
from prefect_ratify.finetune.one_row import Made, made_row
from prefect_ratify.finetune.planning import planned_calls
from prefect_ratify.finetune.row_making import RowMaking, Sentences
from prefect_ratify.finetune.row_pairs import Pairing
from prefect_ratify.finetune.shards import RowPlace
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.models import why_silent
from prefect_ratify.progress import Meter, duration, say
from prefect_ratify.training_rows import PreferencePair, TrainingPrompt

PASSES = 3  # over rows that got no answer; between any two, their endpoints have to answer again
SECONDS_BETWEEN_LOOKS = 5.0
LONGEST_SILENCE = 180.0  # seconds that an endpoint is waited for
Asked = tuple[RowPlace, TrainingPrompt]


def make_rows(
    asked: Sequence[Asked], making: RowMaking, store: CallStore, sentences: Mapping[int, Sentences] | None = None
) -> list[Made]:
    """Make rows, in their order; ShortOfRows where an endpoint that some of them need stays silent.

    `sentences` are what composed rows are made of, by sample.
    """
    found: dict[int, Made] = {}
    missing = list(asked)
    for _ in range(PASSES):
        found |= _pass(missing, making, store, sentences or {})
        missing = [each for each in asked if found[each[0].place].silent]
        if not missing:
            break
        silent = {model.digest: model for each in missing for model in found[each[0].place].silent}
        _wait_for(list(silent.values()), len(missing), len(asked))
    return [found[place.place] for place, _ in asked]


def tally(asked: Sequence[Asked], found: Sequence[Made], sentences: dict[str, dict[str, int]]) -> ShardCounts:
    """What became of the rows of a shard; `sentences` is what those that were composed took."""
    firsts = [prompt for place, prompt in asked if place.sample == 0]  # each prompt, where its rows begin
    reasons = (reason for each in found for reason in each.pairs if isinstance(reason, str))
    return counted(
        [each.row for each in found if each.row],
        [pair for each in found for pair in each.pairs if isinstance(pair, PreferencePair)],
    ).model_copy(
        update={
            "prompts": len(firsts),
            "scenarios": sum(bool(prompt.scenario.clause_ids) and not prompt.how for prompt in firsts),
            "asked": len(asked),
            "to_retain": sum(place.way == "own" for place, _ in asked),
            "lost": dict(Counter(each.lost for each in found if each.lost)),
            "unanswered": sum(bool(each.lost and each.silent) for each in found),
            "lint": dict(Counter(finding for each in found for finding in each.findings)),
            "pairs_lost": dict(Counter(reasons)),
            "sentences": sentences,
        }
    )


def _pass(
    asked: Sequence[Asked], making: RowMaking, store: CallStore, sentences: Mapping[int, Sentences]
) -> dict[int, Made]:
    """Try to make rows; what became of each, by its place."""
    found: dict[int, Made] = {}
    pairing = _pairing(making)

    async def work() -> None:
        with Meter("rows", sum(planned_calls(prompt.scenario, place.way, making) for place, prompt in asked)) as meter:
            async with Asking(store, meter) as asking:

                async def one(each: Asked) -> None:
                    found[each[0].place] = await made_row(*each, making, pairing, sentences, asking.apart())

                await pooled(one, asked, sum(model.at_once for model in making.models))

    run(work())
    return found


def _wait_for(models: Sequence[LanguageModel], missing: int, asked: int) -> None:
    """Until all of them answer again; ShortOfRows where that takes too long."""
    until = time.monotonic() + LONGEST_SILENCE
    for model in models:
        said = False
        while why := why_silent(model):
            if time.monotonic() > until:
                raise ShortOfRows(
                    f"{missing} of {asked} rows got no answer, and {model.name!r} is silent ({why}): "
                    "see to it, and run the same command again; what was answered is kept"
                )
            if not said:
                say(f"  {model.name} is silent ({why}); waiting for it, at most {duration(LONGEST_SILENCE)}")
                said = True
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _pairing(making: RowMaking) -> Pairing:
    return Pairing(
        clauses=tuple(making.clauses.values()),
        by=making.by,
        own=making.own,
        sampling=making.sampling,
        seed=making.seed,
        feedback=making.critic.model if making.critic else None,
        votes=making.data.votes,
    )
