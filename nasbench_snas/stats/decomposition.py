"""Law of total variance: how much noise comes from the minibatch, how much from the architecture.

For ``n_B`` batches with ``n_Z`` draws each, ``S_b`` the covariance in batch b, ``m_b`` its mean:

    within  = mean_b tr S_b
    between = tr Var_b(m_b) - mean_b (tr S_b / n_Z)     (debiased; negative values are kept)

Total variance of one draw on a fresh batch is their sum. With costs ``c_B`` of a batch and ``c_Z``
of a draw, ``n_Z* = sqrt(c_B / c_Z · within / between)`` draws a batch are best.
Intervals: jackknife over batches, the independent units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats.interval import FloatArray, Interval, check_confidence
from nasbench_snas.stats.jackknife import jackknife_interval, jackknife_variance


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Variance of a gradient draw, split.

    Args:
        within: Part of architecture sampling, within a batch.
        between: Part of the minibatch, debiased.
        share: ``within / (within + between)``, the architecture's share.
        n_batches: Number of batches.
        draws_per_batch: Harmonic mean of the numbers of draws.
    """

    within: Interval
    between: Interval
    share: Interval
    n_batches: int
    draws_per_batch: float

    def best_draws_per_batch(self, batch_cost: float, draw_cost: float) -> float:
        """Return ``sqrt(c_B / c_Z · within / between)``, at least 1; infinity without batch noise.

        Args:
            batch_cost: Cost of loading and preparing one more batch.
            draw_cost: Cost of one more draw on the same batch, in the same unit.
        """
        if not (batch_cost >= 0 and draw_cost > 0):
            raise ConfigError(f"costs {batch_cost}, {draw_cost}", "expected costs above 0")
        if self.between.estimate <= 0:
            return math.inf
        ratio = batch_cost / draw_cost * self.within.estimate / self.between.estimate
        return max(1.0, math.sqrt(ratio))


def decompose_variance(
    batch_means: npt.ArrayLike,
    batch_traces: npt.ArrayLike,
    draws_per_batch: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> VarianceParts:
    """Split the variance from per-batch moments.

    Args:
        batch_means: Mean gradient of each batch, shape ``(n_B, d)``.
        batch_traces: Trace of the covariance (ddof = 1) within each batch, shape ``(n_B,)``.
        draws_per_batch: Draws of each batch, one integer >= 2 or shape ``(n_B,)``.
        confidence: Nominal coverage.

    Raises:
        DataError: Fewer than three batches, or fewer than two draws in one.
    """
    check_confidence(confidence)
    means = np.asarray(batch_means, dtype=np.float64)
    traces = np.asarray(batch_traces, dtype=np.float64)
    draws = np.broadcast_to(np.asarray(draws_per_batch, dtype=np.float64), traces.shape)
    if means.ndim != 2 or traces.shape != (len(means),) or len(means) < 3 or draws.min() < 2:
        raise DataError(
            f"batch means {means.shape}, traces {traces.shape}, draws {draws.tolist()[:5]}",
            "expected (n_B, d) and (n_B,) with n_B >= 3 and at least two draws a batch",
        )
    everything = np.ones((1, len(means)))
    full = _parts(means, traces, draws, everything)
    without = _parts(means, traces, draws, 1 - np.eye(len(means)))
    ones = np.ones(len(means))
    within, between, share = (
        jackknife_interval(
            float(f[0]),
            jackknife_variance(float(f[0]), w, ones),
            len(means),
            len(means),
            confidence,
        )
        for f, w in zip(full, without, strict=True)
    )
    return VarianceParts(within, between, share, len(means), float(1 / np.mean(1 / draws)))


def decompose_draws(draws: npt.ArrayLike, *, confidence: float = 0.95) -> VarianceParts:
    """Split the variance of draws of shape ``(n_B, n_Z, d)``: batch, draw, coordinate."""
    array = np.asarray(draws, dtype=np.float64)
    if array.ndim != 3 or array.shape[1] < 2:
        raise DataError(f"draws of shape {array.shape}", "expected (n_B, n_Z >= 2, d)")
    return decompose_variance(
        array.mean(axis=1),
        array.var(axis=1, ddof=1).sum(axis=-1),
        array.shape[1],
        confidence=confidence,
    )


def _parts(
    means: FloatArray, traces: FloatArray, draws: FloatArray, keep: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return within, between and share for each subset of batches, ``keep (b, n_B)`` of 0 and 1."""
    n = keep.sum(axis=1)
    within = keep @ traces / n
    centred = means - means.mean(axis=0)
    centre = keep @ centred / n[:, None]
    squares = keep @ np.square(centred).sum(axis=1) - n * np.square(centre).sum(axis=1)
    between = squares / (n - 1) - keep @ (traces / draws) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        share = within / (within + between)
    return within, between, share
