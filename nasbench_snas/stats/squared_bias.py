"""Confidence interval of an unbiased squared length, by inverting a test.

``T = |D|² - tr W`` estimates ``s = |delta|²`` where D has mean ``delta`` and covariance W:

    Var T = 4 delta' W delta + 2 tr W²

The first part vanishes with s. An estimate that happens to be too low therefore comes with too
small a standard error, and ``T ± t se`` misses to one side. Here every candidate s is tested with
the variance that T would have under it. With ``A = D' W D - tr W²`` for ``delta' W delta``, and
``beta = D' W² D / D' W D``, the slope of A on T, a candidate has

    A(s) = max(A + beta (s - T), 0),   A(0) = 0,   nu = A(s) / beta²,   h = tr W² / beta²,

and ``T ~ s + beta (chi²_h(nu) - h - nu)``: the noncentral chi-square with the variance of T and the
skewness of a sum of weighted ones, exact for ``W = beta I``. Its quantiles are taken at
the levels of Student's t with as many degrees of freedom as there are blocks, less one; the
distribution function is Sankaran's (its lower tail is too heavy below four degrees of freedom:
bounds err on the safe side there). Upper ends start from max(T, 0) and max(A, 0), so that a lucky
negative estimate cannot sharpen a bound.

W comes from block means: with ``y_b`` so scaled that ``sum y_b y_b'`` estimates it, all that is
needed are Gram matrices of blocks, ``G = Y Y'``, and ``c = Y D``. No draws and no ``d x d`` matrix
are kept. Powers of W are freed of their bias for Gaussian block means, e.g.
``tr W² ~ f² / ((f - 1)(f + 2)) (|G|² - (tr G)² / f)``, and once more by U-statistics over distinct
blocks, which are unbiased for skewed draws as well; the larger one counts.

References: Wilson, Probable Inference, JASA 22, 1927 (inversion with the candidate's variance);
Sankaran, On the Non-Central Chi-Square Distribution, Biometrika 46, 1959; Satterthwaite 1946.
Deviations: the slope path, the larger of two estimates, and t levels for the unknown W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_snas.stats.interval import FloatArray, Interval
from nasbench_snas.stats.jackknife import pooled, select, t_quantile
from nasbench_snas.stats.moments import GradientMoments

_HALVINGS = 48
_NORMAL_FROM = 1e8  # mean of the chi-square from which its skewness is below 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class NoisePart:
    """One independent source of noise in T.

    Args:
        deviations: ``y_b`` of its blocks, shape ``(B, d)``; ``sum y_b y_b'`` estimates its W.
        vector: Half of the derivative of T by this noise, shape ``(d,)``.
        own: Share of the noise that ``vector`` itself carries; 1 for plain squares.
    """

    deviations: FloatArray
    vector: FloatArray
    own: float = 1.0


@dataclass(frozen=True, slots=True)
class SquareError:
    """Estimate of a squared length and what its variance is made of.

    Args:
        estimate: T.
        linear: A, estimate of ``delta' W delta``; may be negative.
        noise: ``tr W²``; 0 where there is no noise at all.
        slope: beta, variance in the direction of the estimate.
        n_blocks: Blocks behind W.
    """

    estimate: float
    linear: float
    noise: float
    slope: float
    n_blocks: int

    @property
    def standard_error(self) -> float:
        """Standard error under the estimate itself; at zero bias ``sqrt(2 tr W²)``."""
        return math.sqrt(4 * max(self.linear, 0.0) + 2 * self.noise)

    def over(self, divisor: float) -> SquareError:
        """Return the error of ``T / divisor`` for a divisor without error; NaN unless above 0."""
        k = 1 / divisor if divisor > 0 else math.nan
        return SquareError(
            self.estimate * k, self.linear * k**2, self.noise * k**2, self.slope * k, self.n_blocks
        )

    def interval(self, confidence: float, n: int) -> Interval:
        """Return the two-sided interval; ``n`` is the number of draws."""
        level = t_quantile(confidence, self.n_blocks)
        low, high = self._low(level), self._high(level)
        return Interval(
            self.estimate, low, high, confidence, n, "test inversion", self.standard_error
        )

    def _low(self, level: float) -> float:
        if not (self.noise > 0 and math.isfinite(self.estimate)):
            return self.estimate if self.noise == 0 else math.nan
        if self._score(self.estimate, self.linear, 0.0) < level:
            return min(0.0, self.estimate - level * math.sqrt(2 * self.noise))

        def accepted(s: float) -> bool:
            return self._score(self.estimate, self.linear, s) <= level

        return _edge(accepted, self.estimate, 0.0)

    def _high(self, level: float) -> float:
        start, linear = max(self.estimate, 0.0), max(self.linear, 0.0)
        if not (self.noise > 0 and math.isfinite(self.estimate)):
            return start if self.noise == 0 else math.nan

        def accepted(s: float) -> bool:
            return self._score(start, linear, s) >= -level

        step = 4 * level * (self.standard_error + level * self.slope)
        while accepted(start + step):
            step *= 2
        return _edge(accepted, start, start + step)

    def _score(self, estimate: float, linear: float, candidate: float) -> float:
        """Return the normal score of ``estimate`` if the squared length is ``candidate``."""
        path = max(linear + self.slope * (candidate - estimate), 0.0) if candidate > 0 else 0.0
        degrees, shift = self.noise / self.slope**2, path / self.slope**2
        return sankaran_score((estimate - candidate) / self.slope, degrees, shift)


def _edge(accepted: Callable[[float], bool], inside: float, outside: float) -> float:
    """Bisect between a candidate that is accepted and one that is not."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if accepted(middle):
            inside = middle
        else:
            outside = middle
    return outside


def sankaran_score(distance: float, degrees: float, shift: float) -> float:
    """Return the normal score of a noncentral chi-square, ``distance`` above its mean.

    Args:
        distance: Value less the mean ``degrees + shift``.
        degrees: Degrees of freedom, > 0, not necessarily whole.
        shift: Noncentrality, >= 0.
    """
    mean, spread = degrees + shift, degrees + 2 * shift
    if mean > _NORMAL_FROM:
        return distance / math.sqrt(2 * spread)
    if distance <= -mean:
        return -math.inf
    power = 1 - 2 * mean * (degrees + 3 * shift) / (3 * spread**2)
    q = spread / mean**2
    m = (power - 1) * (1 - 3 * power)
    centre = 1 + power * q * (power - 1 - 0.5 * (2 - power) * m * q)
    width = power * math.sqrt(2 * q) * (1 + 0.5 * m * q)
    return float(((1 + distance / mean) ** power - centre) / width)


def block_deviations(
    moments: GradientMoments, index: npt.NDArray[np.intp] | None = None
) -> FloatArray:
    """Return ``y_b``, shape ``(B, d')``, whose outer products sum to the mean's covariance.

    ``y_b = (mean_b - mean) / sqrt(B (h_b - 1))`` with ``h_b = N / n_b``, the jackknife's weights.
    """
    count, mean, _ = select(moments, index)
    (total,), (centre,), _ = pooled(moments, index)
    weight = np.sqrt(len(count) * (total / count - 1))
    return np.asarray((mean - centre) / weight[:, None])


def square_error(estimate: float, parts: Sequence[NoisePart], n_blocks: int) -> SquareError:
    """Return T with its variance, from one or two independent sources of noise."""
    rows = [part.deviations for part in parts]
    grams = [[a @ b.T for b in rows] for a in rows]
    products = [part.deviations @ part.vector for part in parts]
    frees = [len(y) - 1 for y in rows]
    traces = [float(np.trace(grams[i][i])) for i in range(len(parts))]
    squares = [float(c @ c) for c in products]
    cross = 2 * float(np.square(grams[0][1]).sum()) if len(parts) > 1 else 0.0
    noise, linear, curve = cross, -cross, 0.0
    for i, part in enumerate(parts):
        own, skewed = _trace_of_square(grams[i][i], part.deviations.shape[1])
        noise += part.own**2 * max(own, skewed)
        plain = squares[i] - part.own**2 * own
        linear += max(plain, _skewed_linear(products[i], grams[i][i], part.own))
        curve += sum(float(products[i] @ grams[i][j] @ products[j]) for j in range(len(parts)))
        curve -= traces[i] * squares[i] / frees[i]
    if not noise > 0:
        return SquareError(estimate, 0.0, 0.0, 0.0, n_blocks)
    slope = max(curve / sum(squares) if sum(squares) > 0 else 0.0, noise / sum(traces))
    return SquareError(estimate, linear, noise, slope, n_blocks)


def _trace_of_square(gram: FloatArray, dimension: int) -> tuple[float, float]:
    """Return ``tr W²`` for Gaussian block means and by U-statistics; the first at least tr² / d."""
    free = len(gram) - 1
    trace = float(np.trace(gram))
    plain = float(np.square(gram).sum()) - trace**2 / free
    gaussian = max(plain * free**2 / ((free - 1) * (free + 2)), trace**2 / dimension)
    if len(gram) < 4:
        return gaussian, 0.0
    pair, chain, apart = _distinct(gram)
    return gaussian, (pair - 2 * chain + apart) * free**2


def _skewed_linear(products: FloatArray, gram: FloatArray, own: float) -> float:
    """Return ``delta' W delta`` by U-statistics over distinct blocks; -inf for fewer than four."""
    b = len(products)
    if b < 4:
        return -math.inf
    scale = b * (b - 1)
    u = products * math.sqrt(scale)
    _, chain, apart = _distinct(u[:, None] + u + own * scale * gram)
    return (chain - apart) / b


def _distinct(kernel: FloatArray) -> tuple[float, float, float]:
    """Return means of ``K_ab²``, ``K_ab K_ac`` and ``K_ab K_cd`` over distinct a, b, c, d."""
    b = len(kernel)
    off = kernel - np.diag(np.diag(kernel))
    rows = off.sum(axis=1)
    total, pairs, chains = float(rows.sum()), float(np.square(off).sum()), float(rows @ rows)
    pair = pairs / (b * (b - 1))
    chain = (chains - pairs) / (b * (b - 1) * (b - 2))
    apart = (total**2 - 4 * chains + 2 * pairs) / (b * (b - 1) * (b - 2) * (b - 3))
    return pair, chain, apart
