"""What N iid gradient draws say about an estimator: bias, variance, direction, scale.

With mean ``m``, covariance ``S`` of a draw, and the true gradient ``g``:

    bias²   = |m - g|² - tr S / N            (the U-statistic; may be negative, and is kept so)
    trace   = tr S,  mse = bias² + trace     (of one draw)
    cosine  = <m, g> / sqrt((|m|² - tr S / N) |g|²)      (of the expected draw: de-noised)
    scale   = <m, g> / |g|²                  (the error of high temperatures)
    directional bias = sqrt(1 - cosine²)     (relative bias after the best rescaling)
    snr     = sqrt(|m|² - tr S / N) / sqrt(tr S)

A reference ``r`` that is itself a mean of M independent draws brings its own error: ``tr S_r / M``
is taken off ``|m - r|²`` and ``|r|²``, and a second jackknife over its blocks adds to every
variance. The draws and the reference must be independent of each other.

Intervals: of bias² by test inversion (:mod:`~nasbench_snas.stats.squared_bias`); of cosine and
directional bias by the angle (:mod:`~nasbench_snas.stats.direction`); of the rest by the
delete-a-block jackknife with t quantiles, on the log scale for variances. Where a few rare large
draws rule the variance (:mod:`~nasbench_snas.stats.tails`) no interval and no bound are given. The
word "unbiased" is never concluded; what can be concluded is the bound below
which the relative bias lies (``excluded_relative_bias``: the root of the upper end of the interval
of bias² / |g|², the smallest margin at which an equivalence test of size (1 - confidence) / 2 would
accept; at one-sided confidence it covered 0.89 to 0.93 of skewed draws). It starts from
max(bias², 0), so a lucky negative estimate does not sharpen it.

With a noisy reference the relative bias is tested as ``|m - r|² - rho |r|²`` with the noise of r at
the estimated rho.

Measured coverage of bias² at a nominal 95 %: exact reference, 50 blocks, N = 200 and 2,000, d in 3,
6, 20, 60, bias 0, 0.3, 0.45, 0.6, 0.8, 1, 1.5, 2 and 3 times ``bias_se`` along an axis or the
diagonal, 2,000 trials each, CPU, numpy 2.4.6; t and lognormal at N = 2,000 only up to d = 20.
Lowest of all cases:

    normal, equal variances                        .941
    normal, condition number 1e4                   .944
    Student's t, 5 degrees of freedom              .943
    lognormal, sigma 0.5                           .933
    lognormal, sigma 1 (excess kurtosis 111)       .922

``benchmarks/coverage.py`` measures all intervals on the suite's own draws.

Known limits: strongly skewed draws with the bias along a skewed coordinate, as in the last row.
Where few directions carry the noise, the upper end below about 1.5 ``bias_se`` is wider than
it need be (its coverage is above .99 there).

Deviation from ``|mean| / sqrt(tr S)`` as the SNR: the mean is de-noised first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_snas.errors import DataError
from nasbench_snas.stats.direction import angle_interval
from nasbench_snas.stats.interval import FloatArray, Interval, check_confidence
from nasbench_snas.stats.jackknife import (
    jackknife_interval,
    jackknife_variance,
    leave_one_out,
    pooled,
)
from nasbench_snas.stats.moments import WHOLE, GradientMoments, as_draws
from nasbench_snas.stats.squared_bias import (
    NoisePart,
    SquareError,
    block_deviations,
    square_error,
)
from nasbench_snas.stats.tails import Tails, effective_draws

Moments = tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The gradient that an estimator is measured against.

    Args:
        value: Shape ``(d,)``.
        moments: Block moments of the independent draws whose mean ``value`` is; None if exact.
        share: Effective share of draws of the score-function gradient, in ``(0, 1]``, if known; see
            :mod:`~nasbench_snas.stats.tails`.
    """

    value: FloatArray
    moments: GradientMoments | None = None
    share: float | None = None

    @classmethod
    def exact(cls, value: npt.ArrayLike, share: float | None = None) -> Reference:
        """Return an exact reference, from enumeration or a closed form; ``value`` ``(d,)``."""
        return cls(as_draws([np.asarray(value, dtype=np.float64)])[0], share=share)

    @classmethod
    def from_moments(cls, moments: GradientMoments) -> Reference:
        """Return the mean of unbiased draws as a reference that knows its own error."""
        return cls(pooled(moments)[1][0], moments)


@dataclass(frozen=True, slots=True)
class GradientSummary:
    """Statistics of one estimator on one set of coordinates.

    Args:
        group: ``all``, or the name of the coordinate group.
        n: Number of draws.
        dimension: Number of coordinates.
        bias_sq: Debiased squared bias; negative values are kept.
        relative_bias_sq: The same over ``|g|²``.
        bias: ``sqrt(max(bias_sq, 0))``.
        bias_se: Root mean square error of the mean vector, ``sqrt(tr S/N + tr S_r/M)``.
        bias_over_se: ``bias / bias_se``; infinite for a biased estimator without noise.
        excluded_relative_bias: Upper bound of ``|bias| / |g|``, the root of the end of
            ``relative_bias_sq``.
        trace: Trace of the covariance of one draw, interval from the log scale.
        relative_trace: The same over ``|g|²``.
        mse: Mean squared error of one draw.
        relative_mse: The same over ``|g|²``.
        cosine: Cosine of the expected draw to g.
        draw_cosine: Mean cosine of single draws to g; None where it was not accumulated.
        scale: Length of the expected draw along g, over ``|g|``.
        directional_bias: Relative bias left after the best rescaling.
        snr: Signal to noise of one draw.
        reference_norm: ``|g|``, de-noised.
    """

    group: str
    n: int
    dimension: int
    bias_sq: Interval
    relative_bias_sq: Interval
    bias: float
    bias_se: float
    bias_over_se: float
    excluded_relative_bias: float
    trace: Interval
    relative_trace: Interval
    mse: Interval
    relative_mse: Interval
    cosine: Interval
    draw_cosine: Interval | None
    scale: Interval
    directional_bias: Interval
    snr: Interval
    reference_norm: float


def summarise_gradient(
    moments: GradientMoments,
    reference: Reference,
    *,
    group: str = WHOLE,
    index: npt.NDArray[np.intp] | None = None,
    confidence: float = 0.95,
) -> GradientSummary:
    """Summarise an estimator's draws against a reference.

    Args:
        moments: Block moments of its draws.
        reference: Exact gradient, or one with its own error.
        group: Name of the coordinate group; one of the accumulator's groups, or any name with
            ``index``.
        index: Coordinates of the group, shape ``(d',)``; None for the named group or all.
        confidence: Nominal coverage.

    Raises:
        DataError: Too few draws, an unknown group, or a reference of another length.
    """
    check_confidence(confidence)
    if reference.value.shape != (moments.dimension,):
        raise DataError(
            f"reference of shape {reference.value.shape} for draws of dimension {moments.dimension}"
        )
    if index is None and group != WHOLE:
        if group not in moments.groups:
            raise DataError(f"no group {group!r}", f"expected one of {', '.join(moments.groups)}")
        index = moments.groups[group]
    return _Summary(moments, reference, index, confidence).result(group)


def summarise_groups(
    moments: GradientMoments,
    reference: Reference,
    groups: Mapping[str, npt.NDArray[np.intp]] | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, GradientSummary]:
    """Summarise all coordinates and every group (``groups``, or the accumulator's own)."""
    chosen = moments.groups if groups is None else groups
    out = {WHOLE: summarise_gradient(moments, reference, confidence=confidence)}
    for name, index in chosen.items():
        out[name] = summarise_gradient(
            moments, reference, group=name, index=index, confidence=confidence
        )
    return out


class _Summary:
    """Evaluates statistics on all draws and with every block left out."""

    def __init__(
        self,
        moments: GradientMoments,
        reference: Reference,
        index: npt.NDArray[np.intp] | None,
        confidence: float,
    ) -> None:
        self.moments, self.confidence, self.n = moments, confidence, moments.n
        self.counts = moments.count.astype(np.float64)
        self.n_blocks = moments.n_blocks
        full, without = pooled(moments, index), leave_one_out(moments, index)
        keep: slice | npt.NDArray[np.intp] = slice(None) if index is None else index
        goal = (reference.value[None, keep], np.zeros(1))
        self.full = _quantities(full, goal)
        self.without = _quantities(without, goal)
        self.reference_without: dict[str, FloatArray] | None = None
        if reference.moments is not None:
            source = reference.moments
            goal = _reference_goal(pooled(source, index))
            self.full = _quantities(full, goal)
            self.without = _quantities(without, goal)
            self.reference_without = _quantities(
                full, _reference_goal(leave_one_out(source, index))
            )
            self.reference_counts = source.count.astype(np.float64)
            self.n_blocks = min(self.n_blocks, source.n_blocks)
        expected = None if reference.share is None else reference.share * self.n
        self.tails = Tails(effective_draws(moments, index), expected)
        self.dimension = full[1].shape[1]
        self.centre, self.goal = full[1][0], goal[0][0]
        self.deviations = [block_deviations(moments, index)]
        if reference.moments is not None:
            self.deviations.append(-block_deviations(reference.moments, index))

    def result(self, group: str) -> GradientSummary:
        """Collect every statistic."""
        full = {name: float(value[0]) for name, value in self.full.items()}
        error = math.sqrt(full["noise"])
        bias = math.sqrt(max(full["bias_sq"], 0.0))
        square, relative = self._square_errors(full)
        squares = [
            self.tails.given(s.interval(self.confidence, self.n)) for s in (square, relative)
        ]
        cosine, sine = self._direction(full)
        return GradientSummary(
            group=group,
            n=self.n,
            dimension=self.dimension,
            bias_sq=squares[0],
            relative_bias_sq=squares[1],
            bias=bias,
            bias_se=error,
            bias_over_se=bias / error if error > 0 else (math.inf if bias > 0 else 0.0),
            excluded_relative_bias=math.sqrt(squares[1].high),
            trace=self._interval("trace", "log"),
            relative_trace=self._interval("relative_trace", "log"),
            mse=self._interval("mse", "log"),
            relative_mse=self._interval("relative_mse", "log"),
            cosine=cosine,
            draw_cosine=self._draw_cosine(group),
            scale=self._interval("scale"),
            directional_bias=sine,
            snr=self._interval("snr"),
            reference_norm=math.sqrt(max(full["reference_sq"], 0.0)),
        )

    def _direction(self, full: dict[str, float]) -> tuple[Interval, Interval]:
        """Return the cosine and the directional bias, with the intervals of their angle."""
        cosine = full["cosine"]
        sine = math.sqrt(max(1 - cosine**2, 0.0)) if not math.isnan(cosine) else math.nan
        if not np.any(self.goal):
            none = (math.nan, math.nan, math.nan, self.confidence, self.n, "no reference")
            return Interval(*none), Interval(*none)
        angle = angle_interval(
            self.centre, self.goal, self.deviations, self.n_blocks, self.confidence
        )
        return (
            self.tails.given(angle.cosine(cosine, self.confidence, self.n)),
            self.tails.given(angle.sine(sine, self.confidence, self.n)),
        )

    def _square_errors(self, full: dict[str, float]) -> tuple[SquareError, SquareError]:
        """Return squared bias and relative squared bias with their errors."""
        difference = self.centre - self.goal
        parts = [NoisePart(self.deviations[0], difference)]
        if len(self.deviations) == 1:
            square = square_error(full["bias_sq"], parts, self.n_blocks)
            return square, square.over(full["reference_sq"])
        noise = self.deviations[1]
        square = square_error(
            full["bias_sq"], [*parts, NoisePart(noise, difference)], self.n_blocks
        )
        ratio = max(full["relative_bias_sq"], 0.0) if full["reference_sq"] > 0 else 0.0
        shared = NoisePart(noise, difference + ratio * self.goal, 1 - ratio)
        relative = square_error(full["bias_sq"], [*parts, shared], self.n_blocks)
        return square, relative.over(full["reference_sq"])

    def _interval(self, name: str, transform: str = "none") -> Interval:
        """Jackknife one quantity, on the scale that ``transform`` names."""
        full = float(self.full[name][0])
        if transform == "log" and not full > 0:
            return Interval(full, full, full, self.confidence, self.n, "no variance", 0.0)
        f: Callable[[FloatArray], FloatArray] = _log if transform == "log" else _same
        variance = jackknife_variance(
            float(f(self.full[name])[0]), f(self.without[name]), self.counts
        )
        if self.reference_without is not None:
            variance += jackknife_variance(
                float(f(self.full[name])[0]),
                f(self.reference_without[name]),
                self.reference_counts,
            )
        inner = jackknife_interval(
            float(f(self.full[name])[0]), variance, self.n, self.n_blocks, self.confidence
        )
        return self.tails.given(_back(inner, transform), spread=True)

    def _draw_cosine(self, group: str) -> Interval | None:
        """Mean per-draw cosine with its jackknife interval, where accumulated."""
        names = [WHOLE, *self.moments.groups]
        if self.moments.direction is None or group not in names:
            return None
        sums = self.moments.cosine[:, names.index(group)]
        full = float(sums.sum() / self.n)
        without = (sums.sum() - sums) / (self.n - self.counts)
        variance = jackknife_variance(full, without, self.counts)
        return jackknife_interval(full, variance, self.n, self.moments.n_blocks, self.confidence)


def _reference_goal(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Return reference means ``(b, d)`` and the squared error of each, ``tr S_r / M``, ``(b,)``."""
    count, mean, squares = moments
    return mean, squares.sum(axis=1) / ((count - 1) * count)


def _quantities(moments: Moments, goal: tuple[FloatArray, FloatArray]) -> dict[str, FloatArray]:
    """Evaluate every statistic, vectorised over left-out blocks.

    Args:
        moments: Count ``(b,)``, mean ``(b, d)``, squared deviations ``(b, d)`` of the draws.
        goal: Reference ``(b', d)`` and its squared error ``(b',)``; b and b' broadcast.

    Returns:
        Name to values, shape ``(max(b, b'),)``; NaN where undefined.
    """
    count, mean, squares = moments
    reference, reference_noise = goal
    trace = squares.sum(axis=1) / (count - 1)
    noise = trace / count
    noise_both = noise + reference_noise
    bias_sq = np.square(mean - reference).sum(axis=1) - noise_both
    reference_sq = np.square(reference).sum(axis=1) - reference_noise
    mean_sq = np.square(mean).sum(axis=1) - noise
    product = (mean * reference).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = product / np.sqrt(mean_sq * reference_sq)
        quantities = {
            "noise": noise_both,
            "bias_sq": bias_sq,
            "trace": trace + 0 * reference_noise,
            "mse": bias_sq + trace,
            "reference_sq": reference_sq,
            "relative_bias_sq": bias_sq / reference_sq,
            "relative_trace": trace / reference_sq,
            "relative_mse": (bias_sq + trace) / reference_sq,
            "cosine": cosine,
            "scale": product / reference_sq,
            "snr": np.sqrt(np.maximum(mean_sq, 0.0)) / np.sqrt(trace) + 0 * reference_noise,
        }
    return {name: np.atleast_1d(value) for name, value in quantities.items()}


def _same(x: FloatArray) -> FloatArray:
    """Identity."""
    return x


def _log(x: FloatArray) -> FloatArray:
    """Logarithm; NaN for what has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), np.nan))


def _back(inner: Interval, transform: str) -> Interval:
    """Return ``inner`` on the original scale; standard errors by the delta method."""
    if transform == "none":
        return inner
    estimate, low, high = (math.exp(v) for v in (inner.estimate, inner.low, inner.high))
    error, method = estimate * inner.standard_error, "log jackknife"
    return Interval(estimate, low, high, inner.confidence, inner.n, method, error)
