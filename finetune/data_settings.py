"""What training data a run makes, and how much of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prefect_ratify.records import Record

Method = Literal["revise", "distil", "both"]


class DataSettings(Record):
    """What rows the generate stage makes of the development scenarios.

    `variations` prompts are made of each scenario beside itself, `answers` rows of each prompt.
    With a critic, `method` says whether answers are revised (as many `rounds`; 0 is one for each
    clause that the scenario touches), distilled from the policy as prompt (the best of `best_of`),
    or both. `retain` is the share of all rows that are own answers to unrelated requests; None
    takes each unrelated request once. A feedback model holds two own answers against each other by
    `votes` clauses, which takes two calls a clause; 0 makes no such pairs. Rows are written in
    shards of `shard_rows`.
    """

    variations: int = Field(default=0, ge=0)
    answers: int = Field(default=1, ge=1)
    method: Method = "revise"
    rounds: int = Field(default=0, ge=0)
    best_of: int = Field(default=4, ge=1)
    retain: float | None = Field(default=None, ge=0, lt=1)
    votes: int = Field(default=0, ge=0)
    shard_rows: int = Field(default=250, ge=1)
