"""The vocabulary: frozen records that every stage reads and writes.

A record's identity is the digest of its content, so that the same content is the same thing
in every file, cache and approval.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Polarity = Literal["must", "should", "must not"]
Split = Literal["develop", "held_out"]
Outcome = Literal["upheld", "violated", "not applicable", "undecided"]


class Record(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=Record)
_NAMES: dict[type[Record], set[str]] = {}


class Message(Record):
    """One turn of a chat, as every chat template and API takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


class WorkedExample(Record):
    """One sentence that upholds a clause in answer to a query, written by people."""

    query: str
    sentence: str


class Clause(Record):
    """One thing that the model must, should or must not do, in the group's words.

    A refined policy may put one draft clause in two: `empathy` becomes `empathy` and `empathy/2`,
    so that every clause names the draft clause that it comes from.
    """

    id: str
    text: str
    polarity: Polarity
    notes: tuple[str, ...] = ()
    examples: tuple[WorkedExample, ...] = ()

    @property
    def draft_id(self) -> str:
        """The id of the draft clause that this is, or is a part of."""
        return self.id.partition("/")[0]


class Definition(Record):
    """What a term means in this policy."""

    term: str
    text: str


class Policy(Record):
    """A titled list of clauses. `parent` is the digest of the policy that it refines.

    Where a policy was reworded as a whole, `wording` is what a model is told; the clauses are
    still what its answers are judged by. `contested` are clauses on which the group is divided: not in
    force, told to no model, and offered at the policy gate. A policy without any has the digest that
    it had before there were any.
    """

    title: str
    clauses: tuple[Clause, ...]
    context: str = ""
    definitions: tuple[Definition, ...] = ()
    authors: tuple[str, ...] = ()
    parent: str = ""
    wording: str = ""
    contested: tuple[Clause, ...] = Field(default=(), exclude_if=lambda clauses: not clauses)

    def clause(self, clause_id: str) -> Clause:
        """The clause of that id; KeyError where there is none."""
        for clause in self.clauses:
            if clause.id == clause_id:
                return clause
        raise KeyError(clause_id)

    @property
    def clause_ids(self) -> tuple[str, ...]:
        return tuple(clause.id for clause in self.clauses)

    def parts(self, draft_id: str) -> tuple[Clause, ...]:
        """The clauses that stand for a draft clause: one, or the two that it was put in."""
        return tuple(clause for clause in self.clauses if clause.draft_id == draft_id)

    def joined(self) -> Policy:
        """The policy with one clause for each draft clause; parts are put together again."""
        drafted = dict.fromkeys(clause.draft_id for clause in self.clauses)
        return self.model_copy(update={"clauses": tuple(_one(self.parts(draft_id)) for draft_id in drafted)})


class Sampling(Record):
    """How text is drawn from a model. `temperature` 0 is greedy."""

    temperature: float = 0.8
    min_p: float = 0.05
    max_tokens: int = 128


class Call(Record):
    """One request to a model. The answer goes on from `prefill`, which is not repeated in it.

    `response_schema` is the JSON schema, as text, that a model is held to which can be, and
    `top_logprobs` how many alternatives to its first word are asked for. A call without them has
    the digest that it had before there were any.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    prefill: str = ""
    response_schema: str = Field(default="", exclude_if=lambda schema: not schema)
    top_logprobs: int = Field(default=0, exclude_if=lambda number: not number)


class Completion(Record):
    """What a model answered. `finished` is False where the token limit cut it off.

    `error` is the class of the failure, where there is no answer. The counts are those of the
    endpoint; 0 where it gives none. `alternatives` are the tokens that might have stood where the
    first with a letter or digit stands, with their natural log-probabilities; empty where none were
    asked for, or the endpoint gives none.
    """

    text: str = ""
    finished: bool = True
    error: str = ""
    tokens_read: int = 0
    tokens_written: int = 0
    alternatives: dict[str, float] = Field(default={}, exclude_if=lambda found: not found)


class Scenario(Record):
    """A user query (one or several turns) and the clauses that it touches.

    A scenario of `clause_ids == ()` is one that the policy is not about.
    """

    id: str
    messages: tuple[Message, ...]
    clause_ids: tuple[str, ...]
    split: Split
    tags: tuple[str, ...] = ()
    source: str = ""

    @property
    def query(self) -> str:
        """The last user turn."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


class Response(Record):
    """A model's answer to a scenario under a condition (`base`, `draft`, `finetuned` …)."""

    scenario_id: str
    condition: str
    sample: int
    text: str
    finished: bool
    model: str
    error: str = ""


class Verdict(Record):
    """Whether a response keeps a clause, who says so, and why.

    `confidence` is between 0 and 1; a check that decides is certain.
    """

    scenario_id: str
    condition: str
    sample: int
    clause_id: str
    outcome: Outcome
    confidence: float
    reason: str
    judge: str


class Precedent(Record):
    """A person's ruling on one response to one scenario; judging follows it."""

    scenario_id: str
    response: str
    clause_id: str
    outcome: Literal["upheld", "violated", "not applicable"]
    by: str
    reason: str = ""


def _one(parts: tuple[Clause, ...]) -> Clause:
    if len(parts) == 1 and parts[0].id == parts[0].draft_id:
        return parts[0]
    return parts[0].model_copy(
        update={
            "id": parts[0].draft_id,
            "text": " ".join(part.text for part in parts),
            "notes": tuple(note for part in parts for note in part.notes),
            "examples": tuple(example for part in parts for example in part.examples),
        }
    )


def made(kind: type[R], **fields: Any) -> R:
    """A record of all its fields, whose types the caller vouches for.

    Of the records that a run has by the ten thousand, this is a third smaller than one that was
    validated, which keeps a set of the names of its fields; and quicker.
    """
    return kind.model_construct(_NAMES.setdefault(kind, set(fields)), **fields)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the one text form that digests are taken of."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """The SHA-256 of a value's canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def seed_from(*parts: Any) -> int:
    """A 63-bit seed that depends on all parts and on nothing else."""
    return int(digest(parts)[:16], 16) >> 1


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
