"""The responder: how a policy is put before a model that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_ratify.records import Clause, Definition, Message, Policy, WorkedExample


def preamble(policy: Policy) -> tuple[Message, ...]:
    """The messages that make a model a prototype of the policy.

    The policy is the system prompt. Worked examples, where clauses carry any, follow as turns:
    each example query once, answered by the sentences of all clauses that have one for it.
    """
    turns: list[Message] = [Message(role="system", content=instructions(policy))]
    for query, sentences in _answers(policy).items():
        turns.append(Message(role="user", content=query))
        turns.append(Message(role="assistant", content=" ".join(sentences)))
    return tuple(turns)


def instructions(policy: Policy) -> str:
    """The system prompt: what the policy says, without the notes, which are for people."""
    if policy.wording:
        return policy.wording
    parts = [f"You keep the policy “{policy.title}” in every answer."]
    if policy.context:
        parts.append(policy.context)
    if policy.definitions:
        parts.append(definitions_text(policy.definitions))
    parts.append("In every answer:\n" + "\n".join(f"- {clause.text}" for clause in policy.clauses))
    return "\n\n".join(parts)


def definitions_text(definitions: Sequence[Definition]) -> str:
    """What terms mean, a line each, as every model is told; empty where nothing is defined."""
    return "\n".join(f"{item.term}: {item.text}" for item in definitions)


def with_examples(policy: Policy, examples: Mapping[str, tuple[WorkedExample, ...]]) -> Policy:
    """The policy with each clause carrying the worked examples given for it."""
    clauses = tuple(_with(clause, examples.get(clause.id, ())) for clause in policy.clauses)
    return policy.model_copy(update={"clauses": clauses})


def _with(clause: Clause, examples: tuple[WorkedExample, ...]) -> Clause:
    new = tuple(example for example in examples if example not in clause.examples)
    return clause.model_copy(update={"examples": clause.examples + new})


def _answers(policy: Policy) -> dict[str, list[str]]:
    answers: dict[str, list[str]] = {}
    for clause in policy.clauses:
        for example in clause.examples:
            answers.setdefault(example.query, []).append(example.sentence)
    return answers
