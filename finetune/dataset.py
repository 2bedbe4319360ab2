"""The training data: demonstrations built from a policy, checked for leaks, written as Parquet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_ratify.errors import LeakError, ShortOfRows
from prefect_ratify.records import (
    Demonstration,
    Message,
    Policy,
    PreferencePair,
    Provenance,
    Record,
    Response,
    Scenario,
    digest,
)
from prefect_ratify.scenarios.checks import sentences
from prefect_ratify.scenarios.suite import Suite

FEWEST_DEMONSTRATIONS = 2
GRAM = 5  # words
LEAK_OVERLAP = 0.5  # share of a held-out query's word 5-grams that a row may not reach


class DataCounts(Record):
    """Every row accounted for: scenarios asked for, kept, and lost by reason; retain rows apart."""

    scenarios: int
    demonstrations: int
    retained: int
    lost: dict[str, int]
    sentences: dict[str, dict[str, int]]


def compose(
    scenarios: Sequence[Scenario],
    policy: Policy,
    suite: Suite,
    kept: Mapping[tuple[str, str], str],
    model: str,
    seed: int,
) -> tuple[list[Demonstration], dict[str, int]]:
    """Answers composed of the clauses' sentences, in the policy's order; lost rows by reason.

    A row is kept only where every clause with worked examples got a sentence, and the whole
    answer passes the check of every clause that the scenario touches.
    """
    rows: list[Demonstration] = []
    lost: dict[str, int] = {}
    for scenario in scenarios:
        wanted = [c for c in scenario.clause_ids if suite.guide(c).examples]
        missing = [c for c in wanted if (scenario.id, c) not in kept]
        text = " ".join(kept[scenario.id, c] for c in wanted if c not in missing)
        broken = [] if missing else _broken(text, scenario, suite)
        if missing or broken or not text:
            reason = (
                f"no passing sentence for {missing[0]}"
                if missing
                else f"the whole answer breaks {broken[0]}"
                if broken
                else "no clause has worked examples"
            )
            lost[reason] = lost.get(reason, 0) + 1
            continue
        rows.append(demonstration(scenario, text, policy, model, "sentences composed", seed))
    return rows, lost


def demonstration(scenario: Scenario, text: str, policy: Policy, model: str, method: str, seed: int) -> Demonstration:
    """One supervised row: the scenario's messages (no policy in them) and the answer."""
    return Demonstration(
        prompt=scenario.messages,
        completion=(Message(role="assistant", content=text),),
        provenance=Provenance(
            scenario_id=scenario.id,
            clause_ids=scenario.clause_ids,
            policy=digest(policy),
            model=model,
            method=method,
            seed=seed,
        ),
    )


def retain(
    scenarios: Sequence[Scenario], answers: Sequence[Response], policy: Policy, seed: int
) -> tuple[list[Demonstration], dict[str, int]]:
    """The model's own answers to unrelated requests, so that training leaves them as they are.

    An answer that the token limit cut is kept up to its last whole sentence.
    """
    by_id = {scenario.id: scenario for scenario in scenarios}
    rows: list[Demonstration] = []
    lost: dict[str, int] = {}
    for answer in answers:
        text = answer.text if answer.finished else whole_sentences(answer.text)
        if text:
            scenario = by_id[answer.scenario_id]
            rows.append(demonstration(scenario, text, policy, answer.model, "own answer retained", seed))
        else:
            reason = "no own answer to retain" if answer.error else "own answer has no whole sentence"
            lost[reason] = lost.get(reason, 0) + 1
    return rows, lost


def require_rows(counts: DataCounts) -> None:
    """ShortOfRows, with every count, where there is too little to train on."""
    if counts.demonstrations < max(FEWEST_DEMONSTRATIONS, counts.scenarios // 2):
        reasons = "; ".join(f"{count} × {reason}" for reason, count in sorted(counts.lost.items()))
        raise ShortOfRows(
            f"only {counts.demonstrations} of {counts.scenarios} scenarios gave a training row ({reasons}): "
            "give these clauses an 'opening', simpler worked examples or a wider check in scenarios.yaml"
        )


def require_no_leak(rows: Sequence[Demonstration | PreferencePair], held_out: Sequence[Scenario]) -> None:
    """LeakError where a row holds a held-out scenario's id or much of its text.

    A row leaks where it shares LEAK_OVERLAP or more of a held-out text's word 5-grams (all its
    words, where it has fewer).
    """
    for row in rows:
        ids = [scenario.id for scenario in held_out if scenario.id == row.provenance.scenario_id]
        leaked = ids[0] if ids else leaked_scenario(" ".join(m.content for m in _messages(row)), held_out)
        if leaked:
            raise LeakError(
                f"the held-out scenario {leaked!r} is in the training row of "
                f"{row.provenance.scenario_id!r}: move one of them to the other split"
            )


def leaked_scenario(text: str, held_out: Sequence[Scenario]) -> str:
    """The id of a held-out scenario of which the text holds much; empty where it holds none."""
    words = _words(text)
    by_size = {size: _grams(words, size) for size in range(GRAM + 1)}
    for scenario in held_out:
        mark = _words(" ".join(message.content for message in scenario.messages))
        size = min(GRAM, len(mark))
        grams = _grams(mark, size)
        if grams and len(grams & by_size[size]) / len(grams) >= LEAK_OVERLAP:
            return scenario.id
    return ""


def write_dataset(rows: Sequence[Demonstration | PreferencePair], folder: Path) -> None:
    """Write rows as one Parquet file that `datasets.load_dataset(str(folder))` reads."""
    from datasets import Dataset

    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list([row.model_dump(mode="json") for row in rows]).to_parquet(folder / "train.parquet")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder that `write_dataset` wrote."""
    from datasets import Dataset

    rows: list[dict[str, Any]] = Dataset.from_parquet(str(folder / "train.parquet")).to_list()
    return rows


def data_card(policy: Policy, counts: DataCounts, model: str) -> str:
    """What people should know of the data before they approve it, in Markdown."""
    lines = [
        f"# Training data for “{policy.title}”",
        "",
        f"- Written by: `{model}`; no person wrote or corrected these rows.",
        f"- {counts.demonstrations} demonstrations from {counts.scenarios} development scenarios; "
        f"{counts.retained} unrelated requests with the model's own answers (retain rows).",
        *(f"- Lost: {count} × {reason}." for reason, count in sorted(counts.lost.items())),
        "- No held-out scenario is in it (checked by id and by word 5-grams).",
        "- The clauses' checks chose the rows, and the same checks score the result.",
    ]
    if counts.sentences:
        lines += [
            "",
            "| clause | wanted | kept freely | kept from the author's opening | tries |",
            "|---|---|---|---|---|",
        ]
        for clause_id, tally in counts.sentences.items():
            lines.append(
                f"| {clause_id} | {tally['wanted']} | {tally['free']} | {tally['opened']} | {tally['tries']} |"
            )
        lines += ["", "Sentences kept from an opening begin with words that the policy's authors wrote."]
    return "\n".join(lines) + "\n"


def _broken(text: str, scenario: Scenario, suite: Suite) -> list[str]:
    checks = ((c, suite.guide(c).check) for c in scenario.clause_ids)
    broken = [clause_id for clause_id, check in checks if check and check(text).holds is not True]
    expected = suite.expectations.get(scenario.id)
    if expected and expected(text).holds is not True:
        broken.append("the scenario's expectation")
    return broken


def whole_sentences(text: str) -> str:
    """A text up to the end of its last whole sentence; empty where it has none."""
    ends = [end for start, end in sentences(text) if text[start:end].endswith((".", "!", "?"))]
    return text[: ends[-1]] if ends else ""


def _messages(row: Demonstration | PreferencePair) -> tuple[Message, ...]:
    if isinstance(row, Demonstration):
        return row.prompt + row.completion
    return row.prompt + row.chosen + row.rejected


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()
