"""Intervals of a mean, IQM and two-level means against closed forms, and their coverage."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from scipy import stats as sps

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats import (
    bootstrap_interval,
    data_seed,
    hierarchical_bootstrap,
    interquartile_mean,
    iqm,
    mean_interval,
    stratified_bootstrap,
)


def binomial_band(p: float, trials: int, z: float = 4.0) -> float:
    """Return z standard deviations of an observed share."""
    return z * math.sqrt(p * (1 - p) / trials)


def test_t_interval_of_five_values_equals_the_hand_computed_one():
    # mean 3, s = sqrt(2.5), t_{4, .975} = 2.7764451 from printed tables
    interval = mean_interval([1, 2, 3, 4, 5])
    half = 2.7764451052 * math.sqrt(2.5 / 5)
    assert interval.estimate == 3
    assert interval.low == pytest.approx(3 - half, rel=1e-9)
    assert interval.high == pytest.approx(3 + half, rel=1e-9)
    assert interval.standard_error == pytest.approx(math.sqrt(0.5))
    assert interval.half_width == pytest.approx(half)


@pytest.mark.parametrize("values", [[1.0], [], [[1.0, 2.0]], [1.0, math.nan]])
def test_an_interval_refuses_what_has_no_spread_or_no_value(values):
    with pytest.raises(DataError):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_that_is_no_probability_is_refused(confidence):
    with pytest.raises(ConfigError):
        mean_interval([1, 2], confidence)


def test_seed_is_blake2_of_label_shape_and_little_endian_doubles():
    import hashlib

    payload = b"x" + b"(2,)" + struct.pack("<2d", 1.5, -2.0)
    expected = int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "little")
    assert data_seed([1.5, -2.0], label="x") == expected
    assert data_seed([0.0]) == data_seed([-0.0])
    assert len({data_seed([1, 2]), data_seed([2, 1]), data_seed([1, 2], label="x")}) == 3


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_bootstrap_interval_is_rebuilt_by_anyone_whatever_the_order(method):
    values = np.random.default_rng(0).normal(size=12)
    first = bootstrap_interval(values, method=method)
    np.random.seed(1)  # noqa: NPY002  the global generator must not matter
    assert bootstrap_interval(values[::-1], method=method) == first
    assert bootstrap_interval(values + 1e-9, method=method) != first


def test_percentile_bootstrap_of_two_values_covers_both():
    # the bootstrap mean of {0, 1} is 0, 1/2, 1 with probability 1/4, 1/2, 1/4
    interval = bootstrap_interval([0, 1], method="percentile")
    assert (interval.low, interval.high) == (0, 1)
    assert interval.standard_error == pytest.approx(math.sqrt(1 / 8), rel=0.02)


def test_bootstrap_of_equal_values_is_a_point_and_not_nan():
    interval = bootstrap_interval([2.0] * 6)
    assert (interval.low, interval.high, interval.standard_error) == (2, 2, 0)


def test_bca_falls_back_to_percentile_where_it_is_undefined():
    values = [1, 3, 3, 3, 3, 3, 9]  # the median does not change when one value is left out
    interval = bootstrap_interval(values, np.median)
    assert interval.method == "percentile (BCa undefined)"
    assert (interval.low, interval.high) == (3, 3)  # P(4 of 7 draws are the 9) = 1 %


def test_a_stratum_of_one_value_is_refused_by_name():
    with pytest.raises(DataError, match="one value"):
        stratified_bootstrap([[1.0], [1.0, 2.0]], lambda a, b, axis: a.mean(axis) + b.mean(axis))


def test_iqm_of_eight_values_is_the_mean_of_the_middle_four():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == 3.5
    assert interquartile_mean([1, 2, 3]) == 2  # floor(3 / 4) = 0 values are cut
    assert iqm([100, 1, 2, 3, 4, 5, 6, -50]).estimate == 3.5
    assert iqm([[100, 1, 2, 3], [4, 5, 6, -50]]).estimate == 3.5


def test_a_collapsed_run_moves_the_mean_and_hardly_the_iqm():
    values = np.r_[np.linspace(90, 91, 11), 10.0]
    assert values.mean() < 84
    assert 90.2 < iqm(values).estimate < 90.8


def test_iqm_bootstrap_resamples_every_stratum_by_itself():
    # each stratum has no spread: resampling within strata cannot change the pooled sample
    interval = iqm([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert interval.estimate == interval.low == interval.high == 0.5
    pooled = iqm([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert pooled.low < 0.5 < pooled.high


def test_two_level_mean_averages_repeats_first_and_shows_both_n():
    result = hierarchical_bootstrap([[1.0, 3.0], [5.0], [6.0, 6.0, 9.0]])
    assert result.search_means == (2.0, 5.0, 7.0)
    assert result.bootstrap.estimate == pytest.approx(14 / 3)
    assert (result.n_search, result.n_retrain) == (3, 6)
    assert result.t == mean_interval([2.0, 5.0, 7.0])


def test_repeats_of_one_cell_do_not_count_as_searches():
    narrow = hierarchical_bootstrap([[1.0] * 50, [3.0] * 50, [5.0] * 50])
    few = hierarchical_bootstrap([[1.0], [3.0], [5.0]])
    assert narrow.t == few.t
    assert narrow.bootstrap.half_width == pytest.approx(few.bootstrap.half_width, rel=0.02)
    with pytest.raises(DataError):
        hierarchical_bootstrap([[1.0, 2.0, 3.0]])


def test_hierarchical_bootstrap_variance_equals_its_closed_form():
    rng = np.random.default_rng(3)
    groups = list(rng.normal(size=(6, 4)) + rng.normal(size=(6, 1)))
    means = np.array([g.mean() for g in groups])
    first = means.var(ddof=0) / 6
    second = np.mean([g.var(ddof=0) / 4 for g in groups]) / 6
    result = hierarchical_bootstrap(groups, n_resamples=40_000)
    # relative error of a variance from 40,000 near-normal values: sqrt(2 / 40,000) = .7 %
    assert result.bootstrap.standard_error**2 == pytest.approx(first + second, rel=0.03)


def test_hierarchical_bootstrap_with_unequal_repeats_draws_each_equally_often():
    groups = [[0.0, 1.0], [0.0, 0.0, 1.0], [1.0]]
    result = hierarchical_bootstrap(groups, n_resamples=40_000)
    means = np.array([1 / 2, 1 / 3, 1.0])
    within = np.mean([1 / 4 / 2, 2 / 9 / 3, 0.0]) / 3
    expected = means.var() / 3 + within
    assert result.bootstrap.standard_error**2 == pytest.approx(expected, rel=0.03)


def test_t_interval_at_five_seeds_covers_95_percent_of_the_time():
    trials = 4_000
    data = np.random.default_rng(5).normal(3, 2, size=(trials, 5))
    covered = np.mean([mean_interval(row).covers(3) for row in data])
    assert abs(covered - 0.95) < binomial_band(0.95, trials)


def test_percentile_bootstrap_at_five_seeds_covers_too_little_as_documented():
    trials = 400
    data = np.random.default_rng(6).normal(size=(trials, 5))
    covered = np.mean(
        [bootstrap_interval(r, method="percentile", n_resamples=1_000).covers(0) for r in data]
    )
    assert abs(covered - 0.84) < binomial_band(0.84, trials)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "expected"), [(3, 0.755), (5, 0.841), (10, 0.911), (20, 0.935)])
def test_percentile_bootstrap_coverage_agrees_with_the_documented_table(n, expected):
    trials = 1_500
    data = np.random.default_rng(n).normal(size=(trials, n))
    covered = np.mean(
        [bootstrap_interval(r, method="percentile", n_resamples=2_000).covers(0) for r in data]
    )
    # both numbers come from 1,500 trials, so their difference has twice the variance
    assert abs(covered - expected) < math.sqrt(2) * binomial_band(expected, trials)


@pytest.mark.slow
def test_iqm_interval_at_twenty_seeds_covers_at_least_nine_in_ten():
    trials = 1_000
    data = np.random.default_rng(8).normal(size=(trials, 20))
    covered = np.mean([iqm(r, n_resamples=1_000).covers(0) for r in data])
    assert 0.90 < covered + binomial_band(0.9, trials) and covered < 0.97


@pytest.mark.parametrize("trials", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_hierarchical_bootstrap_covers_with_twelve_noisy_searches(trials):
    rng = np.random.default_rng(9)
    boot, t = 0, 0
    for _ in range(trials):
        groups = rng.normal(size=(12, 1)) + rng.normal(scale=1.5, size=(12, 3))
        result = hierarchical_bootstrap(list(groups), n_resamples=1_000)
        boot += result.bootstrap.covers(0)
        t += result.t.covers(0)
    # variance ratio of the bootstrap mean: (11/12 * 1.75 + 2/3 * 0.75) / 1.75 = 1.20, so it covers
    # 2 Phi(1.96 sqrt(1.20)) - 1 = .968 with a known variance, less for 11 degrees of freedom
    ratio = math.sqrt((11 / 12 * 1.75 + 2 / 3 * 0.75) / 1.75)
    expected = 1 - 2 * sps.t.sf(1.96 * ratio, 11)
    assert abs(boot / trials - expected) < binomial_band(expected, trials) + 0.01
    assert abs(t / trials - 0.95) < binomial_band(0.95, trials)
