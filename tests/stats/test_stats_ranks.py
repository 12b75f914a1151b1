"""The max-min permutation test against full enumeration, and what it must not depend on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nasbench_snas.stats import detectable_difference, max_min_p, told_from_best
from nasbench_snas.stats.ranks import PERMUTATIONS, critical_range, scores


def enumerated_p(values: np.ndarray) -> float:
    """Return the p-value by all permutations within seeds, ``values (n, k)`` without ties."""
    n, k = values.shape
    orders = np.array(list(itertools.permutations(range(1, k + 1))), dtype=float)
    ranks = np.argsort(np.argsort(values, axis=1), axis=1) + 1.0
    observed = np.ptp(scores(ranks))
    every = orders[np.array(list(itertools.product(range(len(orders)), repeat=n)))]
    return float(np.mean(np.ptp(scores(every), axis=1) >= observed - 1e-9))


@pytest.mark.parametrize(("n", "k"), [(4, 3), (6, 2), (3, 4), (5, 3)])
def test_drawn_permutations_agree_with_all_of_them(n, k):
    rng = np.random.default_rng(n * 10 + k)
    for _ in range(3):
        values = rng.normal(size=(n, k)) + np.arange(k)
        exact = enumerated_p(values)
        error = math.sqrt(exact * (1 - exact) / PERMUTATIONS)
        assert abs(max_min_p(values) - exact) < 4.5 * error + 1 / PERMUTATIONS


def test_score_is_the_mean_rank_over_the_larger_of_two_deviations():
    ranks = np.array([[1.0, 2, 3], [3, 2, 1], [1, 2, 3], [3, 2, 1]])
    # row 0: mean 2 is the middle; its variance 4/3 exceeds 2/3 of a random order
    assert scores(ranks) == pytest.approx([0, 0, 0])
    assert scores(np.array([[1.0, 2, 3]] * 4)) == pytest.approx(
        [-math.sqrt(1.5), 0, math.sqrt(1.5)]
    )
    wide = np.array([[1.0, 2, 3], [1, 2, 3], [1, 3, 2], [3, 1, 2]])
    assert scores(wide)[0] == pytest.approx((1.5 - 2) / 1.0)  # variance 1 against 2/3
    assert scores(np.full((3, 2), 1.5)) == pytest.approx([0, 0])


def test_order_of_rows_and_seeds_and_any_increasing_map_do_not_matter():
    values = np.random.default_rng(0).normal(size=(8, 5)) + [0, 1, 2, 2, 2]
    p = max_min_p(values)
    assert max_min_p(values[::-1, [3, 1, 4, 0, 2]]) == p == max_min_p(np.exp(values))
    told = told_from_best(values)
    assert list(told) == [0] and told_from_best(values[:, ::-1]).keys() == {4}


def test_rows_are_told_step_by_step_worst_first_with_p_values_that_do_not_fall():
    noise = np.random.default_rng(1).normal(size=(10, 4))
    told = told_from_best(noise + [0, -4, 0, -8])
    assert list(told) == [3, 1] and list(told.values()) == sorted(told.values())


def test_rows_that_tie_at_the_bottom_are_told_together_and_equal_rows_are_never_told():
    low = np.random.default_rng(2).normal(size=8)
    assert set(told_from_best(np.stack([low, low, low + 9], axis=1))) == {0, 1}
    assert told_from_best(np.stack([low] * 4, axis=1)) == {}
    assert told_from_best(np.stack([low, np.full(8, -np.inf)], axis=1)).keys() == {1}


def test_detectable_difference_shrinks_with_seeds_and_follows_the_unit():
    rng = np.random.default_rng(3)
    # of ten tables each: medians 2.1 and 1.0, standard deviations of one table .4 and .1
    few, many = (
        np.median([detectable_difference(rng.normal(size=(n, 5))) for _ in range(10)])
        for n in (6, 20)
    )
    assert 1.6 < few < 2.9 and 0.8 < many < 1.3
    few = rng.normal(size=(6, 5))
    assert detectable_difference(7 * few + 3) == pytest.approx(
        7 * detectable_difference(few), rel=1e-6
    )
    assert detectable_difference(few, power=0.95) > detectable_difference(few)


@pytest.mark.parametrize("shape", [(5, 2), (3, 3), (1, 5), (5, 1)])
def test_where_no_difference_can_be_decided_it_is_infinite(shape):
    assert math.isinf(detectable_difference(np.random.default_rng(4).normal(size=shape)))
    assert math.isinf(critical_range(5, 2)) and math.isfinite(critical_range(6, 2))
