"""Front and hypervolume against counting cells of a grid; the bootstrap against its expectation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nasbench_snas.errors import DataError
from nasbench_snas.stats.pareto import bootstrap_mean, hypervolume, pareto_front


@pytest.mark.parametrize("seed", range(20))
def test_front_and_hypervolume_are_those_of_brute_force(seed: int) -> None:
    """Whole coordinates: the area is the number of unit cells with a point at or below them."""
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.integers(0, 14, size=(rng.integers(0, 9), 2))]
    reference = (10.0, 12.0)
    front = {points[place] for place in pareto_front(points)}
    kept = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert front == kept
    cells = product(range(10), range(12))
    area = sum(any(x <= i and y <= j for x, y in points) for i, j in cells)
    assert hypervolume(points, reference) == area


def test_equal_points_stand_once_and_what_is_beyond_the_reference_adds_nothing() -> None:
    assert pareto_front([(2.0, 1.0), (1.0, 2.0), (1.0, 2.0)]) == [1, 0]
    assert hypervolume([(5.0, 0.0), (0.0, 5.0)], (4.0, 4.0)) == 0
    assert hypervolume([], (4.0, 4.0)) == 0
    with pytest.raises(DataError):
        hypervolume([(float("nan"), 0.0)], (1.0, 1.0))


def test_the_bootstrap_has_the_spread_of_all_resamples_and_is_repeatable() -> None:
    """Two values: the mean of a resample is 0, 1/2, 1 with chances 1/4, 1/2, 1/4."""
    found = bootstrap_mean([0.0, 1.0], 0.6)
    assert (found.estimate, found.n, found.method) == (0.5, 2, "percentile")
    assert (found.low, found.high) == (0.0, 1.0)
    assert (bootstrap_mean([0.0, 1.0], 0.4).low, bootstrap_mean([0.0, 1.0], 0.4).high) == (0.5, 0.5)
    values = np.random.default_rng(0).normal(size=40)
    one, two = bootstrap_mean(values), bootstrap_mean(values)
    assert one == two and one.covers(one.estimate)
    error = values.std() / np.sqrt(40)
    assert one.standard_error == pytest.approx(error, rel=0.05)  # 10,000 resamples: 0.7 %
    with pytest.raises(DataError):
        bootstrap_mean([1.0])
