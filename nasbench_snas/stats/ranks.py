"""Which rows are told from the best: max-min permutation of the rows within seeds, step by step.

Every shared seed ranks the rows; a row's score is the sum of its ranks, that is how many other runs
of the same seeds it beats. Under the null hypothesis the rows are exchangeable within a seed, so
the ranks of each seed are permuted by themselves, and the largest sum minus the smallest is
compared with its law under all permutations (``PERMUTATIONS`` drawn ones, the observed one counted
in). Because the statistic is the largest difference of any two rows, it makes up for the best row
being chosen from the data; because it is of ranks, a collapsed run counts as one lost seed and not
as a distance that drowns all others. If the p-value is at most ``alpha``, the lowest row is worse
than the best; it is left out, and the rest is ranked again.

The p-value of a row is the largest up to its step. What is controlled is the probability that some
row which nothing beats is called worse; how well is measured in ``docs/table-statistics.md``.

References: Friedman, The Use of Ranks to Avoid the Assumption of Normality, JASA 32, 1937; the
range of rank sums: Nemenyi, Distribution-free Multiple Comparisons, 1963; step-down permutation:
Romano and Wolf, Exact and Approximate Stepdown Methods, JASA 100, 2005.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import stats

from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.stats.reproducible import data_generator

PERMUTATIONS = 4_999
POWER = 0.8
_POWER_DRAWS = 500
_HALVINGS = 25
_CHUNK = 500


def max_min_p(values: FloatArray) -> float:
    """Return the p-value of "all rows are exchangeable within seeds".

    Args:
        values: Higher is better, shape ``(seeds, rows)``; ``-inf`` loses to every finite value.
    """
    ranks = stats.rankdata(values, axis=1)
    return _p_value(ranks, float(np.ptp(ranks.sum(axis=0))))


def told_from_best(values: FloatArray, alpha: float = 0.05) -> dict[int, float]:
    """Return the rows that are told from the best, worst first, with their p-values.

    Args:
        values: Higher is better, shape ``(seeds, rows)``.
        alpha: Level.
    """
    remaining = np.arange(values.shape[1])
    told: dict[int, float] = {}
    largest = 0.0
    while len(remaining) > 1:
        ranks = stats.rankdata(values[:, remaining], axis=1)
        sums = ranks.sum(axis=0)
        largest = max(largest, _p_value(ranks, float(np.ptp(sums))))
        if largest > alpha:
            break
        lowest = sums == sums.min()
        told |= {int(row): largest for row in remaining[lowest]}
        remaining = remaining[~lowest]
    return told


def detectable_difference(values: FloatArray, alpha: float = 0.05, power: float = POWER) -> float:
    """Return by how much one row must be worse than the others to be told from them.

    That is with probability ``power``, on as many seeds and rows as ``values`` has and with the
    scatter that they have: tables are drawn from the deviations from the rows' medians, seeds with
    replacement and the deviations of a seed in any order, and one row is lowered.

    Args:
        values: Shape ``(seeds, rows)``; values that are not finite count as the worst deviation.
        alpha: Level of the test.
        power: Probability that the row is told.

    Returns:
        The difference in the unit of ``values``; infinite where these seeds and rows can decide
        none.
    """
    n, k = values.shape
    if n < 2 or k < 2:
        return math.inf
    least = critical_range(n, k, alpha)
    shown = np.where(np.isfinite(values), values, np.nan)
    deviations = (shown - np.nanmedian(shown, axis=0)) * math.sqrt(n / (n - 1))
    deviations = np.where(np.isnan(deviations), np.nanmin(deviations), deviations)
    generator = data_generator(deviations, label="detectable")
    drawn = deviations[generator.integers(n, size=(_POWER_DRAWS, n))]
    drawn = generator.permuted(drawn, axis=2)
    lowered, others = drawn[..., :1], drawn[..., 1:]
    among = stats.rankdata(others, axis=2)

    def share(difference: float) -> float:
        above = others > lowered - difference
        own = (k - above.sum(axis=2)).sum(axis=1)
        sums = (among + above).sum(axis=1)
        return float(np.mean((sums.max(axis=1) - own >= least) & (own < sums.min(axis=1))))

    low, high = 0.0, 2 * float(np.ptp(deviations)) + 1e-12
    if share(high) < power:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) >= power else (middle, high)
    return high


def critical_range(n: int, k: int, alpha: float = 0.05) -> float:
    """Return the smallest range of rank sums that is significant for n seeds and k rows.

    Infinite where none is.
    """
    ranks = np.tile(np.arange(1.0, k + 1), (n, 1))
    candidates = np.arange(n * (k - 1), 0, -1)
    significant = [r for r in candidates if _p_value(ranks, float(r)) <= alpha]
    return float(min(significant, default=math.inf))


def _p_value(ranks: FloatArray, observed: float) -> float:
    """Return the share of permutations whose range is at least ``observed``, itself included."""
    ordered = np.sort(ranks, axis=1)
    ordered = ordered[np.lexsort(ordered.T)]  # neither rows nor seeds have an order
    law = _law(ordered.tobytes(), ordered.shape)
    reached = len(law) - int(np.searchsorted(law, observed - 1e-9))
    return (1 + reached) / (1 + len(law))


@lru_cache(maxsize=512)
def _law(ranks: bytes, shape: tuple[int, int]) -> FloatArray:
    """Return the sorted ranges of rank sums under permutations; ties stay tied."""
    ordered = np.frombuffer(ranks, dtype=np.float64).reshape(shape)
    generator = data_generator(ordered, label="max-min")
    ranges = []
    for start in range(0, PERMUTATIONS, _CHUNK):
        count = min(_CHUNK, PERMUTATIONS - start)
        drawn = generator.permuted(np.broadcast_to(ordered, (count, *shape)), axis=2)
        ranges.append(np.ptp(drawn.sum(axis=1), axis=1))
    return np.sort(np.concatenate(ranges))
