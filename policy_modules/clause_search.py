"""The search for a better wording, clause by clause.

Like GEPA (Agrawal et al. 2025, arXiv 2507.19457, section 3) it lets a model that sees failures reword
one part of a prompt at a time, and keeps what does better. It differs in what a trial is good for:
one trial changes several clauses at once, and each clause's verdicts tell of its own change (see
`credit.py`), so that a call is not spent on five clauses to learn of one. Which form of each
clause is tried next is drawn by how likely it is the best for all clauses together (Thompson 1933;
Agrawal and Goyal 2013, section 2).

The search has no state of its own on disk: after a kill it goes the same way again, by its seed,
with the answers that are in the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from prefect_ratify.budget import Payment
from prefect_ratify.clause_changes import ClauseChange, Failure, Refusal
from prefect_ratify.policy_modules.credit import Array, best_choice, effects, shares
from prefect_ratify.policy_modules.refiner import Candidate, Follow, Search, SearchTask, change_of, cut_short, outcomes
from prefect_ratify.policy_modules.rewording import Parts, Proposal, Proposer, Task, assembled
from prefect_ratify.records import Policy, Scenario

ATTEMPTS = 8  # at rewording one form of a clause
REWORDED = 0.7  # the chance that the clause which fails most is reworded in a trial; others in proportion
ELSEWHERE = 0.3  # the chance that it is another form which is reworded than the one that seems best
PRICE = 0.005  # what a change must add to the mean share of upheld clauses to be worth reading: half a point
NEW_UNTIL = 0.7  # of the budget: the rest tells apart what there is
IDLE = 4  # trials in a row of known forms alone, of which nothing new can be made: those there are told apart
FRUITLESS = 20  # draws in a row that give nothing new: there is nothing left to try


@dataclass(frozen=True, eq=False)
class Form:
    """A clause in one wording: the start's, or a change of another form."""

    clause: int
    parts: Parts
    parent: Form | None = None
    number: int = -1  # of the change that made it
    change: ClauseChange | None = None

    @property
    def changes(self) -> tuple[int, ...]:
        """The changes that led here from the start, the first first."""
        return (*self.parent.changes, self.number) if self.parent else ()


Choice = tuple[Form, ...]


def refine(task: SearchTask) -> Search:
    """Refine a draft on development scenarios; the caller compares the candidates with the draft on all of them."""
    used = task.used
    search = _ClauseSearch(task.draft, used, task.follow, task.propose, task.spent, np.random.default_rng(task.seed))
    search.begin(task.start)
    while search.complete and search.scored + len(used) <= task.budget and task.room():
        choice = search.next_choice(new=search.scored < NEW_UNTIL * task.budget)
        if choice is None:
            break
        search.try_out(choice)
    return search.found()


@dataclass
class _ClauseSearch:
    draft: Policy
    scenarios: Sequence[Scenario]
    follow: Follow
    propose: Proposer
    spent: Callable[[], Payment]
    chance: np.random.Generator
    complete: bool = True
    _idle: int = 0
    forms: list[list[Form]] = field(default_factory=list)
    changed: list[Form] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    _choices: list[Choice] = field(default_factory=list)
    _upheld: list[list[float]] = field(default_factory=list)
    _decided: list[list[int]] = field(default_factory=list)
    _failures: dict[Form, list[Failure]] = field(default_factory=dict)
    _attempts: Counter[Form] = field(default_factory=Counter)
    _costs: dict[Form, Payment] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """How many (policy, scenario) pairs were scored."""
        return len(self._choices) * len(self.scenarios)

    def begin(self, start: Policy) -> None:
        """Try the start."""
        self.forms = [[Form(n, start.parts(clause.id))] for n, clause in enumerate(self.draft.clauses)]
        self.try_out(tuple(known[0] for known in self.forms))

    def try_out(self, choice: Choice) -> None:
        """Follow a policy, and count each clause's verdicts; what the budget cut short tells nothing."""
        before = self.spent()
        responses, verdicts = found = self.follow(self._policy(choice), self.scenarios)
        if cut_short(found):
            self.complete = False
            return
        first = [form for form in choice if form not in self._failures]
        by_scenario = {s.id: [v for v in verdicts if v.scenario_id == s.id] for s in self.scenarios}
        upheld = [outcomes(given) for given in by_scenario.values()]
        self._choices.append(choice)
        self._upheld.append([sum(o.get(c, 0.0) for o in upheld) for c in self.draft.clause_ids])
        self._decided.append([sum(c in o for o in upheld) for c in self.draft.clause_ids])
        queries, texts = {s.id: s.query for s in self.scenarios}, {r.scenario_id: r.text for r in responses}
        for form, clause_id in zip(choice, self.draft.clause_ids, strict=True):
            self._failures[form] = [
                Failure(scenario_id=name, query=queries[name], response=texts[name], reason=v.reason)
                for name, given in by_scenario.items()
                for v in given
                if v.clause_id == clause_id and v.outcome == "violated"
            ]
        self._share_cost(first, self.spent() - before)

    def next_choice(self, *, new: bool) -> Choice | None:
        """The forms to be tried next, some of them `new`; None where nothing is left to try."""
        for _ in range(FRUITLESS):
            values = self._effects(self.chance)
            choice = self._best(values)
            if new and all(form in self._failures for form in choice):
                choice = self._with_new(choice, values)
            if choice not in self._choices:
                self._idle = self._idle + 1 if new and self._is_done(choice) else 0
                if self._idle <= IDLE:
                    return choice
                break
        choice = self._best(self._effects())
        return choice if choice not in self._choices else None

    def found(self) -> Search:
        """The best policy by all that was tried, the best that costs no clause, and the start; and what was left."""
        if not self._choices:  # the budget did not even hold the start
            begun = tuple(known[0] for known in self.forms)
            return Search([Candidate(self._policy(begun), [])], self.refusals, tried=0)
        means, start = self._effects(), self._choices[0]
        best, careful = self._best(means, price=PRICE), self._best(means, price=PRICE, careful=True)
        taken = {number for form in best for number in form.changes}
        left = [self._refusal(form, means) for form in self.changed if form.number not in taken]
        chosen = list(dict.fromkeys([best, careful, start]))
        candidates = [self._candidate(choice, means) for choice in chosen]
        return Search(candidates, self.refusals + left, tried=len(self._choices) - 1)

    def _is_done(self, choice: Choice) -> bool:
        """Whether nothing new is to be had for what fails in a choice that was tried form by form."""
        return all(
            form in self._failures and (not self._failures[form] or self._attempts[form] >= ATTEMPTS) for form in choice
        )

    def _with_new(self, choice: Choice, values: Array) -> Choice:
        """A choice with some clauses reworded: most often those that fail most, or cost others most."""
        failing = [len(self._failures[form]) for form in choice]
        needs = np.array(failing) + len(self.scenarios) * self._harm(choice, values)
        wanted = self.chance.random(len(choice)) * needs.max() < REWORDED * needs
        return tuple(
            self._reworded(self._parent(form), form) if want else form
            for form, want in zip(choice, wanted, strict=True)
        )

    def _parent(self, form: Form) -> Form:
        """What is reworded: the form itself, or now and then any other of its clause, to begin elsewhere."""
        tried = [known for known in self.forms[form.clause] if known in self._failures]
        return form if self.chance.random() >= ELSEWHERE else tried[self.chance.integers(len(tried))]

    def _harm(self, choice: Choice, values: Array) -> Array:
        """What each clause's changes take from the shares of others, all in all."""
        adds = np.array([values[1:][list(form.changes)].sum(axis=0) for form in choice])
        odds = values[0] + adds.sum(axis=0)
        lost = np.maximum(shares(odds - adds) - shares(odds), 0)
        np.fill_diagonal(lost, 0)
        found: Array = lost.sum(axis=1)
        return found

    def _reworded(self, form: Form, otherwise: Form) -> Form:
        """A new form of the clause, made of this one; the other one where nothing new can be had."""
        if self._attempts[form] >= ATTEMPTS:
            return otherwise
        attempt, before = self._attempts[form], self.spent()
        self._attempts[form] += 1
        clause = self.draft.clauses[form.clause]
        proposed = self.propose(Task(clause, form.parts, self._failures[form], attempt))
        if isinstance(proposed, Refusal):
            self.refusals.append(proposed)
        if not isinstance(proposed, Proposal):
            return otherwise
        known = next((known for known in self.forms[form.clause] if known.parts == proposed.parts), None)
        if known is not None:
            return known
        change = change_of(clause.id, form.parts, proposed, self._failures[form])
        new = Form(form.clause, proposed.parts, form, len(self.changed), change)
        self.forms[form.clause].append(new)
        self.changed.append(new)
        self._costs[new] = self.spent() - before
        return new

    def _effects(self, chance: np.random.Generator | None = None) -> Array:
        design = np.zeros((len(self._choices), len(self.changed)))
        for row, choice in enumerate(self._choices):
            for form in choice:
                design[row, list(form.changes)] = 1
        owners = np.array([form.clause for form in self.changed], dtype=np.intp)
        return effects(design, owners, np.array(self._upheld), np.array(self._decided, dtype=float), chance)

    def _best(self, values: Array, *, price: float = 0.0, careful: bool = False) -> Choice:
        """The form of each clause with which clauses are upheld most, all taken together."""
        prices = [price * np.array([len(form.changes) for form in known]) for known in self.forms]
        moves = [np.array([values[1:][list(form.changes)].sum(axis=0) for form in known]) for known in self.forms]
        found = best_choice(values[0], moves, np.random.default_rng(0), prices=prices, careful=careful)
        return tuple(known[number] for known, number in zip(self.forms, found, strict=True))

    def _candidate(self, choice: Choice, means: Array) -> Candidate:
        """The policy of a choice, with its changes in their order and what each is estimated to have moved."""
        odds, changes = means[0], list[ClauseChange]()
        for number in sorted(number for form in choice for number in form.changes):
            changes.append(self._estimated(self.changed[number], odds, means[1 + number]))
            odds = odds + means[1 + number]
        return Candidate(self._policy(choice), changes)

    def _estimated(self, form: Form, odds: Array, adds: Array) -> ClauseChange:
        """A change with the estimated rates of every clause before it and after it."""
        assert form.change is not None
        cost = self._costs[form]
        return form.change.model_copy(
            update={
                "before": self._by_clause(shares(odds)),
                "after": self._by_clause(shares(odds + adds)),
                "calls": cost.calls,
                "dollars": cost.dollars,
            }
        )

    def _refusal(self, form: Form, means: Array) -> Refusal:
        odds = means[0] + means[1:][list(form.changes)].sum(axis=0)
        moved = self._by_clause(shares(odds) - shares(odds - means[1 + form.number]))
        own = self.draft.clause_ids[form.clause]
        trials = sum(form.number in each.changes for choice in self._choices for each in choice)
        lost = [f"{c} {share * 100:+.0f}" for c, share in moved.items() if share < -0.05 and c != own]
        cost = f", and {', '.join(lost)}" if lost else ""
        why = f"another form did better: this moves it by {moved[own] * 100:+.0f} points{cost} ({trials} trials)"
        return Refusal(clause_id=own, texts=tuple(part.text for part in form.parts), why=why)

    def _by_clause(self, rates: Array) -> dict[str, float]:
        return dict(zip(self.draft.clause_ids, (round(float(rate), 3) for rate in rates), strict=True))

    def _policy(self, choice: Choice) -> Policy:
        ids = self.draft.clause_ids
        return assembled(self.draft, {c: form.parts for c, form in zip(ids, choice, strict=True)})

    def _share_cost(self, first: Sequence[Form], took: Payment) -> None:
        """What a trial took is shared among the forms that it was the first to have."""
        for form in first:
            known = self._costs.get(form, Payment())
            self._costs[form] = Payment(
                calls=known.calls + round(took.calls / len(first)), dollars=known.dollars + took.dollars / len(first)
            )
