"""Hotelling's T²: is the mean of gradient draws equal to the exact gradient?

With mean ``m`` and covariance ``S`` of N draws in p identifiable directions,
``T² = N (m - g)' S^{-1} (m - g)`` and ``(N - p) / (p (N - 1)) T²`` is F(p, N - p) under the null
hypothesis (Hotelling 1931). A reference with its own M draws enters with ``W = S/N + S_r/M`` and
Yao's degrees of freedom (Yao, Biometrika 52, 1965), which are N - 1 again for an exact reference.

Directions without variance (deterministic estimators; an edge whose gradient never varies) have no
F test: there the mean must equal the reference within ``tolerance`` times the gradient's size, and
if it does not, p is 0. They are found on the correlation scale, so that a coordinate of small but
real variance stays in the test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from nasbench_snas.errors import CheckpointError, DataError
from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.stats.moments import as_draws

ROUNDING = 1e-12  # standard deviation, relative to the gradient's size, that counts as none


class Scatter:
    """Streaming mean and scatter matrix, mergeable; p is the dimension of the tested subspace.

    Args:
        dimension: Length of a draw as given.
        basis: Orthonormal columns, shape ``(dimension, p)``; None to keep all directions.

    Attributes:
        count: Number of draws.
        mean: Shape ``(p,)``.
        scatter: Sum of outer products of deviations, shape ``(p, p)``.
    """

    def __init__(self, dimension: int, basis: FloatArray | None = None) -> None:
        if basis is not None and (basis.ndim != 2 or basis.shape[0] != dimension):
            raise DataError(f"basis of shape {basis.shape}", f"expected ({dimension}, p)")
        self.dimension, self.basis = dimension, basis
        size = dimension if basis is None else basis.shape[1]
        self.count = 0
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))

    def update(self, draws: npt.ArrayLike) -> None:
        """Add draws, shape ``(n, dimension)``."""
        rows = self.project(as_draws(draws, self.dimension))
        if len(rows):
            mean = rows.mean(axis=0)
            self._merge(len(rows), mean, (rows - mean).T @ (rows - mean))

    def merge(self, other: Scatter) -> None:
        """Add the draws of ``other``, which has the same basis."""
        if other.mean.shape != self.mean.shape:
            raise DataError(f"scatter of {other.mean.size} and {self.mean.size} directions")
        self._merge(other.count, other.mean, other.scatter)

    def project(self, vectors: FloatArray) -> FloatArray:
        """Return vectors ``(..., dimension)`` in the tested directions, ``(..., p)``."""
        return vectors if self.basis is None else vectors @ self.basis

    def covariance(self) -> FloatArray:
        """Return the sample covariance, shape ``(p, p)``."""
        return self.scatter / (self.count - 1)

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return everything that changes as plain arrays."""
        return {
            "count": np.array(self.count),
            "mean": self.mean.copy(),
            "scatter": self.scatter.copy(),
        }

    def load_state(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`.

        Raises:
            CheckpointError: The state has another dimension.
        """
        if state["mean"].shape != self.mean.shape:
            raise CheckpointError(
                f"scatter of {state['mean'].size} directions", f"expected {self.mean.size}"
            )
        self.count = int(np.asarray(state["count"]).item())
        self.mean = np.array(state["mean"], dtype=np.float64)
        self.scatter = np.array(state["scatter"], dtype=np.float64)

    def _merge(self, n: int, mean: FloatArray, scatter: FloatArray) -> None:
        total = self.count + n
        if n == 0:
            return
        shift = mean - self.mean
        self.scatter += scatter + np.outer(shift, shift) * (self.count * n / total)
        self.mean += shift * (n / total)
        self.count = total


@dataclass(frozen=True, slots=True)
class Hotelling:
    """Result of the test.

    Args:
        p: P-value; 0 where a direction without variance is off.
        log10_p: Its decimal logarithm, also below the smallest double.
        statistic: T² over the directions with variance.
        directions: Number of directions in the F test.
        fixed: Number of directions without variance.
        fixed_off: How many of those differ from the reference.
        degrees: Denominator degrees of freedom of F.
        n: Number of draws.
        mahalanobis_sq: Estimate of the squared Mahalanobis bias of one draw, corrected for chance
            (negative values are kept); NaN with a noisy reference.
    """

    p: float
    log10_p: float
    statistic: float
    directions: int
    fixed: int
    fixed_off: int
    degrees: float
    n: int
    mahalanobis_sq: float


def hotelling_test(
    draws: Scatter,
    target: FloatArray,
    *,
    reference: Scatter | None = None,
    size: float | None = None,
    tolerance: float = 1e-9,
) -> Hotelling:
    """Test that the expected draw equals the target in the scatter's subspace.

    Args:
        draws: Mean and scatter of N draws.
        target: The exact gradient, shape ``(dimension,)``; not used if ``reference`` is given.
        reference: Mean and scatter of independent unbiased draws, with the same basis.
        size: Length of a typical gradient, against which rounding is judged; None takes the
            largest of target, mean and root mean square deviation.
        tolerance: Largest difference, relative to ``size``, in a direction without variance.

    Raises:
        DataError: Too few draws for the number of directions.
    """
    goal = draws.project(np.asarray(target, np.float64)) if reference is None else reference.mean
    if draws.count < 2 or (reference is not None and reference.count < 2):
        raise DataError(f"{draws.count} draws", "a covariance needs at least two")
    parts = [draws.covariance() / draws.count]
    frees = [draws.count - 1]
    if reference is not None:
        parts.append(reference.covariance() / reference.count)
        frees.append(reference.count - 1)
    error = np.sum(parts, axis=0)
    shift = draws.mean - goal
    if size is None:
        spread = float(np.trace(draws.covariance()))
        lengths = (float(np.linalg.norm(vector)) for vector in (goal, draws.mean))
        size = max(*lengths, math.sqrt(spread))
    whiten, fixed = _split(error, size, min(count + 1 for count in frees))
    off = int((np.abs(fixed[0] @ shift) > tolerance * size + 10 * fixed[1]).sum())
    return _f_test(
        whiten @ shift, [whiten @ w @ whiten.T for w in parts], frees, len(fixed[1]), off
    )


def _split(
    error: FloatArray, size: float, n: int
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Split directions into those with variance and those without.

    Args:
        error: Covariance of the mean difference, shape ``(p, p)``.
        size: Size of a gradient.
        n: Number of draws.

    Returns:
        A whitening matrix ``(r, p)``; and unit vectors ``(p - r, p)`` without variance together
        with the standard error that rounding left in them ``(p - r,)``.
    """
    deviation = np.sqrt(np.maximum(np.diag(error), 0.0))
    varies = deviation * math.sqrt(n) > ROUNDING * size
    if n <= varies.sum():
        # else the directions that the draws do not reach yet would pass for directions without
        # variance, and the mean would be off in them
        raise DataError(
            f"{n} draws for {int(varies.sum())} coordinates that vary",
            "T² needs more draws than coordinates",
            "draw more, or pass a basis of the identifiable directions",
        )
    unit = np.eye(len(error))
    flat, flat_error = unit[~varies], deviation[~varies]
    if not varies.any():
        return np.zeros((0, len(error))), (flat, flat_error)
    inverse = np.diag(1 / deviation[varies])
    values, vectors = np.linalg.eigh(inverse @ error[np.ix_(varies, varies)] @ inverse)
    keep = values > 1e-11 * values[-1]
    rows = (inverse @ vectors).T @ unit[varies]
    whiten = rows[keep] / np.sqrt(values[keep])[:, None]
    lengths = np.linalg.norm(rows[~keep], axis=1)
    left = rows[~keep] / lengths[:, None]
    left_error = np.sqrt(np.maximum(values[~keep], 0.0)) / lengths
    return whiten, (np.vstack([flat, left]), np.concatenate([flat_error, left_error]))


def _f_test(
    shift: FloatArray, parts: list[FloatArray], frees: list[int], fixed: int, off: int
) -> Hotelling:
    """F test of a whitened mean difference ``(r,)`` whose error is the sum of ``parts``."""
    r, n = len(shift), frees[0] + 1
    statistic = float(shift @ shift)
    free = float(frees[0])
    if len(parts) > 1 and statistic > 0:
        shares = [float(shift @ part @ shift) / statistic for part in parts]
        free = 1 / sum(share**2 / f for share, f in zip(shares, frees, strict=True))
    degrees = free - r + 1
    if r and degrees <= 0:
        raise DataError(
            f"{degrees:.1f} degrees of freedom for {r} directions",
            "the smaller of the two samples has too few draws",
            "draw more",
        )
    log_p = _log_survival(statistic * degrees / (r * free), r, degrees) if r else 0.0
    distance = math.nan
    if r and len(parts) == 1 and degrees > 2:
        distance = (statistic * (degrees - 2) / free - r) / n
    p, log10_p = math.exp(log_p), log_p / math.log(10)
    if off:
        p, log10_p = 0.0, -math.inf
    return Hotelling(p, log10_p, statistic, r, fixed, off, degrees, n, distance)


def _log_survival(value: float, numerator: int, denominator: float) -> float:
    """Return the natural logarithm of ``P(F > value)``, also where the probability underflows.

    There: ``I_x(a, b)`` with ``a = denominator / 2``, ``b = numerator / 2`` and
    ``x = a / (a + b value)`` is ``x^a (1-x)^b 2F1(a+b, 1; a+1; x) / (a B(a, b))``
    (Abramowitz and Stegun, 26.5.4 and 6.6.8).
    """
    direct = float(scipy.special.fdtrc(numerator, denominator, value))
    if direct > 0:
        return math.log(direct)
    a, b = denominator / 2, numerator / 2
    x = a / (a + b * value)
    if x == 0:
        return -math.inf
    series = float(scipy.special.hyp2f1(a + b, 1.0, a + 1, x))
    power = a * math.log(x) + b * math.log1p(-x)
    return power + math.log(series) - math.log(a) - float(scipy.special.betaln(a, b))


def hotelling_from_draws(
    draws: npt.ArrayLike, target: FloatArray, basis: FloatArray | None = None
) -> Hotelling:
    """Test draws ``(n, d)`` against ``target`` ``(d,)`` in ``basis`` ``(d, p)``."""
    rows = as_draws(draws)
    scatter = Scatter(rows.shape[1], basis)
    scatter.update(rows)
    return hotelling_test(scatter, target)


def paired_hotelling(
    draws: npt.ArrayLike, other: npt.ArrayLike, basis: FloatArray | None = None
) -> Hotelling:
    """Test that two estimators on the same noise have the same mean.

    The noise that both share cancels, so far fewer draws show a difference than against an exact
    gradient. Rounding is judged against the size of the draws, not of their difference.

    Args:
        draws: Shape ``(n, d)``.
        other: Shape ``(n, d)``; row i was drawn with the same noise as row i of ``draws``.
        basis: Orthonormal columns, shape ``(d, p)``; None for all directions.
    """
    first, second = as_draws(draws), as_draws(other)
    if first.shape != second.shape:
        raise DataError(f"draws of shapes {first.shape} and {second.shape}", "expected pairs")
    scatter = Scatter(first.shape[1], basis)
    scatter.update(first - second)
    size = math.sqrt(max(np.square(a).sum(axis=1).mean() for a in (first, second)))
    return hotelling_test(scatter, np.zeros(first.shape[1]), size=size)
