"""Aggregates over several spaces: normalised scores and performance profiles.

Score of a run in its space: ``(accuracy - random) / (best - random)``, 0 for random search
(best of N) and 1 for the best known. Profile: ``F(t)`` = share of runs with a score above t,
averaged over spaces.
Its band is pointwise and from Hoeffding's inequality: with S spaces of ``n_s`` independent runs the
share is off by more than ``sqrt(ln(2 / (1 - confidence)) sum_s 1 / n_s / 2) / S`` with probability
``1 - confidence`` at most, whatever the scores' distributions are, given the two ends of the scale.

References: Agarwal et al. 2021, arXiv 2108.13264, section 4.2 (its band is a bootstrap's);
Hoeffding, Probability Inequalities for Sums of Bounded Random Variables, JASA 58, 1963, theorem 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, FloatArray, as_sample, check_confidence


@dataclass(frozen=True, slots=True, eq=False)
class PerformanceProfile:
    """Share of runs above each threshold.

    Args:
        thresholds: Shape ``(T,)``, increasing.
        share: Shape ``(T,)``, falling from at most 1 to 0.
        low: Pointwise lower band, shape ``(T,)``, at least 0.
        high: Pointwise upper band, shape ``(T,)``, at most 1.
        confidence: Pointwise coverage at least.
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
    scores: Sequence[ArrayLike], thresholds: ArrayLike, *, confidence: float = 0.95
) -> PerformanceProfile:
    """Return the share of runs above each threshold, with its band.

    Args:
        scores: One vector of normalised scores a space, one number a seed.
        thresholds: Increasing thresholds, shape ``(T,)``.
        confidence: Pointwise coverage at least.

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
    samples = [as_sample(s, what=f"space {i}") for i, s in enumerate(scores)]
    share = np.mean([(sample[:, None] > grid).mean(axis=0) for sample in samples], axis=0)
    squares = math.fsum(1 / sample.size for sample in samples) / len(samples) ** 2
    off = math.sqrt(math.log(2 / (1 - confidence)) * squares / 2)
    low, high = np.maximum(share - off, 0.0), np.minimum(share + off, 1.0)
    return PerformanceProfile(
        grid, share, low, high, confidence, tuple(sample.size for sample in samples)
    )
