"""Comparisons paired on the seed: mean difference, t interval, exact sign-flip test, Holm.

Two estimators that ran with the same seeds shared initialisation, data order and batches, so their
differences per seed are compared. Under the null hypothesis each difference is as likely with the
other sign; all ``2^n`` signs are enumerated up to n = 16, beyond that 99,999 are sampled.

References: Fisher, The Design of Experiments, 1935, section 21 (sign flips); Holm, A Simple
Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, FloatArray, Interval, as_sample
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.stats.reproducible import data_generator

MIN_SEEDS_FOR_P = 6
EXACT_UP_TO = 16
SAMPLED_FLIPS = 99_999


@dataclass(frozen=True, slots=True)
class SignFlip:
    """Result of a sign-flip test.

    Args:
        p: Two-sided p-value.
        exact: Whether all ``2^n`` sign patterns were counted.
    """

    p: float
    exact: bool


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """``row - other`` over the seeds that both have.

    Args:
        row: Name of the first row.
        other: Name of the second row.
        n: Number of shared seeds.
        difference: Mean difference with its t interval.
        std: Standard deviation of the differences, ddof = 1.
        p: Two-sided sign-flip p-value.
        p_holm: The same after Holm's adjustment over the family; ``p`` outside of a family.
        exact: Whether ``p`` counts every sign pattern.
        unmatched: Seeds that only one of the two has; they did not enter.
    """

    row: str
    other: str
    n: int
    difference: Interval
    std: float
    p: float
    p_holm: float
    exact: bool
    unmatched: tuple[int, ...] = ()

    @property
    def printed_p(self) -> float | None:
        """The adjusted p-value, or None where it must not be printed (too few seeds)."""
        return self.p_holm if should_print_p(self.n) else None


def should_print_p(n: int) -> bool:
    """Whether n paired seeds carry a p-value: from 6 (n = 5 cannot reach two-sided 0.05)."""
    return n >= MIN_SEEDS_FOR_P


def sign_flip_test(differences: ArrayLike) -> SignFlip:
    """Return the two-sided sign-flip p-value of "the differences are symmetric about 0".

    Args:
        differences: One paired difference a seed, shape ``(n,)``.

    Raises:
        DataError: Empty, or a difference that is not finite.
    """
    sample = np.sort(as_sample(differences, what="differences"))
    if not sample.any():
        return SignFlip(1.0, True)
    if sample.size == 1:
        return SignFlip(1.0, True)  # two sign patterns, both as extreme as the observed one
    exact = sample.size <= EXACT_UP_TO
    result = stats.permutation_test(
        (sample,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**sample.size if exact else SAMPLED_FLIPS,
        batch=8_192,
        random_state=data_generator(sample, label="sign-flip"),
    )
    return SignFlip(float(result.pvalue), exact)


def holm(p_values: ArrayLike) -> FloatArray:
    """Return Holm's step-down adjusted p-values, in the order given.

    The i-th smallest of m becomes ``max_{j<=i} min(1, (m - j + 1) p_(j))``.

    Args:
        p_values: Unadjusted p-values, shape ``(m,)``.
    """
    p = as_sample(p_values, at_least=0, what="p-values")
    if ((p < 0) | (p > 1)).any():
        raise DataError(f"p-values outside [0, 1]: {p.tolist()}", "expected probabilities")
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def compare_paired(
    row: Mapping[int, float],
    other: Mapping[int, float],
    *,
    names: tuple[str, str] = ("row", "other"),
    confidence: float = 0.95,
) -> PairedComparison:
    """Compare two rows on the seeds that both have.

    Args:
        row: Seed to value.
        other: Seed to value.
        names: Names of the two rows.
        confidence: Nominal coverage of the t interval.

    Raises:
        DataError: Fewer than two shared seeds, or a value that is not finite.
    """
    shared = sorted(row.keys() & other.keys())
    differences = as_sample(
        [row[seed] - other[seed] for seed in shared],
        at_least=2,
        what=f"differences {names[0]} - {names[1]} on shared seeds",
    )
    test = sign_flip_test(differences)
    return PairedComparison(
        row=names[0],
        other=names[1],
        n=len(shared),
        difference=mean_interval(differences, confidence),
        std=float(differences.std(ddof=1)),
        p=test.p,
        p_holm=test.p,
        exact=test.exact,
        unmatched=tuple(sorted(row.keys() ^ other.keys())),
    )


def compare_family(
    rows: Mapping[str, Mapping[int, float]], baseline: str, *, confidence: float = 0.95
) -> tuple[PairedComparison, ...]:
    """Compare every row with ``baseline``, p-values Holm-adjusted over those that can be tested.

    Args:
        rows: Row name to (seed to value); ``baseline`` is one of them.
        baseline: The row that all others are compared with.
        confidence: Nominal coverage of each t interval (not adjusted).

    Returns:
        One comparison ``other - baseline`` for every other row, in the order of ``rows``.
    """
    if baseline not in rows:
        raise DataError(f"no row {baseline!r}", f"expected one of {', '.join(rows)}")
    comparisons = [
        compare_paired(values, rows[baseline], names=(name, baseline), confidence=confidence)
        for name, values in rows.items()
        if name != baseline
    ]
    testable = [c.p for c in comparisons if should_print_p(c.n)]
    adjusted = iter(holm(testable))
    return tuple(
        replace(c, p_holm=float(next(adjusted))) if should_print_p(c.n) else c for c in comparisons
    )
