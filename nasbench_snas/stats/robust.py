"""Interquartile mean (IQM): the mean of the middle half, with a stratified bootstrap interval.

A quarter of the values is cut at each end (``floor(n / 4)`` of them), so that a collapsed run moves
it little while all of the middle still counts.

Reference: Agarwal, Schwarzer, Castro, Courville and Bellemare, Deep Reinforcement Learning at the
Edge of the Statistical Precipice, 2021, arXiv 2108.13264, section 4.3. Written anew on scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from nasbench_snas.stats.interval import ArrayLike, FloatArray, Interval, as_sample
from nasbench_snas.stats.means import DEFAULT_RESAMPLES, stratified_bootstrap


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of what is left after ``floor(n / 4)`` values are cut at each end."""
    return float(stats.trim_mean(as_sample(values), 0.25))


def iqm(
    values: ArrayLike | Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Interval:
    """Return the IQM of all values, with a percentile bootstrap interval stratified by space.

    Args:
        values: One number a seed, shape ``(n,)``; or one such vector a stratum (scores of several
            spaces, normalised first), whose values are pooled.
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.

    Returns:
        The interval. Meant for 10 seeds and more: below, a bootstrap covers too little.

    Raises:
        DataError: A stratum has fewer than two values, or one that is not finite.
    """
    strata = [np.sort(as_sample(stratum, at_least=2)) for stratum in _strata(values)]
    return stratified_bootstrap(strata, _pooled_iqm, confidence=confidence, n_resamples=n_resamples)


def _strata(values: ArrayLike | Sequence[ArrayLike]) -> list[Any]:
    """Return a list of vectors: ``values`` itself if it is one vector."""
    if len(values) and np.ndim(values[0]) == 0:
        return [values]
    return list(values)


def _pooled_iqm(*samples: FloatArray, axis: int) -> FloatArray:
    """IQM over the values of all strata, vectorised over the other axes."""
    return np.asarray(stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis))
