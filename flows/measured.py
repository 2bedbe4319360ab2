"""What the measures of pluralism work on, and how their findings are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.flows.run_folder import Run
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.steering import steered, weighting_text
from prefect_ratify.records import Response, Scenario, Verdict
from prefect_ratify.scenarios.pluralism.plan import PluralismPlan, Weighting
from prefect_ratify.scenarios.pluralism.records import Pluralism
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.statistics import Scores
from prefect_ratify.scenarios.verdict_table import shares


@dataclass(frozen=True)
class Measured:
    """What the measures work on: the conditions, and their answers and verdicts on held-out scenarios."""

    run: Run
    plan: PluralismPlan
    scenarios: tuple[Scenario, ...]
    conditions: tuple[Condition, ...]
    answers: Mapping[str, Sequence[Response]]
    verdicts: Mapping[str, Sequence[Verdict]]

    @property
    def clause_ids(self) -> tuple[str, ...]:
        return self.run.project.policy.clause_ids

    def told(self, condition: Condition, weighting: Weighting) -> Condition:
        """The condition, told how much clauses matter."""
        return steered(condition, weighting_text(weighting.weights, self.run.project.policy), weighting.name)

    def judges(self) -> list[LanguageModel]:
        return [judge.model for judge in self.run.judges()]

    def shares(self, verdicts: Sequence[Verdict]) -> Scores:
        """Of upheld among decided samples, `[scenarios, clauses]`."""
        return shares(verdicts, [scenario.id for scenario in self.scenarios], self.clause_ids)


def joined(parts: Sequence[Pluralism]) -> Pluralism:
    """What several measures found, as one; the volume of the front is that of the one part that has it."""
    listed = [name for name in Pluralism.model_fields if name != "front_volume"]
    volume = next((part.front_volume for part in parts if part.front_volume is not None), None)
    return Pluralism(front_volume=volume, **{name: sum((getattr(part, name) for part in parts), ()) for name in listed})
