"""The requests that training rows are made of, written once, and which rows there are to make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.errors import LeakError
from prefect_ratify.finetune.counts import reasons
from prefect_ratify.finetune.leaks import LeakCheck, leak_check
from prefect_ratify.finetune.planning import planned_in_all
from prefect_ratify.finetune.row_making import RowMaking
from prefect_ratify.finetune.shards import PLAN, PROMPTS, RowPlan, Way, rows_to_retain, write_prompts
from prefect_ratify.finetune.templates import by_templates
from prefect_ratify.finetune.variations import VariationTally, vary
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.policy_modules.varying import by_model
from prefect_ratify.progress import say
from prefect_ratify.records import Scenario
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.store import read_record, write_record
from prefect_ratify.training_rows import TrainingPrompt

TALLY = "prompts.json"  # what became of the variations that were asked for


@dataclass
class Seen:
    """What went by: requests before the unrelated ones, those, and the calls that their rows take at most."""

    prompts: int = 0
    unrelated: int = 0
    calls: int = 0


def write_plan(run: Run, making: RowMaking, folder: Path) -> RowPlan:
    """The plan that is there, or a new one, with its prompts; they are written before it."""
    if (folder / PLAN).exists():
        return read_record(folder / PLAN, RowPlan)
    ways, seen, tally = ways_of(making), Seen(), VariationTally()
    stream = _counted(_prompts(run, making, tally), making, ways, seen)
    blocks = write_prompts(stream, folder / PROMPTS)
    varied, data = tally.counts(), making.data
    write_record(folder / TALLY, varied)
    if data.variations:
        why = f" (refused: {reasons(varied.refused)})" if varied.refused else ""
        say(f"  {varied.kept:,} of {varied.asked:,} variations kept{why}")
    retained = rows_to_retain(seen.prompts * data.answers * len(ways), seen.unrelated, data.retain)
    plan = RowPlan(
        prompts=seen.prompts,
        unrelated=seen.unrelated,
        answers=data.answers,
        ways=ways,
        retained=retained,
        shard_rows=data.shard_rows,
        blocks=blocks,
        calls=seen.calls + retained,
    )
    write_record(folder / PLAN, plan)
    return plan


def ways_of(making: RowMaking) -> tuple[Way, ...]:
    """How rows are made. Without a critic they are composed where they would be revised."""
    revise: Way = "revise" if making.critic else "compose"
    ways: dict[str, tuple[Way, ...]] = {"revise": (revise,), "distil": ("distil",), "both": (revise, "distil")}
    return ways[making.data.method]


def held_out(suite: Suite) -> tuple[Scenario, ...]:
    """What nothing that is trained on may hold."""
    return suite.split("held_out") + suite.unrelated_split("held_out")


def _counted(
    prompts: Iterator[TrainingPrompt], making: RowMaking, ways: tuple[Way, ...], seen: Seen
) -> Iterator[TrainingPrompt]:
    for prompt in prompts:
        if prompt.scenario.clause_ids or prompt.how:
            seen.prompts += 1
            seen.calls += making.data.answers * sum(planned_in_all(prompt.scenario, way, making) for way in ways)
        else:
            seen.unrelated += 1
        yield prompt


def _prompts(run: Run, making: RowMaking, tally: VariationTally) -> Iterator[TrainingPrompt]:
    """Development scenarios, their variations, and unrelated requests; LeakError where one is held-out text."""
    suite = run.project.suite
    scenarios, unrelated = suite.split("develop"), suite.unrelated_split("develop")
    leaks = leak_check(held_out(suite), run.cases().embed)
    for scenario in scenarios + unrelated:
        _require_no_leak(scenario, leaks)
    yield from (TrainingPrompt(scenario=scenario) for scenario in scenarios)
    if making.data.variations:
        critic, seed = making.critic, making.seed
        by = by_model(critic.model, run.store, seed) if critic else by_templates(seed)
        yield from vary(scenarios, making.data.variations, by, leaks, tally, unrelated)
    yield from (TrainingPrompt(scenario=scenario) for scenario in unrelated)


def _require_no_leak(scenario: Scenario, leaks: LeakCheck) -> None:
    leak = leaks(scenario)
    if leak:
        raise LeakError(
            f"the development scenario {scenario.id!r} is too close to the held-out one {leak.scenario_id!r} "
            f"({leak.similarity:.2f}): move one of them to the other split"
        )
