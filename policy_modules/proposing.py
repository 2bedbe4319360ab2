"""Proposed clauses: what keeps coming back, put before people as a rule to take or leave.

Nothing here changes a policy. Scenarios that no clause covers, and those whose clauses are violated,
are grouped by what they are about; a group that recurs may be worded by a model, as a suggestion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import one_line, readable
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.answer_fields import fields_of
from prefect_ratify.policy_modules.guards import LONGEST_CLAUSE, Grams, grams, grams_of, is_one_clause
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.policy_modules.responder import definitions_text
from prefect_ratify.records import Call, Completion, Policy, Record, Sampling, Scenario, Verdict, digest
from prefect_ratify.scenarios.grouping import Embed, Vectors, groups, overlap, telling_words, tf_idf

Kind = Literal["uncovered", "failures", "contested"]
SAMPLING = Sampling(temperature=0.0, max_tokens=400)
FEWEST_SCENARIOS = 3  # that recur
MOST_PROPOSALS = 5
SHOWN_CASES = 8
LONGEST_CASE = 600  # characters of a request, and of a reason, that the model is shown
# Mean cosine of TF-IDF vectors from which on texts are taken to be on one matter: one pair in a thousand
# of the shipped suite's queries, which are all on different ones, reaches it.
LEAST_ALIKE = 0.15
REPEATED = 0.7  # share of words in common with a clause, at which a new one says the same


class ProposedClause(Record):
    """A clause for people to take or leave, with the scenarios that call for it.

    `text` is empty where nobody worded it: no model was asked, it had no answer, or its wording was
    refused; `why` says which, and what the scenarios have in common. `clause_ids` are the present
    clauses that they violate, most often violated first, or touch. The id is of the evidence, so
    that the same group has the same one however it is worded. A contested clause of the draft has no
    scenarios: what people say to it is the `why`.
    """

    id: str
    kind: Kind
    text: str
    why: str
    scenario_ids: tuple[str, ...]
    clause_ids: tuple[str, ...]


@dataclass(frozen=True)
class _Case:
    """A scenario, and what was wrong with its responses by which clauses (nothing where none covers it)."""

    kind: Kind
    scenario: Scenario
    reasons: tuple[str, ...]
    clause_ids: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join((self.scenario.query, *self.reasons))


@dataclass(frozen=True)
class _Group:
    kind: Kind
    cases: tuple[_Case, ...]
    words: tuple[str, ...]

    @property
    def scenario_ids(self) -> tuple[str, ...]:
        return tuple(case.scenario.id for case in self.cases)

    @property
    def seen(self) -> str:
        """What there is to see without a model."""
        what = "scenarios that no clause covers" if self.kind == "uncovered" else "scenarios with violated clauses"
        return f"{len(self.cases)} {what} have in common: {', '.join(self.words) or 'no single word'}"


def propose_clauses(
    policy: Policy,
    uncovered: Sequence[Scenario],
    failures: Sequence[tuple[Scenario, Verdict]],
    model: LanguageModel | None,
    store: CallStore,
    *,
    embed: Embed = tf_idf,
    least_alike: float = LEAST_ALIKE,
    spending: Spending | None = None,
) -> list[ProposedClause]:
    """The groups that recur, at most five, the largest first; each is worded by one call where there is a model.

    Of `failures` the violated verdicts count. `embed` gives vectors `[texts, any]`; texts whose mean
    cosine is `least_alike` are on one matter (which depends on the embedding). A group has three
    scenarios at least. ValueError where a scenario is held out: a policy must not be written on those.
    """
    _require_development([*uncovered, *(scenario for scenario, _ in failures)])
    cases = [*_uncovered(uncovered), *_failed(failures)]
    if not cases:
        return []
    # The clauses are there so that a word is rare or common also where all cases are on one matter.
    vectors = embed([*(case.text for case in cases), *(clause.text for clause in policy.clauses)])
    found = [*_grouped("uncovered", cases, vectors, least_alike), *_grouped("failures", cases, vectors, least_alike)]
    found = sorted(found, key=lambda group: -len(group.cases))[:MOST_PROPOSALS]
    if model is None:
        return [_proposed(group, "", f"{group.seen}; people word it") for group in found]
    known = grams_of([*uncovered, *(scenario for scenario, _ in failures)])
    answers = store.complete(model, [_question(policy, group) for group in found], "proposed clauses", spending)
    return [_worded(policy, group, answer, known) for group, answer in zip(found, answers, strict=True)]


def _require_development(scenarios: Sequence[Scenario]) -> None:
    for scenario in scenarios:
        if scenario.split != "develop":
            raise ValueError(f"scenario {scenario.id!r} is held out: no clause may be proposed from it")


def _uncovered(scenarios: Sequence[Scenario]) -> list[_Case]:
    return [_Case("uncovered", scenario, (), scenario.clause_ids) for scenario in {s.id: s for s in scenarios}.values()]


def _failed(failures: Sequence[tuple[Scenario, Verdict]]) -> list[_Case]:
    """One case a scenario, however many samples and clauses of it failed."""
    scenarios = {scenario.id: scenario for scenario, verdict in failures if verdict.outcome == "violated"}
    reasons: dict[str, list[str]] = {scenario_id: [] for scenario_id in scenarios}
    clauses: dict[str, Counter[str]] = {scenario_id: Counter() for scenario_id in scenarios}
    for scenario, verdict in failures:
        if verdict.outcome == "violated":
            reasons[scenario.id].append(verdict.reason)
            clauses[scenario.id][verdict.clause_id] += 1
    return [
        _Case("failures", scenario, tuple(dict.fromkeys(reasons[name])), _ranked(clauses[name]))
        for name, scenario in scenarios.items()
    ]


def _grouped(kind: Kind, cases: Sequence[_Case], vectors: Vectors, least_alike: float) -> list[_Group]:
    rows = [row for row, case in enumerate(cases) if case.kind == kind]
    rows.sort(key=lambda row: cases[row].scenario.id)  # so that a group is the same in any order
    found = []
    for places in groups(vectors[rows], least_alike):
        if len(places) >= FEWEST_SCENARIOS:
            inside = [rows[place] for place in places]
            others = [case.text for row, case in enumerate(cases) if row not in inside]
            members = tuple(cases[row] for row in inside)
            found.append(_Group(kind, members, telling_words([case.text for case in members], others)))
    return found


def _question(policy: Policy, group: _Group) -> Call:
    from prefect_ratify.policy_modules.signatures import ProposeClause

    fields = {
        "policy": policy.title,
        "clauses": "\n".join(f"- {clause.text}" for clause in policy.clauses),
        "definitions": definitions_text(policy.definitions) or "none",
        "cases": "\n\n".join(_shown(case) for case in group.cases[:SHOWN_CASES]),
    }
    return Prompt(ProposeClause, SAMPLING).call(fields)


def _shown(case: _Case) -> str:
    from prefect_ratify.policy_modules.signatures import fenced

    lines = [f"Request: {one_line(case.scenario.query, LONGEST_CASE)}"]
    if case.reasons:
        lines.append(f"What was wrong: {one_line(' / '.join(case.reasons), LONGEST_CASE)}")
    return fenced("\n".join(lines))


def _worded(policy: Policy, group: _Group, answer: Completion, known: Sequence[Grams]) -> ProposedClause:
    said: Mapping[str, str] = fields_of(answer.text, ("clause", "why"))
    text = said["clause"]
    if answer.error:
        return _proposed(group, "", f"{group.seen}; the model gave no answer ({answer.error})")
    if text.strip(" .\"'").lower() == "none":
        return _proposed(group, "", f"{group.seen}; the model finds no single rule in them")
    if why := why_refused(text, policy, known):
        return _proposed(group, "", f"{group.seen}; the model's wording was refused: {why}")
    return _proposed(group, text, one_line(said["why"], LONGEST_CASE) or group.seen)


def why_refused(text: str, policy: Policy, scenario_grams: Sequence[Grams]) -> str:
    """Why a wording may not be proposed as a clause of this policy; empty where it may."""
    if not text:
        return "it is empty, or cannot be read"
    if len(text) > LONGEST_CLAUSE:
        return f"it is longer than {LONGEST_CLAUSE} characters"
    if readable(text) != text or not is_one_clause(text):
        return "it is not the text of one clause"
    if any(grams(text) & known for known in scenario_grams):
        return "it quotes a scenario"
    for clause in policy.clauses:
        if overlap(text, clause.text) >= REPEATED:
            return f"it repeats the clause {clause.id!r}"
    return ""


def _proposed(group: _Group, text: str, why: str) -> ProposedClause:
    return ProposedClause(
        id=f"p-{digest([group.kind, group.scenario_ids])[:6]}",
        kind=group.kind,
        text=text,
        why=why,
        scenario_ids=group.scenario_ids,
        clause_ids=_ranked(Counter(clause_id for case in group.cases for clause_id in case.clause_ids)),
    )


def _ranked(counted: Counter[str]) -> tuple[str, ...]:
    return tuple(clause_id for clause_id, _ in counted.most_common())
