"""Which rows are told from the best: max-min permutation of the rows within seeds, step by step.

Every shared seed ranks the rows. A row's score is its mean rank above the middle one, over its
standard error; that is, how many runs of the same seeds it beats. The variance of a row's ranks is
the estimated one, but at least that of a row whose rank is drawn at random: rows that scatter more
than others hold the extreme ranks, and by chance all the low ones more often. Under the null
hypothesis the rows are exchangeable within a seed, so the ranks of each seed are permuted by
themselves, and the largest score minus the smallest is compared with its law under all permutations
(``PERMUTATIONS`` drawn ones, the observed one counted in). Because the statistic is the largest
difference of any two rows, it makes up for the best row being chosen from the data; because it is
of ranks, a collapsed run counts as one lost seed and not as a distance that drowns all others. If
the p-value is at most the level, the lowest row is worse than the best; it is left out, and the
rest is ranked again. The p-value of a row is the largest up to its step.

What is controlled is the probability that some row which nothing beats is called worse. For rows of
one distribution it is the level. Rows of equal medians and unequal scatter are not exchangeable,
and the variance above mends only a part of that with few seeds; the level of three rows and more is
therefore 0.03, with which the probability stays below 0.06 where half of 31 rows scatter twice as
much as the others. Two rows make a sign test, which unequal scatter does not touch: their level is
0.05. Measured in ``docs/table-statistics.md``.

References: Friedman, The Use of Ranks to Avoid the Assumption of Normality, JASA 32, 1937; the
range of rank sums: Nemenyi, Distribution-free Multiple Comparisons, 1963; step-down permutation:
Romano and Wolf, Exact and Approximate Stepdown Methods, JASA 100, 2005. The variance is ours.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy

from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.stats.reproducible import data_generator

PERMUTATIONS = 4_999
LEVEL, LEVEL_OF_TWO = 0.03, 0.05
POWER = 0.8
_POWER_DRAWS = 500
_HALVINGS = 25
_CHUNK = 500
_EQUAL = 1e-9


def max_min_p(values: FloatArray) -> float:
    """Return the p-value of "all rows are exchangeable within seeds".

    Args:
        values: Higher is better, shape ``(seeds, rows)``; ``-inf`` loses to every finite value.
    """
    ranks = scipy.stats.rankdata(values, axis=1)
    return _p_value(_law_of(ranks), float(np.ptp(scores(ranks))))


def told_from_best(values: FloatArray) -> dict[int, float]:
    """Return the rows that are told from the best, worst first, with their p-values.

    Args:
        values: Higher is better, shape ``(seeds, rows)``, at least two seeds.
    """
    remaining = np.arange(values.shape[1])
    told: dict[int, float] = {}
    largest = 0.0
    while len(remaining) > 1:
        ranks = scipy.stats.rankdata(values[:, remaining], axis=1)
        score = scores(ranks)
        largest = max(largest, _p_value(_law_of(ranks), float(np.ptp(score))))
        if largest > level(len(remaining)):
            break
        lowest = score <= score.min() + _EQUAL
        told |= {int(row): largest for row in remaining[lowest]}
        remaining = remaining[~lowest]
    return told


def detectable_difference(values: FloatArray, power: float = POWER) -> float:
    """Return by how much one row must be worse than the others to be told from them.

    That is with probability ``power``, on as many seeds and rows as ``values`` has and with the
    scatter that they have: tables are drawn from the deviations from the rows' medians, seeds with
    replacement and the deviations of a seed in any order, and one row is lowered.

    Args:
        values: Shape ``(seeds, rows)``; values that are not finite count as the worst deviation.
        power: Probability that the row is told.

    Returns:
        The difference in the unit of ``values``; infinite where these seeds and rows can decide
        none.
    """
    n, k = values.shape
    if n < 2 or k < 2:
        return math.inf
    least = critical_range(n, k)
    if math.isinf(least):
        return math.inf
    shown = np.where(np.isfinite(values), values, np.nan)
    shown = np.where(np.isnan(shown).all(axis=0), 0.0, shown)
    deviations = (shown - np.nanmedian(shown, axis=0)) * math.sqrt(n / (n - 1))
    deviations = np.where(np.isnan(deviations), np.nanmin(deviations), deviations)
    generator = data_generator(scipy.stats.rankdata(deviations), label="detectable")  # of no unit
    drawn = deviations[generator.integers(n, size=(_POWER_DRAWS, n))]
    drawn = generator.permuted(drawn, axis=2)
    lowered, others = drawn[..., :1], drawn[..., 1:]
    among = scipy.stats.rankdata(others, axis=2)

    def share(difference: float) -> float:
        above = others > lowered - difference
        own = k - above.sum(axis=2, keepdims=True)
        score = scores(np.concatenate([own, among + above], axis=2))
        told = (np.ptp(score, axis=1) >= least - _EQUAL) & (score.argmin(axis=1) == 0)
        return float(np.mean(told))

    low, high = 0.0, 2 * float(np.ptp(deviations)) + _EQUAL
    if share(high) < power:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) >= power else (middle, high)
    return high


def critical_range(n: int, k: int) -> float:
    """Return the smallest range of scores that is significant for n seeds and k untied rows.

    Infinite where none is.
    """
    law = _law_of(np.tile(np.arange(1.0, k + 1), (n, 1)))
    for candidate in law[-int(level(k) * len(law)) - 1 :]:
        if _p_value(law, float(candidate)) <= level(k):
            return float(candidate)
    return math.inf


def level(rows: int) -> float:
    """Return the level of a step with so many rows."""
    return LEVEL if rows > 2 else LEVEL_OF_TWO


def scores(ranks: FloatArray) -> FloatArray:
    """Return ``(mean rank - middle) / standard deviation``, shape ``(..., n, k)`` to ``(..., k)``.

    The standard deviation is that over seeds, but at least that of a random order.
    """
    middle = (ranks.shape[-1] + 1) / 2
    random = np.square(ranks - middle).mean(axis=(-2, -1))[..., None]
    variance = np.maximum(ranks.var(axis=-2, ddof=1), random)
    score = (ranks.mean(axis=-2) - middle) / np.sqrt(np.where(variance > 0, variance, 1.0))
    return np.asarray(score)


def _p_value(law: FloatArray, observed: float) -> float:
    """Return the share of permutations whose range is at least ``observed``, itself included."""
    reached = len(law) - int(np.searchsorted(law, observed - _EQUAL))
    return (1 + reached) / (1 + len(law))


def _law_of(ranks: FloatArray) -> FloatArray:
    """Return the sorted ranges of scores under permutations within seeds."""
    ordered = np.sort(ranks, axis=1)
    ordered = ordered[np.lexsort(ordered.T)]  # neither rows nor seeds have an order
    return _law(ordered.tobytes(), ordered.shape)


@lru_cache(maxsize=512)
def _law(ranks: bytes, shape: tuple[int, int]) -> FloatArray:
    ordered = np.frombuffer(ranks, dtype=np.float64).reshape(shape)
    generator = data_generator(ordered, label="max-min")
    ranges = []
    for start in range(0, PERMUTATIONS, _CHUNK):
        count = min(_CHUNK, PERMUTATIONS - start)
        drawn = generator.permuted(np.broadcast_to(ordered, (count, *shape)), axis=2)
        ranges.append(np.ptp(scores(drawn), axis=1))
    return np.sort(np.concatenate(ranges))
