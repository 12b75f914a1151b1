"""Delete-a-block jackknife for blocks of (nearly) equal size.

With block j of ``n_j`` draws left out of N, ``h_j = N / n_j``, and B blocks,

    theta_J = B theta - sum_j (1 - 1/h_j) theta_(j)
    Var     = 1/B sum_j (h_j theta - (h_j - 1) theta_(j) - theta_J)² / (h_j - 1),

which is the textbook ``(B-1)/B sum (theta_(j) - mean)²`` for equal blocks. The interval is
``theta ± t_{B-1} sqrt(Var)``: at a statistic that is quadratic in the mean and whose linear part
vanishes (a squared bias that is zero) the jackknife variance is about twice too large, but between
there and a clear bias it covers too little: such statistics use
:mod:`~nasbench_snas.stats.squared_bias`.

Reference: Busing, Meijer and van der Leeden, Delete-m Jackknife for Unequal m, Statistics and
Computing 9, 1999.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import FloatArray, Interval
from nasbench_snas.stats.moments import GradientMoments


def pooled(
    moments: GradientMoments, index: npt.NDArray[np.intp] | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return moments of all draws.

    Args:
        moments: The accumulator.
        index: Coordinates to keep, shape ``(d',)``; None for all.

    Returns:
        Count ``(1,)``, mean ``(1, d')``, sum of squared deviations ``(1, d')``.
    """
    count, mean, squares = select(moments, index)
    total = count.sum()
    centre = (count[:, None] * mean).sum(axis=0) / total
    # a block mean of identical draws equals them; the weighted mean may differ in the last bit
    centre = np.where((mean == mean[0]).all(axis=0), mean[0], centre)
    spread = squares.sum(axis=0) + (count[:, None] * np.square(mean - centre)).sum(axis=0)
    return np.array([total]), centre[None], spread[None]


def leave_one_out(
    moments: GradientMoments, index: npt.NDArray[np.intp] | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return moments of all draws but block j, for every j.

    Returns:
        Count ``(B,)``, mean ``(B, d')``, sum of squared deviations ``(B, d')``.
    """
    count, mean, squares = select(moments, index)
    (total,), (centre,), (spread,) = pooled(moments, index)
    rest = total - count
    shift = mean - centre
    out_mean = centre - shift * (count / rest)[:, None]
    out_squares = spread - squares - np.square(shift) * (count * total / rest)[:, None]
    return rest, out_mean, np.maximum(out_squares, 0.0)


def select(
    moments: GradientMoments, index: npt.NDArray[np.intp] | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return block counts as floats, means and squares of the chosen coordinates."""
    if not moments.count.all() or moments.n < 2 * moments.n_blocks:
        raise DataError(
            f"{moments.n} draws in {moments.n_blocks} blocks",
            f"expected at least {2 * moments.n_blocks} draws, two in every block",
            "draw more, or start with fewer blocks",
        )
    keep: slice | npt.NDArray[np.intp] = slice(None) if index is None else index
    return moments.count.astype(np.float64), moments.mean[:, keep], moments.squares[:, keep]


def jackknife_variance(full: float, left_out: FloatArray, counts: FloatArray) -> float:
    """Return the jackknife variance of a statistic.

    Args:
        full: The statistic of all draws.
        left_out: The statistic without block j, shape ``(B,)``.
        counts: Draws of block j, shape ``(B,)``.
    """
    h = counts.sum() / counts
    with np.errstate(invalid="ignore"):  # a statistic that is not finite has no variance: NaN
        centre = len(counts) * full - float(((1 - 1 / h) * left_out).sum())
        pseudo = h * full - (h - 1) * left_out
        return float((np.square(pseudo - centre) / (h - 1)).mean())


def jackknife_interval(
    estimate: float, variance: float, n: int, n_blocks: int, confidence: float
) -> Interval:
    """Return ``estimate ± t_{B-1} sqrt(variance)``; NaN ends where the variance is NaN."""
    error = math.sqrt(variance) if variance >= 0 else math.nan
    half = t_quantile(confidence, n_blocks) * error
    return Interval(estimate, estimate - half, estimate + half, confidence, n, "jackknife", error)


def t_quantile(confidence: float, n_blocks: int) -> float:
    """Return the two-sided t quantile with ``n_blocks - 1`` degrees of freedom."""
    return -float(special.stdtrit(n_blocks - 1, (1 - confidence) / 2))
