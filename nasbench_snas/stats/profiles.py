"""Aggregates over several spaces: normalised scores and performance profiles.

Score of a run in its space: ``(accuracy - random) / (best - random)``, 0 for random search (best of
N) and 1 for the best known. Profile: ``F(t)`` = share of runs with a score above t, averaged over
spaces, with a pointwise band from a bootstrap stratified by space.

Reference: Agarwal et al. 2021, arXiv 2108.13264, section 4.2 (its band is pointwise, too).
Deviation: resamples are drawn as multinomial weights, which is the same law and needs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, FloatArray, as_sample, check_confidence
from nasbench_snas.stats.reproducible import data_generator


@dataclass(frozen=True, slots=True, eq=False)
class PerformanceProfile:
    """Share of runs above each threshold.

    Args:
        thresholds: Shape ``(T,)``, increasing.
        share: Shape ``(T,)``, falling from at most 1 to 0.
        low: Pointwise lower band, shape ``(T,)``.
        high: Pointwise upper band, shape ``(T,)``.
        confidence: Nominal pointwise coverage.
        n_runs: Runs of each space.
    """

    thresholds: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    n_runs: tuple[int, ...]


def normalise_scores(accuracy: ArrayLike, random: float, best: float) -> FloatArray:
    """Return ``(accuracy - random) / (best - random)``, shape as ``accuracy``; not clipped.

    Args:
        accuracy: Accuracies in one space, any shape.
        random: Mean accuracy of random search in that space (its row is mandatory).
        best: Best accuracy known in that space.

    Raises:
        DataError: ``best`` does not exceed ``random``.
    """
    if not best > random:
        raise DataError(
            f"best = {best} does not exceed random search = {random}",
            "a score between them has no meaning",
            "check that both come from the same space, data set and preset",
        )
    return (np.asarray(accuracy, dtype=np.float64) - random) / (best - random)


def performance_profile(
    scores: Sequence[ArrayLike],
    thresholds: ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
) -> PerformanceProfile:
    """Return the share of runs above each threshold, with its band.

    Args:
        scores: One vector of normalised scores a space, one number a seed.
        thresholds: Increasing thresholds, shape ``(T,)``.
        confidence: Nominal pointwise coverage.
        n_resamples: Number of bootstrap samples.

    Raises:
        DataError: No space, an empty one, or thresholds that do not increase.
    """
    check_confidence(confidence)
    grid = as_sample(thresholds, what="thresholds")
    if not len(scores) or (np.diff(grid) <= 0).any():
        raise DataError(
            f"{len(scores)} space(s) and {grid.size} thresholds",
            "expected at least one space and strictly increasing thresholds",
        )
    samples = [np.sort(as_sample(s, what=f"space {i}")) for i, s in enumerate(scores)]
    generator = data_generator(*samples, label="profile")
    share, resampled = np.zeros(grid.size), np.zeros((n_resamples, grid.size))
    for sample in samples:
        above = (sample[:, None] > grid).astype(np.float64)
        n = sample.size
        weights = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n
        share += above.mean(axis=0) / len(samples)
        resampled += weights @ above / len(samples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return PerformanceProfile(
        grid, share, low, high, confidence, tuple(sample.size for sample in samples)
    )
