"""Paired and unpaired comparisons, Holm, profiles: hand-computed examples and exactness."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as sps

from nasbench_snas.errors import DataError
from nasbench_snas.stats import (
    compare_family,
    compare_paired,
    holm,
    mean_interval,
    normalise_scores,
    performance_profile,
    probability_greater,
    probability_of_improvement,
    should_print_p,
    sign_flip_test,
)


@pytest.mark.parametrize(
    ("n", "smallest"),
    [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)],
)
def test_smallest_sign_flip_p_value_is_two_over_two_to_the_n(n, smallest):
    result = sign_flip_test(np.arange(1, n + 1))
    assert result.exact
    assert result.p == pytest.approx(smallest, rel=1e-12)


def test_sign_flip_p_value_equals_enumeration_by_hand():
    d = np.array([1.0, -2.0, 4.0, 3.0, -0.5, 2.5, 1.5])
    flips = np.array(list(itertools.product([1, -1], repeat=len(d))))
    expected = np.mean(np.abs(flips @ d) >= abs(d.sum()) - 1e-12)
    assert sign_flip_test(d).p == pytest.approx(expected, rel=1e-12)


def test_sign_flip_is_one_without_any_difference():
    assert sign_flip_test([0.0] * 8).p == 1


def test_sign_flip_beyond_sixteen_seeds_is_sampled_says_so_and_can_be_rebuilt():
    d = np.random.default_rng(0).normal(0.3, 1, size=20)
    result = sign_flip_test(d)
    assert not result.exact
    assert result == sign_flip_test(d[::-1])
    assert result.p == pytest.approx(sps.ttest_1samp(d, 0).pvalue, abs=0.02)


@pytest.mark.parametrize("trials", [1_500, pytest.param(8_000, marks=pytest.mark.slow)])
def test_sign_flip_level_is_exact_at_six_seeds_even_for_skewed_pairs(trials):
    # X - Y of two iid lognormals is symmetric: P(p <= 2/64) = 2/64, P(p <= 4/64) = 4/64
    rng = np.random.default_rng(1)
    x, y = rng.lognormal(size=(2, trials, 6))
    p = np.array([sign_flip_test(row).p for row in x - y])
    for level in (2 / 64, 4 / 64):
        share = np.mean(p <= level + 1e-12)
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / trials)


def test_holm_equals_the_hand_computed_example():
    # sorted .005 .01 .03 .04 -> x4 .02, x3 .03, x2 .06, x1 .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0
    with pytest.raises(DataError):
        holm([1.2])


def test_holm_keeps_the_familywise_error_below_its_level():
    rng = np.random.default_rng(2)
    wrong = np.mean([holm(row).min() <= 0.05 for row in rng.uniform(size=(10_000, 5))])
    # independent true nulls: P(min p <= .01) = 1 - .99^5 = .049
    assert wrong == pytest.approx(1 - 0.99**5, abs=0.009)


def test_paired_comparison_matches_seeds_and_names_those_it_left_out():
    row = {0: 91.0, 1: 92.0, 2: 93.5, 9: 50.0}
    other = {2: 92.0, 1: 91.0, 0: 90.5, 7: 99.0}
    result = compare_paired(row, other, names=("snas", "darts"))
    assert result.difference == mean_interval([0.5, 1.0, 1.5])
    assert result.std == pytest.approx(0.5)
    assert result.unmatched == (7, 9)
    assert result.p == pytest.approx(0.25)
    assert result.printed_p is None


def test_no_p_value_is_printed_below_six_seeds():
    assert [should_print_p(n) for n in (1, 5, 6, 10)] == [False, False, True, True]
    six = compare_paired({s: s + 1.0 for s in range(6)}, {s: 0.0 for s in range(6)})
    assert six.printed_p == pytest.approx(2 / 64)


def test_family_is_adjusted_over_all_rows_and_keeps_their_order():
    base = dict.fromkeys(range(8), 0.0)
    rows = {
        "far": {s: 1.0 + s for s in range(8)},
        "base": base,
        "near": {s: (-1.0) ** s * (s + 1) for s in range(8)},
    }
    far, near = compare_family(rows, "base")
    assert (far.row, near.row, far.other) == ("far", "near", "base")
    assert far.p == pytest.approx(2 / 256)
    assert far.p_holm == pytest.approx(4 / 256)
    assert near.p_holm == near.p > 0.1
    with pytest.raises(DataError):
        compare_family(rows, "absent")


def test_rows_with_too_few_seeds_to_be_tested_do_not_count_in_holms_family():
    base = dict.fromkeys(range(8), 0.0)
    rows = {"base": base, "far": {s: 1.0 + s for s in range(8)}}
    rows |= {f"short {i}": {0: 1.0, 1: 2.0, 2: 3.0} for i in range(9)}
    far, *short = compare_family(rows, "base")
    assert far.p_holm == pytest.approx(2 / 256)
    assert all(c.printed_p is None for c in short)


def test_probability_greater_counts_pairs_and_halves_ties():
    # pairs (x, y): 3>1, 3>2, 3=3, 2>1, 2=2, 2<3 -> (3 + 2 / 2) / 6
    result = probability_greater([3, 2], [1, 2, 3])
    assert result.probability.estimate == pytest.approx(4 / 6)
    assert not result.separated


def test_probability_greater_of_separated_samples_says_that_its_interval_is_blind():
    result = probability_greater([5, 6, 7], [1, 2, 3])
    assert (result.probability.low, result.probability.high) == (1, 1)
    assert result.separated


def test_probability_of_improvement_is_the_mean_over_spaces():
    result = probability_of_improvement([[3, 2], [0, 1]], [[1, 2, 3], [5, 6]])
    assert result.probability.estimate == pytest.approx((4 / 6 + 0) / 2)
    with pytest.raises(DataError):
        probability_of_improvement([[1, 2]], [])


@pytest.mark.parametrize("trials", [200, pytest.param(1_000, marks=pytest.mark.slow)])
def test_probability_greater_covers_the_true_probability_at_twenty_seeds(trials):
    truth = sps.norm.cdf(0.5 / math.sqrt(2))
    rng = np.random.default_rng(4)
    covered = np.mean(
        [
            probability_greater(
                rng.normal(0.5, 1, 20), rng.normal(0, 1, 20), n_resamples=1_000
            ).probability.covers(truth)
            for _ in range(trials)
        ]
    )
    # percentile intervals of 2 x 20 values: .92 to .96
    assert abs(covered - 0.94) < 0.02 + 4 * math.sqrt(0.94 * 0.06 / trials)


def test_scores_are_zero_for_random_search_and_one_for_the_best():
    assert normalise_scores([90, 95, 92], 90, 95) == pytest.approx([0, 1, 0.4])
    with pytest.raises(DataError):
        normalise_scores([90], 95, 95)


def test_performance_profile_counts_runs_above_each_threshold_and_averages_spaces():
    profile = performance_profile([[0.1, 0.5, 0.9, 0.9], [0.5, 0.6]], [0.0, 0.5, 0.7, 1.0])
    assert profile.share == pytest.approx([1, (0.5 + 0.5) / 2, (0.5 + 0) / 2, 0])
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()
    assert profile.low[0] == profile.high[0] == 1
    assert profile.n_runs == (4, 2)


def test_performance_profile_band_equals_the_binomial_quantiles():
    sample = np.r_[np.zeros(12), np.ones(18)]
    profile = performance_profile([sample], [0.5], n_resamples=40_000)
    expected = sps.binom.ppf([0.025, 0.975], 30, 0.6) / 30
    assert [profile.low[0], profile.high[0]] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("thresholds", [[0.5, 0.5], [1.0, 0.0], []])
def test_performance_profile_refuses_thresholds_that_do_not_increase(thresholds):
    with pytest.raises(DataError):
        performance_profile([[0.1, 0.2]], thresholds)
