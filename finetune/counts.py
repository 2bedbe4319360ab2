"""What became of every row that was asked for."""

from __future__ import annotations

from prefect_ratify.errors import ShortOfRows
from prefect_ratify.records import Record

FEWEST_DEMONSTRATIONS = 2


class DataCounts(Record):
    """Every row accounted for: scenarios asked for, kept, and lost by reason; retain rows apart."""

    scenarios: int
    demonstrations: int
    retained: int
    lost: dict[str, int]
    sentences: dict[str, dict[str, int]]


def require_rows(counts: DataCounts) -> None:
    """ShortOfRows, with every count, where there is too little to train on."""
    if counts.demonstrations < max(FEWEST_DEMONSTRATIONS, counts.scenarios // 2):
        reasons = "; ".join(f"{count} × {reason}" for reason, count in sorted(counts.lost.items()))
        raise ShortOfRows(
            f"only {counts.demonstrations} of {counts.scenarios} scenarios gave a training row ({reasons}): "
            "give these clauses an 'opening', simpler worked examples or a wider check in scenarios.yaml"
        )
