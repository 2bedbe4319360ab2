"""Training answers without a critic: composed sentence by sentence, or the model's own, kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_ratify.records import Demonstration, Message, Policy, Provenance, Response, Scenario, digest
from prefect_ratify.scenarios.checks import sentences
from prefect_ratify.scenarios.suite import Suite


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
