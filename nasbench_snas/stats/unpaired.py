"""Probability that a run of X beats a run of Y, without pairing: ``P(X>Y) + P(X=Y)/2``.

The Mann-Whitney statistic over ``n m``, averaged over spaces. An estimate without an interval.

Reference: Agarwal et al. 2021, arXiv 2108.13264, section 4.3 ("probability of improvement").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, as_sample


def probability_greater(x: ArrayLike, y: ArrayLike) -> float:
    """Return ``P(X>Y) + P(X=Y)/2`` for two independent samples.

    Args:
        x: One number a seed, shape ``(n,)``.
        y: One number a seed, shape ``(m,)``.
    """
    first, second = as_sample(x, what="x"), as_sample(y, what="y")
    sign = np.sign(first[:, None] - second[None, :])
    return float(0.5 + 0.5 * sign.mean())


def probability_of_improvement(x: Sequence[ArrayLike], y: Sequence[ArrayLike]) -> float:
    """Return the mean over spaces of ``P(X>Y) + P(X=Y)/2``.

    Args:
        x: One vector a space with one number a seed.
        y: The same spaces for the other estimator; numbers of seeds may differ.

    Raises:
        DataError: Different numbers of spaces, none, or an empty sample.
    """
    if len(x) != len(y) or not len(x):
        raise DataError(
            f"{len(x)} and {len(y)} spaces", "expected the same spaces for both, at least one"
        )
    return float(np.mean([probability_greater(a, b) for a, b in zip(x, y, strict=True)]))
