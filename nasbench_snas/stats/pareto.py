"""Two objectives that are both minimised: Pareto front, hypervolume, and its interval over seeds.

A point dominates another if it is nowhere larger and somewhere smaller; the front is what nothing
dominates. The hypervolume of a set is the area that it dominates below a reference point ``r``
(Zitzler & Thiele 1999, doi:10.1109/4235.797969), in two dimensions a sum over the front in the
order of the first objective::

    HV = sum_i (r_1 - x_i) (y_{i-1} - y_i),   y_0 = r_2

What lies beyond the reference point adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.interval import ArrayLike, Interval, as_sample, check_confidence
from nasbench_snas.stats.reproducible import data_generator

Point = tuple[float, float]
RESAMPLES = 10_000


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Return the places of the points that no other dominates, by the first objective.

    Of equal points the first stays.
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (*points[i], i)):
        if not front or points[place][1] < points[front[-1]][1]:
            front.append(place)
    return front


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the area that ``points`` dominate below ``reference``; 0 for none.

    Args:
        points: Both objectives minimised.
        reference: The worst point that counts.

    Raises:
        DataError: A number is not finite.
    """
    if not np.isfinite(np.array([*points, reference], dtype=float)).all():
        raise DataError("a point of the front, or the reference, is not finite.")
    area, height = 0.0, reference[1]
    for place in pareto_front(points):
        x, y = points[place]
        if x < reference[0] and y < height:
            area += (reference[0] - x) * (height - y)
            height = y
    return area


def bootstrap_mean(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean with the percentile bootstrap's interval (Efron 1979).

    The nominal coverage is reached for many values only; with three to ten it is too short.

    Args:
        values: One number a seed, shape ``(n,)``, n >= 2.
        confidence: Nominal coverage.

    Returns:
        The interval, from :data:`RESAMPLES` resamples whose random numbers come from the data.

    Raises:
        DataError: Fewer than two values, or one that is not finite.
    """
    check_confidence(confidence)
    sample = as_sample(values, at_least=2)
    rng = data_generator(sample, label="bootstrap mean")
    means = sample[rng.integers(sample.size, size=(RESAMPLES, sample.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    error = float(means.std(ddof=1))
    mean = float(sample.mean())
    return Interval(mean, float(low), float(high), confidence, sample.size, "percentile", error)
