"""Equal compute, decomposition of variance, slopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats import (
    Costed,
    break_even_budget,
    coordinate_groups,
    decompose_draws,
    decompose_variance,
    fit_power_law,
    mse_at_budget,
)

D = 6
MIX = np.random.default_rng(100).normal(size=(D, D))
TRACE = float(np.square(MIX).sum())
TRUTH = np.array([1.0, -2.0, 0.5, 0.0, 1.5, 3.0])
GROUPS = coordinate_groups(2, 3)


def test_break_even_budget_is_where_both_errors_meet():
    biased, unbiased = Costed(0.04, 1.0, 9.0), Costed(0.0, 13.0, 1.0)
    budget = break_even_budget(biased, unbiased)
    assert budget == pytest.approx((13 - 9) / 0.04)
    assert mse_at_budget(biased, budget) == pytest.approx(mse_at_budget(unbiased, budget))
    assert mse_at_budget(biased, budget / 2) < mse_at_budget(unbiased, budget / 2)
    assert mse_at_budget(biased, budget * 2) > mse_at_budget(unbiased, budget * 2)


@pytest.mark.parametrize(
    ("biased", "expected"),
    [
        (Costed(0.1, 20, 1), 0.0),
        (Costed(0.0, 20, 1), 0.0),
        (Costed(0.0, 5, 1), math.inf),
        (Costed(-0.01, 13, 1), math.inf),
    ],
)
def test_break_even_budget_at_its_limits(biased, expected):
    assert break_even_budget(biased, Costed(0.0, 13.0, 1.0)) == expected


def test_break_even_budget_is_nan_where_there_is_none():
    assert math.isnan(break_even_budget(Costed(0, 13, 1), Costed(0, 13, 1)))
    assert math.isnan(break_even_budget(Costed(-0.1, 20, 1), Costed(0, 13, 1)))
    for variance, cost in ((1, 0), (-1, 1), (math.nan, 1)):
        with pytest.raises(ConfigError):
            Costed(0, variance, cost)
    with pytest.raises(ConfigError):
        mse_at_budget(Costed(0, 1, 1), 0)


def test_decomposition_equals_the_hand_computed_one():
    # batches {0, 2}, {4, 6}, {5, 13}: traces 2, 2, 32; means 1, 5, 9
    parts = decompose_draws(np.array([[[0.0], [2.0]], [[4.0], [6.0]], [[5.0], [13.0]]]))
    assert parts.within.estimate == pytest.approx(12)
    assert parts.between.estimate == pytest.approx(16 - 12 / 2)
    assert parts.share.estimate == pytest.approx(12 / 22)
    assert parts.best_draws_per_batch(4.0, 1.0) == pytest.approx(math.sqrt(4 * 12 / 10))
    assert parts.best_draws_per_batch(0.1, 1.0) == 1
    assert (parts.n_batches, parts.draws_per_batch) == (3, 2)


def test_decomposition_of_unequal_batches_takes_off_each_ones_own_noise():
    parts = decompose_variance([[1.0], [5.0], [9.0]], [2.0, 2.0, 32.0], [2, 2, 8])
    assert parts.within.estimate == pytest.approx(12)
    assert parts.between.estimate == pytest.approx(16 - (1 + 1 + 4) / 3)
    assert parts.draws_per_batch == pytest.approx(8 / 3)
    with pytest.raises(DataError, match="two draws a batch"):
        decompose_variance([[1.0], [5.0], [9.0]], [2.0, 2.0, 32.0], [2, 1, 8])


def test_decomposition_keeps_a_negative_between_component():
    parts = decompose_draws(np.array([[[0.0], [2.0]], [[0.1], [2.1]], [[2.0], [0.0]]]))
    assert parts.between.estimate < 0
    assert parts.best_draws_per_batch(1, 1) == math.inf
    with pytest.raises(DataError):
        decompose_draws(np.zeros((5, 1, 3)))


@pytest.mark.parametrize("trials", [400, pytest.param(2_500, marks=pytest.mark.slow)])
def test_decomposition_is_unbiased_and_covers(trials):
    rng = np.random.default_rng(30)
    within, between, hits = [], [], np.zeros(2)
    for _ in range(trials):
        batch = rng.normal(scale=[0.5, 1.0, 0.0], size=(40, 1, 3))
        parts = decompose_draws(batch + rng.normal(scale=[1.0, 2.0, 1.0], size=(40, 4, 3)))
        within.append(parts.within.estimate)
        between.append(parts.between.estimate)
        hits += [parts.within.covers(6.0), parts.between.covers(1.25)]
    for estimates, truth in ((within, 6.0), (between, 1.25)):
        assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / math.sqrt(trials)
    assert (hits / trials > 0.95 - 0.03 - 4 * math.sqrt(0.95 * 0.05 / trials)).all()


def test_slope_of_a_pure_power_law_is_exact():
    x = np.array([0.1, 0.05, 0.03, 0.01])
    fit = fit_power_law(x, 3 * x**1.7)
    assert fit.slope.estimate == pytest.approx(1.7)
    assert fit.slope.standard_error == pytest.approx(0, abs=1e-12)
    assert math.exp(fit.intercept) == pytest.approx(3)


def test_slope_and_error_equal_those_of_scipy():
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    y = np.array([1.1, 1.9, 4.5, 7.2, 18.0])
    theirs = sps.linregress(np.log(x), np.log(y))
    ours = fit_power_law(x, y)
    assert ours.slope.estimate == pytest.approx(theirs.slope)
    assert ours.slope.standard_error == pytest.approx(theirs.stderr)
    assert ours.intercept == pytest.approx(theirs.intercept)
    half = sps.t.isf(0.025, 3) * theirs.stderr
    assert ours.slope.high - ours.slope.estimate == pytest.approx(half)
    residuals = np.log(y) - theirs.intercept - theirs.slope * np.log(x)
    assert ours.residual == pytest.approx(math.sqrt(np.square(residuals).mean()))


def test_weighted_slope_equals_numpy_with_unscaled_covariance():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    y, errors = np.array([1.1, 1.9, 4.5, 7.2]), np.array([0.1, 0.1, 0.9, 0.3])
    coefficients, covariance = np.polyfit(np.log(x), np.log(y), 1, w=y / errors, cov="unscaled")
    fit = fit_power_law(x, y, errors)
    assert fit.slope.estimate == pytest.approx(coefficients[0])
    assert fit.slope.standard_error == pytest.approx(math.sqrt(covariance[0, 0]))
    half = sps.norm.isf(0.025) * math.sqrt(covariance[0, 0])
    assert fit.slope.estimate - fit.slope.low == pytest.approx(half)
    with pytest.raises(DataError, match="one positive number"):
        fit_power_law(x, y, [0.1, 0.1, 0.0, 0.3])
    assert fit_power_law(x[:2], y[:2], errors[:2]).residual == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError):
        fit_power_law(x[:2], y[:2])


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, -2, 3]), ([1, 1, 1], [1, 2, 3])]
)
def test_slope_refuses_points_without_a_logarithm_or_a_spread(x, y):
    with pytest.raises(DataError):
        fit_power_law(x, y)
