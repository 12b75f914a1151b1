"""Power laws: slope of log y on log x, with its standard error.

Unweighted: ordinary least squares, standard error from the residuals, t with n - 2 degrees of
freedom. With standard errors of y: least squares weighted by ``(y / se)²`` (the delta method's
variance of log y), standard error from those weights alone, normal quantile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, Interval, as_sample, check_confidence


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Fit of ``y = exp(intercept) x^slope``.

    Args:
        slope: Exponent with its interval and standard error.
        intercept: Logarithm of y at x = 1.
        residual: Root mean square residual of log y.
    """

    slope: Interval
    intercept: float
    residual: float


def fit_power_law(
    x: ArrayLike,
    y: ArrayLike,
    standard_errors: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> PowerLaw:
    """Fit the slope of log y on log x.

    Args:
        x: Positive, shape ``(n,)``, n >= 3 (2 with standard errors).
        y: Positive, shape ``(n,)``.
        standard_errors: Standard errors of y, positive, shape ``(n,)``; None to use residuals.
        confidence: Nominal coverage.

    Raises:
        DataError: Too few points, or a value that has no logarithm.
    """
    check_confidence(confidence)
    at_least = 3 if standard_errors is None else 2
    abscissa = as_sample(x, at_least=at_least, what="x")
    ordinate = as_sample(y, at_least=at_least, what="y")
    if abscissa.shape != ordinate.shape or min(abscissa.min(), ordinate.min()) <= 0:
        raise DataError(
            f"x {abscissa.tolist()}, y {ordinate.tolist()}",
            "a power law needs equally many positive values",
            "leave out points whose estimate is not positive, and say so",
        )
    u, v = np.log(abscissa), np.log(ordinate)
    if np.ptp(u) == 0:
        raise DataError("all x are equal", "a slope needs two different x")
    weights = np.ones_like(u)
    if standard_errors is not None:
        errors = as_sample(standard_errors, at_least=at_least, what="standard errors")
        if errors.shape != u.shape or errors.min() <= 0:
            raise DataError(
                f"standard errors {errors.tolist()}", "expected one positive number a y"
            )
        weights = np.square(ordinate / errors)
    centre = np.average(u, weights=weights)
    spread = float((weights * np.square(u - centre)).sum())
    slope = float((weights * (u - centre) * v).sum()) / spread
    intercept = float(np.average(v, weights=weights) - slope * centre)
    residuals = v - intercept - slope * u
    if standard_errors is None:
        free = u.size - 2
        error = math.sqrt(float(np.square(residuals).sum()) / free / spread)
        half = float(scipy.stats.t.isf((1 - confidence) / 2, free)) * error
    else:
        error = 1 / math.sqrt(spread)
        half = float(scipy.stats.norm.isf((1 - confidence) / 2)) * error
    interval = Interval(
        slope, slope - half, slope + half, confidence, u.size, "least squares", error
    )
    return PowerLaw(interval, intercept, float(np.sqrt(np.square(residuals).mean())))
