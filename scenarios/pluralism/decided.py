"""What the measures share: undecided cells are NaN, and are left out of every mean."""

from __future__ import annotations

import numpy as np

from prefect_ratify.scenarios.statistics import Scores


def mean_of_decided(values: Scores, weights: Scores | float = 1.0) -> Scores:
    """The mean along the last axis, by weight; NaN where nothing that weighs anything is decided."""
    decided = ~np.isnan(values)
    weight = (decided * weights).sum(axis=-1)
    total = (np.where(decided, values, 0.0) * weights).sum(axis=-1)
    mean: Scores = np.divide(total, weight, out=np.full(np.shape(weight), np.nan), where=weight > 0)
    return mean


def decided_on_both(first: Scores, second: Scores) -> tuple[Scores, Scores]:
    """Both without the cells that are undecided on either side, so that a difference is paired cell by cell."""
    undecided = np.isnan(first) | np.isnan(second)
    return np.where(undecided, np.nan, first), np.where(undecided, np.nan, second)
