"""What every way of making a supervised row takes, and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from prefect_ratify.finetune.data_settings import DataSettings
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.records import Clause, Policy, Sampling, Verdict, digest
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.suite import Suite
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.training_rows import Revision


class Lost(Exception):
    """A row that there will not be; the text is the reason by which it is counted."""


@dataclass(frozen=True)
class RowMaking:
    """What rows are made with, the same for all of a run.

    `policy` is the refined one, and `by` gives the verdicts. `own` gives
    plain answers, `prompted` answers with the policy before them, `student` those that are retained.
    `longest` is how many tokens a row may have (0: any number).
    """

    policy: Policy
    suite: Suite
    by: Yardstick
    own: Condition
    prompted: Condition
    student: Condition
    critic: ModelCritic | None
    sampling: Sampling
    seed: int
    data: DataSettings
    longest: int = 0

    @cached_property
    def policy_digest(self) -> str:
        """Of the refined policy, as its gate was shown it."""
        return digest(self.policy)

    @cached_property
    def clauses(self) -> dict[str, Clause]:
        """The refined clauses by the ids of the draft's, which scenarios name."""
        return {clause.id: clause for clause in self.policy.joined().clauses}

    @cached_property
    def models(self) -> list[LanguageModel]:
        """All that may be asked, each once."""
        asked = [self.own.model, self.student.model, *(judge.model for judge in self.by.judges)]
        asked += [self.prompted.model] + ([self.critic.model] if self.critic else [])
        return list({model.digest: model for model in asked}.values())


@dataclass(frozen=True)
class Written:
    """An answer to be learned, and how it came about; `after` is None where it was not judged yet."""

    text: str
    model: LanguageModel
    method: str
    prompts: str
    original: str = ""
    before: Sequence[Verdict] = ()
    revisions: tuple[Revision, ...] = ()
    after: Sequence[Verdict] | None = None


Sentences = Mapping[tuple[str, str], str]  # passing sentences by scenario id and clause id
