"""Mean of one number a seed: Student's t interval, and bootstrap intervals for any statistic.

Below 10 seeds use the t interval: the bootstrap covers too little there (nominal 95 %, Gaussian
data, n = 5: about 84 %).

Reference for the bootstrap intervals: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapters 13 and 14; the computation is ``scipy.stats.bootstrap``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy import special, stats

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import (
    ArrayLike,
    FloatArray,
    Interval,
    as_sample,
    check_confidence,
)
from nasbench_snas.stats.reproducible import data_generator

Method = Literal["percentile", "BCa"]
DEFAULT_RESAMPLES = 10_000


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean with ``mean ± t_{n-1} s / sqrt(n)``.

    Args:
        values: One number a seed, shape ``(n,)``, n >= 2.
        confidence: Nominal coverage.

    Returns:
        The interval; a sample without spread gives one of length zero.

    Raises:
        DataError: Fewer than two values, or a value that is not finite.
    """
    check_confidence(confidence)
    sample = as_sample(values, at_least=2)
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    half = -float(special.stdtrit(sample.size - 1, (1 - confidence) / 2)) * error
    return Interval(mean, mean - half, mean + half, confidence, sample.size, "t", error)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    *,
    method: Method = "BCa",
    confidence: float = 0.95,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Interval:
    """Return a bootstrap interval of ``statistic``; the order of ``values`` does not matter.

    Args:
        values: One number a seed, shape ``(n,)``, n >= 2.
        statistic: ``f(sample, axis=...)``, vectorised over the other axes, as ``numpy.mean`` is.
        method: ``percentile`` or ``BCa`` (bias-corrected and accelerated).
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.

    Returns:
        The interval, with the bootstrap standard error. Where BCa is undefined (a statistic that
        does not change when one value is left out) the percentile interval, and it says so.

    Raises:
        DataError: Fewer than two values, or a value that is not finite.
    """
    sample = np.sort(as_sample(values, at_least=2))
    return stratified_bootstrap(
        [sample], statistic, method=method, confidence=confidence, n_resamples=n_resamples
    )


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Interval:
    """Return a bootstrap interval where each stratum is resampled by itself.

    Args:
        strata: One vector a stratum (a space, say), shapes ``(n_1,), (n_2,), …``.
        statistic: ``f(*samples, axis=...)``, one argument a stratum, vectorised over other axes.
        method: ``percentile`` or ``BCa``.
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.

    Returns:
        The interval; its ``n`` is the number of all values.
    """
    check_confidence(confidence)
    samples = tuple(as_sample(stratum, what="a stratum") for stratum in strata)
    size = sum(sample.size for sample in samples)
    estimate = float(statistic(*samples, axis=-1))
    if all(np.ptp(sample) == 0 for sample in samples):
        return Interval(estimate, estimate, estimate, confidence, size, method, 0.0)
    if any(sample.size == 1 for sample in samples):
        raise DataError(
            "a stratum has one value",
            "one value shows no spread, so it cannot be resampled beside strata that do",
            "run at least two seeds in every space",
        )
    with np.errstate(all="ignore"):
        low, high, error = _scipy_bootstrap(samples, statistic, method, confidence, n_resamples)
    used: str = method
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high, error = _scipy_bootstrap(
            samples, statistic, "percentile", confidence, n_resamples
        )
        used = "percentile (BCa undefined)"
    return Interval(estimate, low, high, confidence, size, used, error)


def _scipy_bootstrap(
    samples: tuple[FloatArray, ...],
    statistic: Callable[..., Any],
    method: Method,
    confidence: float,
    n_resamples: int,
) -> tuple[float, float, float]:
    """Return (low, high, standard error) of ``scipy.stats.bootstrap``, seeded by the data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=stats.DegenerateDataWarning)
        result = stats.bootstrap(
            samples,
            statistic,
            vectorized=True,
            axis=-1,
            paired=False,
            method=method,
            confidence_level=confidence,
            n_resamples=n_resamples,
            batch=1_000,
            random_state=data_generator(*samples, label="bootstrap"),
        )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high), float(result.standard_error)
