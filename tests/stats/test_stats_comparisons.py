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
    holm,
    median_interval,
    normalise_scores,
    performance_profile,
    probability_greater,
    probability_of_improvement,
    sign_test,
    smallest_sample,
)


@pytest.mark.parametrize(
    ("n", "smallest"),
    [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)],
)
def test_smallest_p_value_of_the_sign_test_is_two_over_two_to_the_n(n, smallest):
    assert sign_test(np.arange(1, n + 1)) == pytest.approx(smallest, rel=1e-12)
    assert (n >= smallest_sample()) == (smallest <= 0.05)


def test_sign_test_equals_the_enumeration_of_all_signs():
    d = np.array([1.0, -2.0, 4.0, 3.0, 0.5, 2.5, 1.5])
    signs = np.array(list(itertools.product([1, -1], repeat=len(d))))
    observed = abs(np.sign(d).sum())
    assert sign_test(d) == pytest.approx(np.mean(abs(signs.sum(axis=1)) >= observed), rel=1e-12)
    assert sign_test(d) == pytest.approx(sps.binomtest(6, 7).pvalue, rel=1e-12)


def test_seeds_without_a_difference_count_for_neither_sign():
    assert sign_test([0.0] * 8) == 1
    assert sign_test([1.0] * 6 + [0.0]) == pytest.approx(sps.binomtest(6, 7).pvalue)


def test_zero_is_outside_of_the_interval_exactly_where_the_sign_test_rejects():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(300):
        d = np.round(rng.normal(0.8, 1, size=rng.integers(6, 15)), 1)
        interval = median_interval(d)
        assert (sign_test(d) <= 0.05) == (not interval.covers(0.0))
        rejected += not interval.covers(0.0)
    assert 50 < rejected < 250


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
    (result,) = compare_family({"snas": row, "darts": other}, "darts")
    assert (result.row, result.other, result.n, result.median) == ("snas", "darts", 3, 1.0)
    assert result.unmatched == (7, 9)
    assert result.p == pytest.approx(0.25)
    assert result.interval is None and result.p_holm is None
    with pytest.raises(DataError, match="shared seeds"):
        compare_family({"snas": {0: 1.0, 1: 2.0}, "darts": {1: 3.0, 2: 3.0}}, "darts")


def test_family_is_adjusted_over_all_rows_and_keeps_their_order():
    base = dict.fromkeys(range(8), 0.0)
    rows = {
        "far": {s: 1.0 + s for s in range(8)},
        "base": base,
        "near": {s: (-1.0) ** s * (s + 1) for s in range(8)},
    }
    far, near = compare_family(rows, "base")
    assert (far.row, near.row, far.other, far.family) == ("far", "near", "base", 2)
    assert far.p == pytest.approx(2 / 256)
    assert far.p_holm == pytest.approx(4 / 256)
    assert near.p_holm == near.p > 0.1
    # at 97.5 % the smallest and the largest of eight: 1 - 2 / 256; at 95 % it would be the same
    assert (far.interval.low, far.interval.high) == (1.0, 8.0)
    with pytest.raises(DataError):
        compare_family(rows, "absent")


@pytest.mark.parametrize(("m", "second"), [(1, True), (2, True), (3, False)])
def test_intervals_are_simultaneous_over_the_family(m, second):
    # ten values: the second and ninth hold 1 - 22 / 1024 = .979, enough for .95 and .975, not .983
    rows = {f"row {i}": {s: float(s) for s in range(10)} for i in range(m)}
    found = compare_family({"base": dict.fromkeys(range(10), 0.0), **rows}, "base")
    assert found[0].interval.low == (1.0 if second else 0.0)


def test_where_no_simultaneous_interval_exists_none_is_given():
    rows = {f"row {i}": {s: 1.0 + s for s in range(6)} for i in range(2)}
    first, _ = compare_family({"base": dict.fromkeys(range(6), 0.0), **rows}, "base")
    assert first.interval is None  # six values: .969 at most, 0.975 wanted
    assert first.p_holm == pytest.approx(4 / 64)


def test_rows_with_too_few_seeds_to_be_tested_do_not_count_in_the_family():
    base = dict.fromkeys(range(8), 0.0)
    rows = {"base": base, "far": {s: 1.0 + s for s in range(8)}}
    rows |= {f"short {i}": {0: 1.0, 1: 2.0, 2: 3.0} for i in range(9)}
    far, *short = compare_family(rows, "base")
    assert far.p_holm == pytest.approx(2 / 256) and far.family == 1
    assert far.interval.low == 1.0
    assert all(c.p_holm is None and c.interval is None for c in short)


def test_probability_greater_counts_pairs_and_halves_ties():
    # pairs (x, y): 3>1, 3>2, 3=3, 2>1, 2=2, 2<3 -> (3 + 2 / 2) / 6
    assert probability_greater([3, 2], [1, 2, 3]) == pytest.approx(4 / 6)
    assert probability_greater([5, 6, 7], [1, 2, 3]) == 1


def test_probability_of_improvement_is_the_mean_over_spaces():
    result = probability_of_improvement([[3, 2], [0, 1]], [[1, 2, 3], [5, 6]])
    assert result == pytest.approx((4 / 6 + 0) / 2)
    with pytest.raises(DataError):
        probability_of_improvement([[1, 2]], [])


def test_scores_are_zero_for_random_search_and_one_for_the_best():
    assert normalise_scores([90, 95, 92], 90, 95) == pytest.approx([0, 1, 0.4])
    with pytest.raises(DataError):
        normalise_scores([90], 95, 95)


def test_performance_profile_counts_runs_above_each_threshold_and_averages_spaces():
    profile = performance_profile([[0.1, 0.5, 0.9, 0.9], [0.5, 0.6]], [0.0, 0.5, 0.7, 1.0])
    assert profile.share == pytest.approx([1, (0.5 + 0.5) / 2, (0.5 + 0) / 2, 0])
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()
    assert profile.high[0] == 1 and profile.low[-1] == 0
    assert profile.n_runs == (4, 2)


def test_performance_profile_band_is_hoeffdings():
    sample = np.r_[np.zeros(12), np.ones(18)]
    profile = performance_profile([sample], [0.5])
    off = math.sqrt(math.log(40) / 60)
    assert [profile.low[0], profile.high[0]] == pytest.approx([0.6 - off, 0.6 + off])
    # over two spaces of 30 runs each: as for 60 runs of one
    two = performance_profile([sample, sample], [0.5])
    assert two.high[0] - 0.6 == pytest.approx(off / math.sqrt(2))


@pytest.mark.parametrize("thresholds", [[0.5, 0.5], [1.0, 0.0], []])
def test_performance_profile_refuses_thresholds_that_do_not_increase(thresholds):
    with pytest.raises(DataError):
        performance_profile([[0.1, 0.2]], thresholds)
