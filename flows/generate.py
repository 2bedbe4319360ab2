"""Generate: training rows of development scenarios, their variations, and unrelated requests, shard by shard.

prompts.jsonl, prompts.json   the requests, and what became of their variations; written once, before any row
plan.json                     which rows there are to make
data/…                        the rows, as a `datasets` folder; its card comes last
shards/00000.json             the counts of a shard that is made
counts.json                   their sum
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from prefect_ratify.embedded import file_digest
from prefect_ratify.errors import ShortOfRows
from prefect_ratify.finetune.composing import sentences_for
from prefect_ratify.finetune.counts import DataCounts, require_rows, summed
from prefect_ratify.finetune.data_card import data_card
from prefect_ratify.finetune.dataset import DATA, PREFERENCES, SUPERVISED, row_files
from prefect_ratify.finetune.leaks import require_no_leak
from prefect_ratify.finetune.preferences import model_name
from prefect_ratify.finetune.row_making import RowMaking
from prefect_ratify.finetune.rows import make_rows, tally
from prefect_ratify.finetune.shards import PLAN, RowPlan, prompts_of, shard_counts, undo_unanswered, write_shard
from prefect_ratify.finetune.training_plan import count_parameters
from prefect_ratify.finetune.variations import VariationCounts
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.prompts import TALLY, held_out, write_plan
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, run_in
from prefect_ratify.flows.sharding import run_shards
from prefect_ratify.flows.voting import requests
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.policy_modules.models import is_remote
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.progress import say
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.store import read_record, write_record, write_text
from prefect_ratify.training_rows import PreferencePair

_here: dict[
    str, tuple[Run, RowMaking]
] = {}  # runs whose stage works in this process: its shards share all that is open


def generate(run: Run, folder: Path) -> None:
    """Write the data sets with their card; ShortOfRows or LeakError where they are unfit.

    Shards that are made are not made again, but for those that lost rows for want of an answer,
    where there are too few rows.
    """
    for scratch in folder.rglob(".*.part"):  # of a process that was killed
        scratch.unlink()
    with _shared(run) as making:
        plan = write_plan(run, making, folder)
        say(f"  {plan.rows:,} rows in {plan.shards:,} shards, at most {plan.calls:,} calls")
        _make_missing(run, making, plan, folder)
    counts = _counted(folder)
    try:
        require_rows(counts)
    except ShortOfRows:
        undo_unanswered(folder)
        raise
    varied = read_record(folder / TALLY, VariationCounts) if making.data.variations else None
    rows = file_digest(*row_files(folder / SUPERVISED), *row_files(folder / PREFERENCES))
    card = data_card(making.policy, counts, _writers(plan, making), read_ledger(run.folder), varied, rows=rows)
    write_text(folder / DATA / "README.md", card)


def make_shard(run_folder: str, stage_folder: str, number: int) -> None:
    """Make one shard, whose prompts are in the stage's folder; in any process that sees the files.

    LeakError where its rows hold held-out text, ShortOfRows where an endpoint stays silent: then
    there is no shard, and another try makes it.
    """
    run, making = _here.get(run_folder) or _opened(run_folder, _round(run_folder))
    folder = Path(stage_folder)
    plan = read_record(folder / PLAN, RowPlan)
    places = plan.places(number)
    asked = list(zip(places, prompts_of(folder, plan, places), strict=True))
    sentences, tallies = sentences_for(asked, making, run.store)
    found = make_rows(asked, making, run.store, sentences)
    rows = [each.row for each in found if each.row]
    pairs = [pair for each in found for pair in each.pairs if isinstance(pair, PreferencePair)]
    require_no_leak([*rows, *pairs], held_out(run.project.suite), run.cases().embed)
    write_shard(folder, number, rows, pairs, tally(asked, found, tallies))


def making_of(run: Run) -> RowMaking:
    """What the rows of a run are made with."""
    policy, student = refined_policy(run), run.student()
    critic = _critic(run) if run.settings.models.critic else None
    plain = run.model("responder") if critic else student
    length = run.training.settings("sft", count_parameters(student.folder)).get("max_length")
    return RowMaking(
        policy=policy,
        suite=run.project.suite,
        by=run.yardstick(run.project.policy),
        own=Condition("own", plain),
        prompted=Condition("refined", run.model("responder"), preamble(policy)),
        student=Condition("student", student),
        critic=critic,
        sampling=run.settings.sampling,
        seed=run.seed("generate"),
        data=run.settings.data,
        longest=int(length.value) if length and length.value else 0,
    )


def _make_missing(run: Run, making: RowMaking, plan: RowPlan, folder: Path) -> None:
    """Make the shards that are not there; ShortOfRows says of all rows what became of them."""
    try:
        run_shards(str(run.folder), str(folder), range(plan.shards), run.task_runner, _at_once(making))
    except ShortOfRows as short:
        counts = _counted(folder)
        made, lost = counts.demonstrations + counts.retained, sum(counts.lost.values())
        left = plan.rows - counts.asked
        raise ShortOfRows(f"{short}; of all {plan.rows} rows {made} are made, {lost} lost, {left} to make") from short


def _counted(folder: Path) -> DataCounts:
    """The counts of all shards that are made, which are written down."""
    counts = summed(shard_counts(folder))
    write_record(folder / "counts.json", counts)
    return counts


def _critic(run: Run) -> ModelCritic:
    return ModelCritic(
        run.model("critic"),
        requests(run, "data", "release"),
        cases=run.cases(),
        definitions=run.project.policy.definitions,
    )


@contextmanager
def _shared(run: Run) -> Iterator[RowMaking]:
    """Within this block, shards of the run that this process makes are made with what is open here."""
    making = making_of(run)
    _here[str(run.folder)] = run, making
    try:
        yield making
    finally:
        del _here[str(run.folder)]


@lru_cache(maxsize=1)
def _opened(run_folder: str, number: int) -> tuple[Run, RowMaking]:
    """The same in a worker's process, once for a run and round; no model is greeted, which would be a call each."""
    run = replace(run_in(Path(run_folder)), greet=False)
    return run, making_of(run)


def _round(run_folder: str) -> int:
    return len(list((Path(run_folder) / "rounds").glob("*")))


def _at_once(making: RowMaking) -> int:
    """How many shards are under way in this process: two where no model of them works in it."""
    model = making.critic.model if making.critic else making.own.model
    return 2 if is_remote(model.name) and is_remote(making.own.model.name) else 1


def _writers(plan: RowPlan, making: RowMaking) -> dict[str, str]:
    """The models that wrote rows, by role."""
    found: dict[str, LanguageModel] = (
        {"responder": making.prompted.model} if {"revise", "distil"} & set(plan.ways) else {}
    )
    if making.critic and "revise" in plan.ways:
        found["critic"] = making.critic.model
    if plan.retained or "compose" in plan.ways:
        found["student"] = making.student.model
    return {role: model_name(model.name) for role, model in found.items()}
