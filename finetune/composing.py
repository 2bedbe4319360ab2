"""Training answers without a critic: composed sentence by sentence, or the model's own, kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from prefect_ratify.call_store import CallStore
from prefect_ratify.finetune.row_making import Lost, RowMaking, Sentences
from prefect_ratify.finetune.sentences import write_sentences
from prefect_ratify.finetune.shards import RowPlace
from prefect_ratify.records import Scenario, seed_from
from prefect_ratify.scenarios.checks import sentences
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.training_rows import TrainingPrompt


def composed(scenario: Scenario, suite: Suite, kept: Sentences) -> str:
    """An answer of the clauses' sentences, in the policy's order; Lost where it cannot be made.

    `kept` are passing sentences by scenario id and clause id. Every clause with worked examples has
    to have one, and the whole answer to pass the check of every clause that the scenario touches.
    """
    wanted = [c for c in scenario.clause_ids if suite.guide(c).examples]
    missing = [c for c in wanted if (scenario.id, c) not in kept]
    if missing:
        raise Lost(f"no passing sentence for {missing[0]}")
    text = " ".join(kept[scenario.id, c] for c in wanted)
    broken = _broken(text, scenario, suite)
    if broken:
        raise Lost(f"the whole answer breaks {broken[0]}")
    if not text:
        raise Lost("no clause has worked examples")
    return text


def sentences_for(
    asked: Sequence[tuple[RowPlace, TrainingPrompt]], making: RowMaking, store: CallStore
) -> tuple[dict[int, Sentences], dict[str, dict[str, int]]]:
    """The passing sentences for the rows that are composed, by sample, and what they took, by clause."""
    by_sample = defaultdict[int, list[Scenario]](list)
    for place, prompt in asked:
        if place.way == "compose" and prompt.scenario.clause_ids:
            by_sample[place.sample].append(prompt.scenario)
    found: dict[int, Sentences] = {}
    tallies = defaultdict[str, Counter[str]](Counter)
    for sample, scenarios in by_sample.items():
        seed = seed_from(making.seed, "sentences", sample) if sample else making.seed
        found[sample], tally = write_sentences(scenarios, making.policy, making.suite, making.own.model, store, seed)
        for clause_id, counts in tally.items():
            tallies[clause_id].update(counts.counts())
    return found, {clause_id: dict(counts) for clause_id, counts in tallies.items()}


def whole_sentences(text: str) -> str:
    """A text up to the end of its last whole sentence; empty where it has none."""
    ends = [end for start, end in sentences(text) if text[start:end].endswith((".", "!", "?"))]
    return text[: ends[-1]] if ends else ""


def _broken(text: str, scenario: Scenario, suite: Suite) -> list[str]:
    checks = ((c, suite.guide(c).check) for c in scenario.clause_ids)
    broken = [clause_id for clause_id, check in checks if check and check(text).holds is not True]
    expected = suite.expectations.get(scenario.id)
    if expected and expected(text).holds is not True:
        broken.append("the scenario's expectation")
    return broken
