"""Probability that a run of X beats a run of Y, without pairing: ``P(X>Y) + P(X=Y)/2``.

Point estimate: the Mann-Whitney statistic over ``n m``. Interval: percentile bootstrap that
resamples both samples (and, over several spaces, each space by itself). When the samples do not
overlap every resample gives 1 (or 0) and the interval has length zero; that is the bootstrap's
limit and no certainty, so ``separated`` says it.

Reference: Agarwal et al. 2021, arXiv 2108.13264, section 4.3 ("probability of improvement").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, FloatArray, Interval, as_sample
from nasbench_snas.stats.means import DEFAULT_RESAMPLES, stratified_bootstrap


@dataclass(frozen=True, slots=True)
class Superiority:
    """P(X > Y) with its interval.

    Args:
        probability: The estimate with its percentile bootstrap interval.
        separated: In every space the samples do not overlap, so the bootstrap sees no spread.
    """

    probability: Interval
    separated: bool


def probability_greater(
    x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95, n_resamples: int = DEFAULT_RESAMPLES
) -> Superiority:
    """Return ``P(X>Y) + P(X=Y)/2`` for two independent samples.

    Args:
        x: One number a seed, shape ``(n,)``, n >= 2.
        y: One number a seed, shape ``(m,)``, m >= 2.
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.
    """
    return probability_of_improvement([x], [y], confidence=confidence, n_resamples=n_resamples)


def probability_of_improvement(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Superiority:
    """Return the mean over spaces of ``P(X>Y) + P(X=Y)/2``, bootstrap stratified by space.

    Args:
        x: One vector a space with one number a seed.
        y: The same spaces for the other estimator; numbers of seeds may differ.
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.

    Raises:
        DataError: Different numbers of spaces, none, or a sample of fewer than two values.
    """
    if len(x) != len(y) or not len(x):
        raise DataError(
            f"{len(x)} and {len(y)} spaces", "expected the same spaces for both, at least one"
        )
    first = [np.sort(as_sample(sample, at_least=2, what="x")) for sample in x]
    second = [np.sort(as_sample(sample, at_least=2, what="y")) for sample in y]

    def statistic(*samples: FloatArray, axis: int) -> FloatArray:
        half = len(samples) // 2
        return np.asarray(
            np.mean(
                [_superiority(a, b) for a, b in zip(samples[:half], samples[half:], strict=True)],
                axis=0,
            )
        )

    interval = stratified_bootstrap(
        [*first, *second], statistic, confidence=confidence, n_resamples=n_resamples
    )
    separated = all(a[0] > b[-1] or b[0] > a[-1] for a, b in zip(first, second, strict=True))
    return Superiority(interval, separated)


def _superiority(x: FloatArray, y: FloatArray) -> FloatArray:
    """Mann-Whitney statistic over n m, for ``x (..., n)`` and ``y (..., m)``; shape ``(...)``."""
    sign = np.sign(x[..., :, None] - y[..., None, :])
    return np.asarray(0.5 + 0.5 * sign.mean(axis=(-2, -1)))
