"""How much of what a trial shows is due to each change of a clause.

A trial puts a policy with several changed clauses before the model and counts, clause by clause, how
often each was upheld. A change is taken to move its own clause's log-odds, and now and then a little
those of others (a loss there must not hide behind the gain here). That is a linear regression of
empirical log-odds with normal priors (Cox 1970, section 3.2; Bishop 2006, section 3.3): a change's
effects are known the better, the more trials had it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OWN, OTHERS = 1.5, 0.5  # log-odds by which a change moves its own clause, and another, before anything was seen
UNSEEN = 3.0  # the same for a clause as it was at the start
TINY = 1e-9
LOST = 20.0  # what a careful choice counts a share below the floor for
HALF = 0.5  # a verdict of each kind that is added, so that log-odds are finite (Haldane 1956)


def effects(
    design: Array, owners: NDArray[np.intp], upheld: Array, decided: Array, chance: np.random.Generator | None = None
) -> Array:
    """What each change adds to each clause's log-odds, `[1 + changes, clauses]`; row 0 is what they are without any.

    `design[trial, change]` is 1 where the trial's policy has the change, `owners[change]` the number
    of its clause, `upheld` and `decided` `[trials, clauses]` count verdicts. With `chance` it is a
    draw from the posterior (by Matheron's rule), else its mean.
    """
    x = np.column_stack([np.ones(len(design)), design])
    seen = np.log((upheld + HALF) / (decided - upheld + HALF))
    found = np.empty((x.shape[1], upheld.shape[1]))
    for clause in range(upheld.shape[1]):
        usual = (upheld[:, clause].sum() + HALF) / (decided[:, clause].sum() + 2 * HALF)
        noise = 1 / np.maximum(decided[:, clause] * usual * (1 - usual), 1e-6)
        prior = np.concatenate([[UNSEEN], np.where(owners == clause, OWN, OTHERS)])
        guess = np.zeros(len(prior)) if chance is None else chance.normal(0, prior)
        wobble = np.zeros(len(x)) if chance is None else chance.normal(0, np.sqrt(noise))
        spread = prior[:, None] ** 2 * x.T
        gap = seen[:, clause] - x @ guess - wobble
        found[:, clause] = guess + spread @ np.linalg.solve(x @ spread + np.diag(noise), gap)
    return found


def shares(log_odds: Array) -> Array:
    """The share of verdicts that say upheld."""
    return 1 / (1 + np.exp(-log_odds))


def best_choice(
    start: Array,
    moves: list[Array],
    chance: np.random.Generator,
    *,
    prices: list[Array] | None = None,
    careful: bool = False,
    restarts: int = 8,
) -> list[int]:
    """Which form of each clause makes the mean share the highest, as far as changing one at a time finds it.

    `start[clauses]` are log-odds without any change; `moves[clause][form, clauses]` what each form
    adds to them, and `prices[clause][form]` what it has to gain of the mean share to be worth having.
    A `careful` choice lets no clause fall below what it was. The first forms are begun from, and
    random ones; of equals the first is chosen.
    """
    prices = prices or [np.zeros(len(forms)) for forms in moves]
    begun = [np.zeros(len(moves), dtype=int)]
    begun += [np.array([chance.integers(len(forms)) for forms in moves]) for _ in range(restarts)]
    floor = shares(start) if careful else np.zeros(len(start))
    climbed = [_climbed(start, moves, prices, choice, floor) for choice in begun]
    best = climbed[0]
    for found in climbed[1:]:
        best = found if found[0] > best[0] + TINY else best
    return best[1]


def _climbed(
    start: Array, moves: list[Array], prices: list[Array], choice: NDArray[np.int_], floor: Array
) -> tuple[float, list[int]]:
    now = start + sum(forms[form] for forms, form in zip(moves, choice, strict=True))
    price = sum(float(listed[form]) for listed, form in zip(prices, choice, strict=True))
    value = float(_worth(now, floor)) - price
    while True:
        before = value
        for clause, (forms, listed) in enumerate(zip(moves, prices, strict=True)):
            others, paid = now - forms[choice[clause]], price - float(listed[choice[clause]])
            found = _worth(others + forms, floor) - listed - paid
            best = int(found.argmax())
            if found[best] > value + TINY:
                now, price = others + forms[best], paid + float(listed[best])
                choice[clause], value = best, float(found[best])
        if value == before:
            return value, [int(form) for form in choice]


def _worth(log_odds: Array, floor: Array) -> Array:
    found = shares(log_odds)
    worth: Array = (found - LOST * np.maximum(floor - found, 0)).mean(axis=-1)
    return worth
