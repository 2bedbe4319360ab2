"""Proposers: where a clause's next form comes from.

* A capable model is helped by wording: a refiner model rewords the clause, puts it in two, or adds
  a worked example.
* A model as small as the embedded one is not: it is given the authors' worked examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.clause_changes import ClauseChange, Failure, Refusal
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy import polarity_of
from prefect_ratify.policy_modules.answer_fields import cleaned, fields_of, is_none
from prefect_ratify.policy_modules.guards import grams_of, why_refused
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.policy_modules.rulings_text import rulings_text
from prefect_ratify.records import Clause, Policy, Sampling, Scenario, WorkedExample, digest
from prefect_ratify.scenarios.precedents import Ruling

SAMPLING = Sampling(temperature=1.0, max_tokens=500)
SHOWN_FAILURES = 4
MOST_EXAMPLES = 3  # of a model's own, on one clause: each goes before the responder with every query
AUTHORS = "authors' worked examples"
REFINER = "refiner model"

Parts = tuple[Clause, ...]


@dataclass(frozen=True)
class Task:
    """A clause to be improved: as drafted, as it is now, what it failed on, and how often that was tried."""

    draft: Clause
    current: Parts
    failures: Sequence[Failure] = ()
    attempt: int = 0


@dataclass(frozen=True)
class Proposal:
    """A clause's next form. `adds` is what a judge says that it asks for beyond the draft."""

    parts: Parts
    proposer: str
    adds: str = ""


# A proposer gives a clause's next form, a refusal of what it found, or None where it knows nothing.
Proposer = Callable[[Task], Proposal | Refusal | None]


@dataclass(frozen=True)
class Refiner:
    """A model that rewords, what it is told, and who looks over its shoulder.

    `told` is what the policy says for every clause (its definitions); `rulings` gives the people's
    rulings that bear on a clause; `keeps_intent` asks a judge why a wording may not stand, and what it adds.
    """

    model: LanguageModel
    store: CallStore
    scenarios: Sequence[Scenario]
    comments: Sequence[str] = ()
    told: str = ""
    rulings: Callable[[Task], Sequence[Ruling]] = lambda task: ()
    keeps_intent: Callable[[Clause, str], tuple[str, str]] = lambda draft, text: ("", "")
    spending: Spending | None = None


def add_examples(examples: Mapping[str, tuple[WorkedExample, ...]]) -> Proposer:
    """Propose a clause with its authors' worked examples, once."""

    def propose(task: Task) -> Proposal | None:
        given = examples.get(task.draft.id, ())
        first, *others = task.current
        if not given or first.examples == given:
            return None
        return Proposal((first.model_copy(update={"examples": given}), *others), AUTHORS)

    return propose


def reword(by: Refiner) -> Proposer:
    """Propose what a model makes of a clause: reworded, in two parts, or with one more worked example.

    It sees the draft, its notes, the policy's definitions, the rulings and comments of people, and
    the failures with the judge's reasons. What the guards do not let pass is a Refusal.
    """
    from prefect_ratify.policy_modules.signatures import RefineClause

    prompt, known = Prompt(RefineClause, SAMPLING), grams_of(by.scenarios)

    def propose(task: Task) -> Proposal | Refusal | None:
        call = prompt.call(_shown(task, by)).model_copy(update={"seed": task.attempt})
        answer = by.store.complete(by.model, [call], spending=by.spending)[0]
        if answer.error:
            return Refusal(clause_id=task.draft.id, texts=(), why=f"the refiner gave no answer ({answer.error})")
        parts = _parts(fields_of(answer.text, RefineClause.output_fields), task)
        if parts == task.current:
            return None
        why, adds = why_refused(parts, task.draft, known), ""
        if not why:
            why, adds = by.keeps_intent(task.draft, _told(parts, task.draft))
        if why:
            return Refusal(clause_id=task.draft.id, texts=tuple(part.text for part in parts), why=why)
        return Proposal(parts, REFINER, adds)

    return propose


def amend(
    draft: Policy, start: Policy, propose: Proposer, asked: Sequence[str]
) -> tuple[Policy, list[ClauseChange], list[Refusal]]:
    """Let a refiner amend the clauses as people asked; returns the policy, what changed, and what was refused.

    A comment that names clauses by their ids concerns those, any other comment all of them.
    """
    changes, refusals = list[ClauseChange](), list[Refusal]()
    form = {clause.id: start.parts(clause.id) for clause in draft.clauses}
    for clause_id in _concerned(draft, asked):
        proposal = propose(Task(draft.clause(clause_id), form[clause_id]))
        if isinstance(proposal, Refusal):
            refusals.append(proposal)
        elif proposal is not None:
            changes.append(
                ClauseChange(
                    clause_id=clause_id,
                    old=form[clause_id],
                    new=proposal.parts,
                    why="asked for at a gate",
                    comments=tuple(asked),
                    proposer=proposal.proposer,
                    adds=proposal.adds,
                )
            )
            form[clause_id] = proposal.parts
    return assembled(draft, form), changes, refusals


def assembled(draft: Policy, form: Mapping[str, Parts]) -> Policy:
    """The draft with each clause in its present form; the draft itself where none has changed."""
    clauses = tuple(part for clause in draft.clauses for part in form[clause.id])
    if clauses == draft.clauses:
        return draft
    return draft.model_copy(update={"clauses": clauses, "parent": digest(draft)})


def _concerned(draft: Policy, asked: Sequence[str]) -> list[str]:
    concerned: set[str] = set()
    for text in asked:
        named = [clause_id for clause_id in draft.clause_ids if re.search(rf"\b{re.escape(clause_id)}\b", text)]
        concerned.update(named or draft.clause_ids)
    return [clause_id for clause_id in draft.clause_ids if clause_id in concerned]


def _shown(task: Task, by: Refiner) -> dict[str, str]:
    from prefect_ratify.policy_modules.signatures import fenced

    failures = (
        fenced(f"Request: {f.query}\nResponse: {f.response}\nWhy not: {f.reason}")
        for f in task.failures[:SHOWN_FAILURES]
    )
    return {
        "draft": task.draft.text,
        "current": "\n".join(part.text for part in task.current),
        "notes": _lines(task.draft.notes, "none"),
        "definitions": by.told or "none",
        "rulings": rulings_text(by.rulings(task)),
        "asked": _lines(by.comments, "nothing"),
        "failures": _lines(failures, "none"),
    }


def _lines(texts: Iterable[str], otherwise: str) -> str:
    return "\n\n".join(texts) or otherwise


def _parts(said: Mapping[str, str], task: Task) -> Parts:
    """The clause as a model has put it; its own polarity, notes and examples go with it."""
    first = task.current[0]
    examples = first.examples
    own = [example for example in examples if example not in task.draft.examples]
    if not is_none(said["example_query"]) and not is_none(said["example_sentence"]) and len(own) < MOST_EXAMPLES:
        new = WorkedExample(query=cleaned(said["example_query"]), sentence=cleaned(said["example_sentence"]))
        examples = examples if new in examples else (*examples, new)
    first_text, second = ("" if is_none(said[name]) else cleaned(said[name]) for name in ("clause", "second_clause"))
    texts = [first_text, second] if second else [first_text]
    parts = [first.model_copy(update={"text": texts[0], "polarity": polarity_of(texts[0]), "examples": examples})]
    parts += [
        Clause(id=f"{task.draft.id}/{number}", text=text, polarity=polarity_of(text))
        for number, text in enumerate(texts[1:], start=2)
    ]
    return tuple(parts)


def _told(parts: Parts, draft: Clause) -> str:
    """All that a model would be told with this form of the clause: an example can turn it round as a word can."""
    new = [example for part in parts for example in part.examples if example not in draft.examples]
    shown = [f'Example: "{example.query}" → "{example.sentence}"' for example in new]
    return " ".join([*(part.text for part in parts), *shown])
