"""The rows that a model is trained on, and what is kept of how each was made."""

from __future__ import annotations

from typing import Literal

from prefect_ratify.records import Message, Outcome, Record, Scenario


class Critique(Record):
    """What a critic found wrong with a response, by one clause (Constitutional AI, section 3.1)."""

    clause_id: str
    text: str


class Revision(Record):
    """A response rewritten after a critique (Constitutional AI, section 3.1)."""

    critique: Critique
    text: str


class TrainingPrompt(Record):
    """A request that training rows are made of: a development scenario, or a variation of one.

    `how` is empty for a scenario as people wrote it; else it says what was varied (person, place,
    severity, tone, look-alike), and `of` names the scenario that it was varied from.
    """

    scenario: Scenario
    of: str = ""
    how: str = ""


class Judged(Record):
    """A verdict as a training row keeps it."""

    clause_id: str
    outcome: Outcome
    judge: str


class ClauseVote(Record):
    """What a feedback model chose of a pair by one clause.

    `chosen` is the probability that it gives to the chosen response, over both orders; None where
    the endpoint gives no log-probabilities.
    """

    clause_id: str
    choice: Literal["chosen", "rejected", "tie", "undecided"]
    chosen: float | None = None


class Provenance(Record):
    """Where a training row comes from.

    `scenario_id` is what was asked, and `varied_from` the scenario that people wrote, where that is
    another. `prompts` is the digest of the wording that the models were asked in. `original` is the
    answer before any revision, `before` and `after` are the verdicts on it and on what is learned
    (of a pair: on the rejected and on the chosen response), `round` counts the revisions, `votes`
    are a feedback model's and `soft_label` is the probability that it gives to the chosen response.
    """

    scenario_id: str
    clause_ids: tuple[str, ...]
    policy: str
    model: str
    method: str
    seed: int
    varied_from: str = ""
    how: str = ""
    model_digest: str = ""
    prompts: str = ""
    sample: int = 0
    round: int = 0
    original: str = ""
    revisions: tuple[Revision, ...] = ()
    before: tuple[Judged, ...] = ()
    after: tuple[Judged, ...] = ()
    votes: tuple[ClauseVote, ...] = ()
    soft_label: float | None = None


class Demonstration(Record):
    """A row of supervised finetuning, in TRL's prompt–completion form."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    provenance: Provenance


class PreferencePair(Record):
    """A row of preference training, in TRL's columns."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    provenance: Provenance


class JudgedCompletion(Record):
    """A row of training on answers that are desirable or not, in TRL's columns for KTO."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    provenance: Provenance
