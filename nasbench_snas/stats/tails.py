"""Whether a few rare large draws rule a variance, so that no interval from these draws holds.

With ``q_i`` the squared deviation of draw i, ``(sum q)^2 / sum q^2`` is the effective number of
draws that the variance comes from: n for draws of equal length, about ``n / kurtosis`` in general,
and 1 if one draw outweighs all others. Where it is small the next draw of that kind changes mean
and variance alike, and both the jackknife and the inverted test cover too little.

A study that has missed the rare draws looks fine by itself, so the limit is well above what a mean
needs: of 400 studies of 512 draws each at the last stage of the toy cell, where 1.4 to 13 draws are
effective, up to 3.5 % pass a limit of 30 and none one of 50; intervals of a variance cover 0.90 to
0.91 at 54 to 59 effective draws (2,000 studies). What is so rare that a study is likely to miss it
altogether (once in 300 draws, say) no limit on its own draws shows: more draws do.
``benchmarks/coverage.py`` measures what the intervals that are given cover.

From block sums ``q_b`` over B blocks, as they are kept: ``1 / E_b - 1 / B = (1 - 1 / B) / E``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nasbench_snas.stats.interval import Interval
from nasbench_snas.stats.moments import GradientMoments

LEAST_EFFECTIVE = 100.0
"""Effective draws below which no interval is given."""


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


def not_estimated(interval: Interval, effective: float) -> Interval:
    """Return ``interval`` with its estimate and no ends, and the reason as its method."""
    text = f"not estimated: {effective:.1f} draws rule the variance"
    return replace(interval, low=float("nan"), high=float("nan"), method=text)
