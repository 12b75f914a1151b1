"""Comparisons paired on the seed: median difference, simultaneous intervals, sign test, Holm.

Two estimators that ran with the same seeds shared initialisation, data order and batches, so their
differences per seed are compared. The target is the median of the differences: what one estimator
gains on a typical seed. It is not the difference of means. With a few seeds no test of means holds
its level where runs collapse: an estimator that is a little better on nine seeds of ten and
collapses on the tenth has the same mean, and six seeds without a collapse do not show it.

Test: the exact sign test; seeds without a difference count for neither sign. Interval: order
statistics of the differences (:mod:`nasbench_snas.stats.median`), so zero lies outside exactly
where the sign test of the same level rejects. Both hold for any distribution of the differences.
Over a family of m rows the intervals have confidence ``1 - (1 - confidence) / m`` each, so all of
them hold at once, and the p-values are adjusted by Holm's method. Rows that have too few seeds to
be tested at all do not count in m.

References: Dixon and Mood, The Statistical Sign Test, JASA 41, 1946; Holm, A Simple Sequentially
Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, FloatArray, Interval, as_sample
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.stats.median import median_interval, smallest_sample


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """``row - other`` over the seeds that both have.

    Args:
        row: Name of the first row.
        other: Name of the second row.
        n: Number of shared seeds.
        median: Median difference.
        interval: Its interval, simultaneous over the family; None where n is too small for one.
        half_width: Half-width of the differences' t interval, for the number of decimals; it is
            not printed.
        p: Two-sided p-value of the sign test.
        p_holm: The same after Holm's adjustment; None where n is too small for any.
        family: m, the number of rows that the interval and ``p_holm`` account for.
        unmatched: Seeds that only one of the two has; they did not enter.
    """

    row: str
    other: str
    n: int
    median: float
    interval: Interval | None
    half_width: float
    p: float
    p_holm: float | None
    family: int = 1
    unmatched: tuple[int, ...] = ()


def sign_test(differences: ArrayLike) -> float:
    """Return the two-sided p-value of "the median difference is 0", exact for any distribution.

    Args:
        differences: One paired difference a seed, shape ``(n,)``. Zeros count for neither sign,
            which makes the test cautious.

    Raises:
        DataError: Empty, or a difference that is not finite.
    """
    sample = as_sample(differences, what="differences")
    more = max(int((sample > 0).sum()), int((sample < 0).sum()))
    return _both_tails(more, sample.size)


@lru_cache(maxsize=1024)
def _both_tails(more: int, n: int) -> float:
    """Return ``2 P(Bin(n, 1/2) >= more)``, at most 1."""
    return min(1.0, 2 * float(scipy.stats.binom.sf(more - 1, n, 0.5)))


def holm(p_values: ArrayLike) -> FloatArray:
    """Return Holm's step-down adjusted p-values, in the order given.

    The i-th smallest of m becomes ``max_{j<=i} min(1, (m - j + 1) p_(j))``.

    Args:
        p_values: Unadjusted p-values, shape ``(m,)``.
    """
    p = as_sample(p_values, at_least=0, what="p-values")
    if ((p < 0) | (p > 1)).any():
        raise DataError(f"p-values outside [0, 1]: {p.tolist()}", "expected probabilities")
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def compare_family(
    rows: Mapping[str, Mapping[int, float]], baseline: str, *, confidence: float = 0.95
) -> tuple[PairedComparison, ...]:
    """Compare every row with ``baseline``, which must not be chosen by these values.

    Args:
        rows: Row name to (seed to value); ``baseline`` is one of them.
        baseline: The row that all others are compared with.
        confidence: Probability at least that all intervals hold at once.

    Returns:
        One comparison ``other - baseline`` for every other row, in the order of ``rows``.

    Raises:
        DataError: No such row, fewer than two shared seeds, or a value that is not finite.
    """
    if baseline not in rows:
        raise DataError(f"no row {baseline!r}", f"expected one of {', '.join(rows)}")
    pairs = {
        name: _differences(name, values, baseline, rows[baseline])
        for name, values in rows.items()
        if name != baseline
    }
    testable = [name for name, d in pairs.items() if d.size >= smallest_sample(confidence)]
    m = max(len(testable), 1)
    p_values = {name: sign_test(d) for name, d in pairs.items()}
    adjusted = dict(zip(testable, holm([p_values[name] for name in testable]), strict=True))
    return tuple(
        PairedComparison(
            row=name,
            other=baseline,
            n=d.size,
            median=float(np.median(d)),
            interval=median_interval(d, 1 - (1 - confidence) / m) if name in adjusted else None,
            half_width=mean_interval(d).half_width,
            p=p_values[name],
            p_holm=float(adjusted[name]) if name in adjusted else None,
            family=m,
            unmatched=tuple(sorted(rows[name].keys() ^ rows[baseline].keys())),
        )
        for name, d in pairs.items()
    )


def _differences(
    name: str, row: Mapping[int, float], baseline: str, other: Mapping[int, float]
) -> FloatArray:
    """Return ``row - other`` on shared seeds, shape ``(n,)``."""
    shared = sorted(row.keys() & other.keys())
    return as_sample(
        [row[seed] - other[seed] for seed in shared],
        at_least=2,
        what=f"differences {name} - {baseline} on shared seeds",
    )
