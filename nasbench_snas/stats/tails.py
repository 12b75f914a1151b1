"""Whether a few rare large draws rule a variance, so that no interval from these draws holds.

With ``q_i`` the squared deviation of draw i, ``(sum q)^2 / sum q^2`` is the effective number of
draws that the variance comes from: n for draws of equal length, about ``n / kurtosis`` in general,
and 1 if one draw outweighs all others. Where it is small the next draw of that kind changes mean
and variance alike, and both the jackknife and the inverted test cover too little.

A study that has missed the rare draws looks fine by itself: where draws of 100 times the mean
square come once in 300, 12 % of studies of 512 draws see none. And where the number is near its
limit, the studies that pass are those that have seen less of the variance than there is. Both are
mended by a number that no draw enters: with all architectures enumerated, the effective number of
n draws of the plain score-function gradient, ``(L - E L) grad log p``
(:func:`nasbench_snas.oracle.exact.score_share` times n), tells how rare the architectures are that
matter at this point. Where it is known, it decides: below :data:`LEAST_EXPECTED` of them nothing is
given, and intervals of a spread (variance, MSE, SNR, scale) only from
:data:`LEAST_EXPECTED_OF_SPREAD` on; the draws' own number has the lower limit
:data:`LEAST_EFFECTIVE`. Where it is not known (a sampled reference, functions of one's own), the
draws' own number must reach :data:`LEAST_EFFECTIVE_ALONE`, and both faults remain.
``benchmarks/coverage.py`` measures what the intervals that are given cover.

From block sums ``q_b`` over B blocks, as they are kept: ``1 / E_b - 1 / B = (1 - 1 / B) / E``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nasbench_snas.stats.interval import Interval
from nasbench_snas.stats.moments import GradientMoments

LEAST_EFFECTIVE, LEAST_EFFECTIVE_ALONE = 50.0, 100.0
"""Effective draws below which no interval is given, with the expected number known and without."""
LEAST_EXPECTED, LEAST_EXPECTED_OF_SPREAD = 75.0, 100.0
"""Expected effective draws below which no interval is given, and none of a spread."""


@dataclass(frozen=True, slots=True)
class Tails:
    """What is known about rare large draws.

    Args:
        effective: Effective number of the draws that were made.
        expected: That of as many draws of the score-function gradient, from the exact law; None
            where it is not known.
    """

    effective: float
    expected: float | None

    def allow(self, *, spread: bool = False) -> bool:
        """Whether an interval may be given; ``spread``: of a variance or what is built of one."""
        if math.isinf(self.effective):  # no noise
            return True
        if self.expected is None:
            return self.effective >= LEAST_EFFECTIVE_ALONE
        least = LEAST_EXPECTED_OF_SPREAD if spread else LEAST_EXPECTED
        return self.effective >= LEAST_EFFECTIVE and self.expected >= least

    def given(self, interval: Interval, *, spread: bool = False) -> Interval:
        """Return ``interval``, or its estimate without ends and why."""
        if self.allow(spread=spread):
            return interval
        draws = self.effective if self.expected is None else min(self.effective, self.expected)
        text = f"not estimated: {draws:.1f} draws rule the variance"
        return replace(interval, low=float("nan"), high=float("nan"), method=text)


def effective_draws(moments: GradientMoments, index: npt.NDArray[np.intp] | None = None) -> float:
    """Return the effective number of draws behind the variance; infinite where there is none.

    Args:
        moments: Block moments.
        index: Coordinates, shape ``(d',)``; None: all.
    """
    keep: slice | npt.NDArray[np.intp] = slice(None) if index is None else index
    filled = moments.count > 0
    count = moments.count[filled]
    mean = np.average(moments.mean[filled], axis=0, weights=count)
    apart = count[:, None] * np.square(moments.mean[filled] - mean)
    sums = (moments.squares[filled] + apart)[:, keep].sum(axis=1)
    blocks, total = len(sums), float(sums.sum())
    if total == 0:
        return float("inf")
    concentration = float(np.square(sums).sum()) / total**2 - 1 / blocks
    if concentration <= 0:
        return float("inf")
    return (1 - 1 / blocks) / concentration
