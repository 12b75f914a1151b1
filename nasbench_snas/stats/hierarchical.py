"""Two-level designs: search seeds, and several retrain seeds of each search's cell.

The unit of replication is the search seed: its repeats are averaged first, and the estimate is the
mean of those averages. The hierarchical bootstrap draws search seeds with replacement and, in each
of them, retrain seeds with replacement.

The variance of a bootstrap mean is then, for n searches of m repeats with the usual components,
``(n-1)/n (sb² + sw²/m)/n + (m-1)/m sw²/(n m)`` in expectation: the second level counts the repeat
noise once more, which makes up for the shrinkage of the first where repeats are noisy, and not
where they are not. With few searches both matter little against Student's t, which is why the t
interval of the per-search averages is returned as well and is the one to quote below 10 searches.

Reference: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import (
    ArrayLike,
    FloatArray,
    Interval,
    as_sample,
    check_confidence,
)
from nasbench_snas.stats.means import DEFAULT_RESAMPLES, mean_interval
from nasbench_snas.stats.reproducible import data_generator


@dataclass(frozen=True, slots=True)
class TwoLevelMean:
    """Mean over searches of the mean over their repeats.

    Args:
        bootstrap: Hierarchical percentile bootstrap interval.
        t: Student's t interval of the per-search averages.
        n_search: Number of search seeds.
        n_retrain: Number of all retrained networks.
        search_means: Per-search averages, as a tuple, in the order given.
    """

    bootstrap: Interval
    t: Interval
    n_search: int
    n_retrain: int
    search_means: tuple[float, ...]


def hierarchical_bootstrap(
    groups: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> TwoLevelMean:
    """Return the two-level mean with its hierarchical bootstrap and t intervals.

    Args:
        groups: One vector a search seed, holding one number a retrain seed; lengths may differ.
        confidence: Nominal coverage.
        n_resamples: Number of bootstrap samples.

    Raises:
        DataError: Fewer than two searches, an empty one, or a value that is not finite.
    """
    check_confidence(confidence)
    if len(groups) < 2:
        raise DataError(
            f"{len(groups)} search seed(s)",
            "a two-level design needs at least two; repeats of one cell do not replace them",
            "run more search seeds",
        )
    samples = [as_sample(group, what=f"search {i}") for i, group in enumerate(groups)]
    samples.sort(key=lambda sample: (sample.mean(), sample.size))
    means = np.array([as_sample(group).mean() for group in groups])
    resampled = _resample(samples, n_resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    bootstrap = Interval(
        estimate=float(means.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        n=len(groups),
        method="hierarchical percentile",
        standard_error=float(resampled.std(ddof=1)),
    )
    return TwoLevelMean(
        bootstrap=bootstrap,
        t=mean_interval(means, confidence),
        n_search=len(groups),
        n_retrain=sum(sample.size for sample in samples),
        search_means=tuple(float(mean) for mean in means),
    )


def _resample(samples: list[FloatArray], n_resamples: int) -> FloatArray:
    """Return bootstrap means, shape ``(n_resamples,)``, resampling both levels."""
    generator = data_generator(*samples, label="hierarchical")
    n_search = len(samples)
    sizes = np.array([sample.size for sample in samples])
    padded = np.zeros((n_search, sizes.max()))
    for row, sample in zip(padded, samples, strict=True):
        row[: sample.size] = sample
    chosen = generator.integers(n_search, size=(n_resamples, n_search))
    total = np.zeros(n_resamples)
    for slot in range(n_search):  # one slot at a time keeps memory at n_resamples x repeats
        search = chosen[:, slot]
        uniform = generator.random((n_resamples, sizes.max()))
        index = np.floor(uniform * sizes[search, None]).astype(np.int64)
        kept = np.arange(sizes.max()) < sizes[search, None]
        drawn = padded[search[:, None], index]
        total += (drawn * kept).sum(axis=1) / sizes[search]
    return total / n_search
