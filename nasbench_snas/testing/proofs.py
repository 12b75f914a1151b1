"""The tests of unbiasedness: draws of a gradient against the exact one.

The null hypothesis is that the expected draw equals the exact gradient, jointly in all directions:
Hotelling's T² (:mod:`nasbench_snas.stats.hotelling`). Noise is the same for value, alpha and theta
of a draw. Gradients of more than :data:`MOST_DIRECTIONS` coordinates (theta, controllers) are
tested along :data:`DIRECTIONS` fixed random directions: in directions that only rare architectures
move, the F distribution would be no approximation. A bias orthogonal to all of them would be
missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.stats.hotelling import Hotelling, hotelling_from_draws, paired_hotelling
from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.exact import ExactGradient, exact_gradient

MOST_DIRECTIONS = 30
DIRECTIONS = 12
PASS = 500  # draws in one backward pass
TRIAL = 64  # draws after which an estimator without randomness is recognised


@dataclass(frozen=True)
class Draws:
    """Draws of one estimator at one point.

    Attributes:
        alpha: Gradients for the distribution's parameters, shape ``(N, d)``.
        theta: Gradients for theta, shape ``(N, P)``.
        value: Values of the surrogate, shape ``(N,)``.
    """

    alpha: FloatArray
    theta: FloatArray
    value: FloatArray


def draw(bench: Bench, count: int, seed: int = 0, replicates: int = PASS) -> Draws:
    """Return ``count`` draws with the estimator's state frozen; the same for the same seed.

    Of an estimator without randomness (all of :data:`TRIAL` first draws are equal) only those are
    returned.
    """
    generator = bench.generator("draws", seed)
    parts = [_pass(bench, min(TRIAL, count), generator)]
    rows = torch.cat(parts[0][:2], dim=1)
    if not torch.allclose(rows, rows[:1], rtol=1e-11, atol=1e-13):
        for start in range(TRIAL, count, replicates):
            parts.append(_pass(bench, min(replicates, count - start), generator))
    return Draws(*(_array(torch.cat(column)) for column in zip(*parts, strict=True)))


def _pass(bench: Bench, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return alpha-gradients, theta-gradients and values of ``size`` draws."""
    noise = bench.estimator.noise(bench.dist.replicate(size), size, generator)
    return bench.draws(noise, size)


def exact(bench: Bench) -> ExactGradient:
    """Return the exact gradient of the expected loss of discrete architectures, on the bench."""
    return exact_gradient(bench.loss.viewed_by(True), bench.dist, [bench.loss.theta])


def basis(dimension: int) -> FloatArray | None:
    """Return fixed random orthonormal columns ``(d, p)`` for long gradients, None for short."""
    if dimension <= MOST_DIRECTIONS:
        return None
    generator = stream(dimension, "proof/directions")
    columns = torch.randn((dimension, DIRECTIONS), generator=generator, dtype=torch.float64)
    return _array(torch.linalg.qr(columns)[0])


def joint_test(draws: FloatArray, target: Tensor) -> Hotelling:
    """Test that the mean of ``draws``, shape ``(N, d)``, is ``target``, shape ``(d,)``."""
    return hotelling_from_draws(draws, _array(target), basis(draws.shape[1]))


def paired_test(draws: FloatArray, proven: FloatArray) -> Hotelling:
    """Test that two estimators have the same mean, given draws ``(N, d)`` on the same noise."""
    return paired_hotelling(draws, proven, basis(draws.shape[1]))


def value_score(values: FloatArray, target: float) -> float:
    """Return the standard score of the mean of ``values`` against ``target``."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    shift = float(values.mean()) - target
    return shift / error if error > 1e-12 * (1 + abs(target)) else shift * 1e9


def relative_bias(draws: FloatArray, target: Tensor) -> tuple[float, float]:
    """Return the squared relative bias, corrected for chance, and its standard error.

    ``(|m - g|^2 - tr S / N) / |g|^2``; the error is that of a quadratic form of a nearly normal
    mean, ``sqrt(2 tr (S/N)^2 + 4 b' (S/N) b) / |g|^2``.
    """
    goal = _array(target)
    covariance = np.atleast_2d(np.cov(draws.T)) / len(draws)
    shift, size = draws.mean(axis=0) - goal, float(goal @ goal)
    bias = float(shift @ shift - np.trace(covariance))
    spread = 2 * np.sum(covariance**2) + 4 * shift @ covariance @ shift
    return bias / size, float(np.sqrt(spread)) / size


def _array(tensor: Tensor) -> FloatArray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)
