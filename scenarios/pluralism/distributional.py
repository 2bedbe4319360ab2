"""Distributional: is the model spread over the answers as people are?

A distributionally pluralistic model gives each answer as often as the people whom it stands for
(Sorensen et al. 2024, arXiv 2402.05070, the definition of distributionally pluralistic models; they
measure it by the Jensen–Shannon distance, and find that alignment narrows distributions).

A distribution is an array `[options]` of probabilities or counts; NaN, or nothing on any option, where
it is not known. Questions are the units: means of distances and entropies over questions have
`statistics.rate`'s interval, changes `statistics.difference`'s. From 8 to 30 questions these cover in 94
to 97 % of simulated sets, as often as `resampling.bootstrap`, and they have a width where all are equal.

Few votes make a distance larger: what is drawn at random lies beside what it was drawn from. Where one
group has far fewer votes than another, the model looks farther from it than it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from prefect_ratify.scenarios.pluralism.resampling import resamples
from prefect_ratify.scenarios.statistics import Scores

_EXACT = 1e-9  # means that differ by less are the same


def js_distance(p: Scores, q: Scores) -> float:
    """The Jensen–Shannon distance of two distributions over the same options: 0 the same, 1 nothing in common.

    The root of the divergence H((p + q) / 2) − (H(p) + H(q)) / 2, with the entropy H in bits (Lin 1991,
    Divergence Measures Based on the Shannon Entropy, IEEE Transactions on Information Theory 37(1)). The
    root is a metric (Endres and Schindelin 2003, A New Metric for Probability Distributions, the same
    49(7)). NaN where either is not known.
    """
    p, q = (_shares(row) for row in np.stack((p, q)))
    divergence = _bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0)) if not math.isnan(divergence) else math.nan


def entropy(p: Scores) -> float:
    """Shannon's entropy −Σ p log p as a share of the most there is, log of the number of options.

    0 where all is on one option (or there is but one), 1 where it is spread evenly, NaN where it is not known.
    """
    bits = _bits(_shares(p))
    return min(bits / math.log2(len(p)), 1.0) if len(p) > 1 and not math.isnan(bits) else bits


def distances(model: Sequence[Scores], people: Sequence[Scores]) -> Scores:
    """The distance on each question, `[questions]`; NaN where either side is not known."""
    return np.array([js_distance(p, q) for p, q in zip(model, people, strict=True)], dtype=np.float64)


def entropies(distributions: Sequence[Scores]) -> Scores:
    """The entropy on each question, `[questions]`; NaN where it is not known."""
    return np.array([entropy(p) for p in distributions], dtype=np.float64)


def closest(model: Sequence[Scores], by_group: Mapping[str, Sequence[Scores]]) -> dict[str, float]:
    """For each group, the share of resamples of the questions in which the model is closest to it.

    Closest is the least mean distance; who is as close shares the resample. Groups are compared on the
    questions that are known for all of them. A group without a known question is not among them, and
    there is none where no question is left.
    """
    table = {name: distances(model, people) for name, people in by_group.items()}
    names = [name for name, found in table.items() if not np.isnan(found).all()]
    if not names:
        return {}
    columns = np.stack([table[name] for name in names], axis=1)
    known = columns[~np.isnan(columns).any(axis=1)]
    if not len(known):
        return {}
    known = known[np.lexsort(known.T[np.argsort(names)])]  # so that nothing hangs on the order of the questions
    won = np.concatenate([_winners(weights @ known / len(known)) for weights in resamples(len(known))])
    return dict(zip(names, won.mean(axis=0).tolist(), strict=True))


def _winners(means: Scores) -> Scores:
    """`[resamples, groups]`: what each group has of the win."""
    least = means <= means.min(axis=1, keepdims=True) + _EXACT
    shares: Scores = least / least.sum(axis=1, keepdims=True)
    return shares


def _shares(counts: Scores) -> Scores:
    total = float(counts.sum())
    return counts / total if total > 0 else np.full(counts.shape, np.nan)


def _bits(p: Scores) -> float:
    """The entropy in bits; what has no probability adds nothing."""
    return 0.0 - float((p * np.log2(np.where(p > 0, p, 1.0))).sum())  # and not minus zero
