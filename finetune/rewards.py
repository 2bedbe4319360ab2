"""Clause verdicts as a reward for GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1).

`trl grpo --reward_funcs prefect_ratify.finetune.rewards.clause_reward` takes it by this path. It
needs the column `checks`, which `reward_row` writes: the checks that the answer should meet, as
they stand in scenarios.yaml. A policy that is sampled from its base model seldom keeps a rare
clause even once in a group, and then nothing is learnt: so this comes after supervised finetuning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from prefect_ratify.finetune.dataset import ROWS_AT_ONCE
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.training_rows import TrainingPrompt


def clause_reward(completions: Sequence[Any], checks: Sequence[str], **columns: Any) -> list[float | None]:
    """The share of its checks that each answer meets; None where none of them can tell.

    `completions` are texts, or chats whose last message is the answer; `checks` are JSON lists of
    checks, one for each answer. TRL leaves an answer of None out of the loss.
    """
    return [_reward(_text(answer), wanted) for answer, wanted in zip(completions, checks, strict=True)]


def reward_row(prompt: TrainingPrompt, checks: Mapping[str, Check], shown: Sequence[str]) -> dict[str, Any] | None:
    """The row that GRPO samples answers to: `prompt`, `checks` and the scenario's id; None where nothing decides.

    `checks` are by clause id. To an unrelated request an answer should not show what the clauses
    `shown` ask for.
    """
    scenario = prompt.scenario
    if scenario.clause_ids:
        wanted = [checks[clause_id].source for clause_id in scenario.clause_ids if clause_id in checks]
    else:
        wanted = [{"not": checks[clause_id].source} for clause_id in shown if clause_id in checks]
    if not wanted:
        return None
    chat = [message.model_dump() for message in scenario.messages]
    return {"prompt": chat, "checks": json.dumps(wanted, ensure_ascii=False), "scenario_id": scenario.id}


def write_reward_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write such rows as one Parquet file, whole or not at all, some hundred in memory; returns how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    chat = pa.list_(pa.struct([("role", text), ("content", text)]))
    schema = pa.schema([("prompt", chat), ("checks", text), ("scenario_id", text)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part, count, waiting = path.with_name(f".{path.name}.part"), 0, iter(rows)
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        while batch := list(islice(waiting, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    part.replace(path)
    return count


def _reward(answer: str, wanted: str) -> float | None:
    findings = [check(answer).holds for check in _checks(wanted)]
    decided = [holds for holds in findings if holds is not None]
    return sum(decided) / len(decided) if decided else None


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else str(answer[-1]["content"])


@lru_cache(maxsize=1024)
def _checks(wanted: str) -> tuple[Check, ...]:
    return tuple(parse_check(node) for node in parse_yaml(wanted, Path("checks")).sequence())
