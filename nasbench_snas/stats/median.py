"""Interval of a median from order statistics: no assumption on the shape of the data.

For independent values, the k-th smallest and the k-th largest enclose the median unless fewer than
k values lie on one side of it, so the coverage is at least ``1 - 2 P(Bin(n, 1/2) < k)``, whatever
the distribution is: skewed, bounded, with a share of collapsed runs. Its ends are values that were
seen, so an accuracy's interval stays within 0 and 100. Up to five values no interval reaches 95 %.

Reference: Thompson, On Confidence Ranges for the Median and Other Expectation Distributions for
Populations of Unknown Distribution Form, Annals of Mathematical Statistics 7, 1936.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy

from nasbench_snas.stats.interval import ArrayLike, Interval, as_sample, check_confidence


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Interval | None:
    """Return the median with the shortest such interval, or None where n is too small for one.

    Args:
        values: One number a seed, shape ``(n,)``.
        confidence: Coverage that the interval has at least (95 %: from n = 6).

    Raises:
        DataError: Empty, or a value that is not finite.
    """
    check_confidence(confidence)
    sample = np.sort(as_sample(values))
    n = sample.size
    cut = order(n, confidence)
    if cut < 1:
        return None
    middle = float(np.median(sample))
    low, high = float(sample[cut - 1]), float(sample[n - cut])
    return Interval(middle, low, high, confidence, n, "order statistics")


@lru_cache(maxsize=1024)
def order(n: int, confidence: float) -> int:
    """Return k, where the k-th smallest and k-th largest of n values are the ends; 0: none are."""
    tails = scipy.stats.binom.cdf(np.arange(n), n, 0.5)  # P(fewer than k on one side), k = 1 .. n
    return min(int((2 * tails <= 1 - confidence + 1e-12).sum()), (n + 1) // 2)


def smallest_sample(confidence: float = 0.95) -> int:
    """Return the smallest n for which :func:`median_interval` exists."""
    check_confidence(confidence)
    return int(np.ceil(1 - np.log2(1 - confidence) - 1e-12))
