"""Mean of one number a seed with Student's t interval.

It covers for values near to a Gaussian. For accuracies of which some collapse it does not, at any
number of seeds that is usual (``docs/table-statistics.md``), so tables do not print it: it tells
how many decimals a number carries.
"""

from __future__ import annotations

import math

import scipy

from nasbench_snas.stats.interval import ArrayLike, Interval, as_sample, check_confidence


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
    half = -float(scipy.special.stdtrit(sample.size - 1, (1 - confidence) / 2)) * error
    return Interval(mean, mean - half, mean + half, confidence, sample.size, "t", error)
