"""The reward for GRPO: pure, and the same verdicts as the checks'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefect_ratify.finetune.rewards import clause_reward, reward_row, write_reward_rows
from prefect_ratify.records import Message, Scenario
from prefect_ratify.scenarios import checks as checking
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.training_rows import TrainingPrompt

CHECKS = {
    "sorry": '{any_of: [sorry, "isn\'t fair"]}',
    "short": "{at_most_words: 4}",
    "slow": "{any_of: ['(a|aa)+$']}",
}


def check(name: str) -> Check:
    return parse_check(parse_yaml(CHECKS[name], Path("suite")))


def prompt(*clause_ids: str) -> TrainingPrompt:
    message = Message(role="user", content="They evict us.")
    return TrainingPrompt(scenario=Scenario(id="s", messages=(message,), clause_ids=clause_ids, split="develop"))


KNOWN = {name: check(name) for name in ("sorry", "short")}


def checks_of(*clause_ids: str) -> str:
    row = reward_row(prompt(*clause_ids), KNOWN, ["sorry"])
    assert row is not None and row["prompt"] == [{"role": "user", "content": "They evict us."}]
    return str(row["checks"])


def test_the_reward_is_the_share_of_the_checks_that_an_answer_meets() -> None:
    column = [checks_of("sorry", "short")] * 4
    answers = ["I am sorry.", "I am sorry to hear that.", "That isn’t fair", "No, no, no, no, no."]
    assert clause_reward(answers, column, trainer_state=None) == [1.0, 0.5, 1.0, 0.0]


def test_chats_are_read_by_their_last_message() -> None:
    chat = [{"role": "user", "content": "sorry?"}, {"role": "assistant", "content": "No."}]
    assert clause_reward([chat], [checks_of("sorry")]) == [0.0]


def test_an_unrelated_request_should_not_show_what_clauses_ask_for() -> None:
    assert clause_reward(["So sorry!", "Boil the rice."], [checks_of()] * 2) == [0.0, 1.0]


def test_a_check_that_cannot_tell_gives_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "TIMEOUT_SECONDS", 0.05)
    slow, hostile = check("slow").source, "a" * 5000 + "!"
    assert clause_reward([hostile], [json.dumps([slow])]) == [None]
    assert clause_reward([hostile], [json.dumps([slow, check("sorry").source])]) == [0.0]
    assert clause_reward(["anything"], ["[]"]) == [None]


def test_a_scenario_that_no_check_decides_gives_no_row() -> None:
    assert reward_row(prompt("tone"), KNOWN, []) is None and reward_row(prompt(), KNOWN, []) is None


def test_rows_are_written_some_at_a_time_and_trl_reads_them(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    row = reward_row(prompt("sorry"), KNOWN, [])
    assert row is not None
    path = tmp_path / "prompts" / "rows.parquet"
    assert write_reward_rows((row for _ in range(600)), path) == 600
    table = pq.read_table(path)
    assert table.num_rows == 600 and table.column_names == ["prompt", "checks", "scenario_id"]
    assert table.slice(599).to_pylist() == [row]
