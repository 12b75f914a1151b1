"""The interval type that every statistic returns, and the checks of its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_snas.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
ArrayLike = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with a two-sided confidence interval.

    Args:
        estimate: The point estimate. For a debiased square it may be negative.
        low: Lower end; ``-inf`` or NaN where it does not exist.
        high: Upper end.
        confidence: Nominal coverage, 0.95 for "95 %".
        n: Number of independent replicates behind it (seeds, or draws).
        method: Short name of the method: ``t``, ``percentile``, ``BCa``, ``jackknife`` …
        standard_error: Standard error on the scale of ``estimate``; NaN where the method has none.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    method: str
    standard_error: float = math.nan

    @property
    def half_width(self) -> float:
        """Half of the length of the interval."""
        return (self.high - self.low) / 2

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies in the closed interval."""
        return self.low <= value <= self.high


def check_confidence(confidence: float) -> None:
    """Raise ConfigError unless ``confidence`` lies strictly between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise ConfigError(
            f"confidence = {confidence!r} is not a probability",
            "expected a number strictly between 0 and 1",
            "pass 0.95 for a 95 % interval",
        )


def as_sample(values: ArrayLike, *, at_least: int = 1, what: str = "values") -> FloatArray:
    """Return ``values`` as a finite float64 vector.

    Args:
        values: One number a replicate, shape ``(n,)``.
        at_least: Smallest n that the caller's formula needs.
        what: Name of the sample in the error message.

    Returns:
        The sample, shape ``(n,)``.

    Raises:
        DataError: Not one-dimensional, too short, or not finite (a failed run has no value: leave
            it out and count it).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size < at_least:
        raise DataError(
            f"{what} has shape {sample.shape}",
            f"expected one dimension with at least {at_least} replicate(s)",
            "average child samples, batches and repeats first; pass one number a seed",
        )
    if not np.isfinite(sample).all():
        raise DataError(
            f"{what} holds {int((~np.isfinite(sample)).sum())} value(s) that are not finite",
            "a run without a value cannot enter a mean",
            "pass the finite values and report the others as failed",
        )
    return sample
