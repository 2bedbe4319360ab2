"""On-policy preference data: the tuned model's own answers, judged, for another round of training.

Training on a model's own answers keeps to what it can say. Guo et al. 2024 (*Direct Language Model
Alignment from Online AI Feedback*, arXiv 2402.04792, section 3) sample at every step; here it is
once a round, so that what was sampled can be judged by any yardstick, and looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prefect_ratify.call_store import Asking, CallStore, pooled
from prefect_ratify.event_loop import run as run_async
from prefect_ratify.finetune.preferences import (
    kto_rows,
    origin_of,
    pair,
    prefer,
    preferred,
    turned_round,
    unfit,
    usable,
)
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.feedback import feedback, soft_label, wording_digest
from prefect_ratify.progress import Meter
from prefect_ratify.records import Policy, Response, Sampling, Scenario, Verdict
from prefect_ratify.scenarios.judging import judge
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.running import run as answer_all
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.training_rows import JudgedCompletion, PreferencePair

BY_FEEDBACK = "sampled from the tuned model, preferred by a feedback model"


@dataclass(frozen=True)
class Samples:
    """A model's answers to scenarios, several to each, and the verdicts on them."""

    model: LanguageModel
    scenarios: Sequence[Scenario]
    responses: list[Response]
    verdicts: list[Verdict]


def sample(
    tuned: LanguageModel,
    suite: Suite,
    by: Yardstick,
    store: CallStore,
    *,
    sampling: Sampling,
    samples: int,
    prompts: int,
    seed: int,
) -> list[Samples]:
    """The tuned model's answers to development scenarios, and to unrelated requests of that split.

    The first should uphold the clauses, and the second should not show them: there, verdicts are
    turned round. At most `prompts` of either are asked, each `samples` times.
    """

    def answers(scenarios: Sequence[Scenario]) -> list[Response]:
        return answer_all(scenarios, Condition("tuned", tuned), store, sampling=sampling, samples=samples, seed=seed)

    scenarios, unrelated = suite.split("develop")[:prompts], suite.unrelated_split("develop")[:prompts]
    on_topic, off_topic = answers(scenarios), answers(unrelated)
    everywhere = judge(off_topic, unrelated, replace(by, every_clause=True), store)
    # A length limit, say, has no worked examples: any short answer keeps it, and may.
    shown = [verdict for verdict in everywhere if suite.guide(verdict.clause_id).examples]
    return [
        Samples(tuned, scenarios, on_topic, judge(on_topic, scenarios, by, store)),
        Samples(tuned, unrelated, off_topic, turned_round(shown)),
    ]


def pairs_by_verdicts(
    groups: Sequence[Samples], policy: Policy, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Of each scenario that has answers of different worth, the best against the worst; the unfit, by reason."""
    found = [
        each
        for group in groups
        for each in prefer(group.scenarios, group.responses, group.verdicts, policy, seed, group.model.digest)
    ]
    return _parted([unfit(each) or each for each in found])


def judged_completions(
    groups: Sequence[Samples], policy: Policy, seed: int
) -> tuple[list[JudgedCompletion], dict[str, int]]:
    """The same answers one by one, for KTO; the lost, by reason."""
    rows: list[JudgedCompletion] = []
    lost: Counter[str] = Counter()
    for group in groups:
        found, reasons = kto_rows(group.scenarios, group.responses, group.verdicts, policy, seed, group.model.digest)
        rows += found
        lost.update(reasons)
    return rows, dict(lost)


def pairs_by_feedback(
    group: Samples, policy: Policy, model: LanguageModel, store: CallStore, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Pairs of the scenarios that no verdict decides anything about, by a feedback model; the lost, by reason.

    Its first two answers that differ are held against each other by each clause that it touches.
    """
    open_ = _undecided(group)
    found: dict[int, PreferencePair | str] = {}

    async def work() -> None:
        with Meter("feedback", 0) as meter:
            async with Asking(store, meter) as asking:

                async def one(place: int) -> None:
                    found[place] = await _by_feedback(*open_[place], group.model, policy, model, asking, seed)

                await pooled(one, range(len(open_)), model.at_once)

    run_async(work())
    return _parted([found[place] for place in range(len(open_))])


def _parted(found: Sequence[PreferencePair | str]) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs, and how often each reason stands in the place of one."""
    lost = Counter(each for each in found if isinstance(each, str))
    return [each for each in found if not isinstance(each, str)], dict(lost)


def _undecided(group: Samples) -> list[tuple[Scenario, list[Response]]]:
    """The scenarios that touch a clause and have no decided verdict, with their answers that differ."""
    decided = {verdict.scenario_id for verdict in group.verdicts if verdict.outcome != "undecided"}
    answers: dict[str, dict[str, Response]] = defaultdict(dict)
    for response in usable(group.responses):
        answers[response.scenario_id].setdefault(response.text, response)
    return [
        (scenario, list(answers[scenario.id].values()))
        for scenario in group.scenarios
        if scenario.clause_ids and scenario.id not in decided
    ]


async def _by_feedback(
    scenario: Scenario,
    answers: Sequence[Response],
    tuned: LanguageModel,
    policy: Policy,
    model: LanguageModel,
    asking: Asking,
    seed: int,
) -> PreferencePair | str:
    if len(answers) < 2:
        return "no two answers that differ"
    first, second = answers[:2]
    clauses = [clause for clause in policy.joined().clauses if clause.id in scenario.clause_ids]
    found = preferred(
        first.text, second.text, await feedback(scenario, first.text, second.text, clauses, model, asking)
    )
    if isinstance(found, str):
        return found
    chosen, rejected, votes = found
    origin = origin_of(scenario, first if chosen == first.text else second, policy, seed, tuned.digest, BY_FEEDBACK)
    said = {"votes": votes, "soft_label": soft_label(votes), "prompts": wording_digest()}
    made = pair(scenario, chosen, rejected, origin.model_copy(update=said))
    return unfit(made) or made
