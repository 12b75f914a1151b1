"""Confidence interval of the angle between an expected draw and a reference.

With ``a`` the length of the mean along the reference and ``b`` its length across it, the angle is
``phi = atan2(b, a)``. A jackknife of the cosine covers too little near 1, where the cosine is
quadratic in ``b``: here ``b²`` has the interval of an unbiased squared length
(:mod:`~nasbench_snas.stats.squared_bias`), ``a`` that of a mean, and each end of the angle is moved
by the square root of the sum of the squares of what either moves it:

    phi_up = phi + sqrt((atan2(b_up, a) - phi)² + (atan2(b, a_low) - phi)²),

and at least by what the first-order error of the angle gives, in which errors of ``a`` and ``b``
that go together are seen.

A reference r with an error of its own turns: its noise enters across as ``a / |r|`` times its
deviations and along as their share in the direction of the mean's part across.

Reference: Zou and Donner, Construction of Confidence Limits about Effect Measures: A General
Approach, Statistics in Medicine 27, 2008 (recovery of variances from separate limits).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.stats.interval import FloatArray, Interval
from nasbench_snas.stats.jackknife import t_quantile
from nasbench_snas.stats.squared_bias import NoisePart, square_error


@dataclass(frozen=True, slots=True)
class Angle:
    """The angle's ends, ``0 <= low <= high <= pi``, and the t quantile behind them."""

    low: float
    high: float
    level: float

    def cosine(self, estimate: float, confidence: float, n: int) -> Interval:
        """Return the interval of the cosine; ``estimate`` is de-noised and may exceed 1."""
        low, high = math.cos(self.high), math.cos(self.low)
        if self.low == 0.0:
            high = max(high, estimate)
        return self._interval(estimate, low, high, confidence, n)

    def sine(self, estimate: float, confidence: float, n: int) -> Interval:
        """Return the interval of the sine, the relative bias left after the best rescaling."""
        ends = sorted((math.sin(self.low), math.sin(self.high)))
        high = 1.0 if self.low <= math.pi / 2 <= self.high else ends[1]
        return self._interval(estimate, ends[0], high, confidence, n)

    def _interval(
        self, estimate: float, low: float, high: float, confidence: float, n: int
    ) -> Interval:
        error = (high - low) / (2 * self.level)
        return Interval(estimate, low, high, confidence, n, "angle", error)


def angle_interval(
    mean: FloatArray,
    reference: FloatArray,
    deviations: Sequence[FloatArray],
    n_blocks: int,
    confidence: float,
) -> Angle:
    """Return the interval of the angle between a mean and a reference.

    Args:
        mean: Mean draw, shape ``(d,)``.
        reference: ``r``, shape ``(d,)``, not zero.
        deviations: ``y_b`` of the draws, ``(B, d)`` (see
            :func:`~nasbench_snas.stats.squared_bias.block_deviations`), and of the reference where
            it has an error.
        n_blocks: Blocks behind them, at least.
        confidence: Nominal coverage.
    """
    length = float(np.linalg.norm(reference))
    unit = reference / length
    along = float(mean @ unit)
    across = mean - along * unit
    rows = [deviations[0] @ unit]
    noise = [deviations[0] - rows[0][:, None] * unit]
    for own in deviations[1:]:
        turned = (along / length) * own
        noise.append((turned @ unit)[:, None] * unit - turned)
        rows.append(own @ across / length)
    level = t_quantile(confidence, n_blocks)
    half = level * math.sqrt(sum(float(row @ row) for row in rows))
    square = float(across @ across) - sum(float(np.square(y).sum()) for y in noise)
    parts = [NoisePart(y, across) for y in noise]
    found = square_error(square, parts, n_blocks).interval(confidence, 0)
    b, low, high = (math.sqrt(max(x, 0.0)) for x in (square, found.low, found.high))
    phi = math.atan2(b, along)
    size = max(float(np.linalg.norm(across)), 1e-300)
    turns = [along * (y @ across) / size - size * row for y, row in zip(noise, rows, strict=True)]
    least = level * math.sqrt(sum(float(t @ t) for t in turns)) / max(along**2 + size**2, 1e-300)
    down = math.hypot(phi - math.atan2(low, along), phi - math.atan2(b, along + half))
    up = math.hypot(math.atan2(high, along) - phi, math.atan2(b, along - half) - phi)
    return Angle(max(phi - max(down, least), 0.0), min(phi + max(up, least), math.pi), level)
