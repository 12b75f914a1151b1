"""Test inversion for the squared bias: closed forms, brute force, coverage off the easy path."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as sps

from nasbench_snas.stats import GradientMoments, Reference, summarise_gradient
from nasbench_snas.stats.squared_bias import (
    NoisePart,
    SquareError,
    _distinct,
    _skewed_linear,
    _trace_of_square,
    block_deviations,
    sankaran_score,
    square_error,
)

MANY = 10**7  # blocks: Student's t becomes the normal distribution


def accumulate(rows: np.ndarray, n_blocks: int) -> GradientMoments:
    moments = GradientMoments(rows.shape[1], n_blocks)
    moments.update(rows)
    return moments


@pytest.mark.parametrize("degrees", [1.0, 2.5, 6.0, 60.0])
@pytest.mark.parametrize("shift", [0.0, 0.7, 5.0, 80.0])
def test_normal_score_is_that_of_the_noncentral_chi_square(degrees, shift):
    law = sps.ncx2(degrees, shift) if shift else sps.chi2(degrees)
    for level in (0.025, 0.05, 0.95, 0.975):
        score = sankaran_score(float(law.ppf(level)) - degrees - shift, degrees, shift)
        found = float(sps.norm.cdf(score))
        assert found > level - 0.008, level
        if level > 0.5 or degrees + shift > 4:  # else it errs to the safe side
            assert found < level + 0.008, level


def test_normal_score_of_a_huge_chi_square_is_the_plain_one_and_continuous():
    score = sankaran_score(3e6, 1e12, 1e12)
    assert score == pytest.approx(3e6 / math.sqrt(2 * 3e12))
    below, above = (sankaran_score(2e4, scale, 0.0) for scale in (0.999e8, 1.001e8))
    assert below == pytest.approx(above, rel=3e-3)


@pytest.mark.parametrize("estimate", [0.5, 4.0, 30.0, 400.0])
def test_equal_variances_give_the_exact_noncentral_chi_square_interval(estimate):
    d, variance = 5, 0.7
    found = SquareError(
        estimate * variance, variance**2 * estimate, d * variance**2, variance, MANY
    )

    def root(level: float) -> float:
        at = estimate + d
        return optimize.brentq(lambda s: sps.ncx2.cdf(at, d, s) - level, 1e-9, 10 * at + 100)

    interval = found.interval(0.95, 100)
    assert interval.high == pytest.approx(variance * root(0.025), rel=0.02)
    assert found.interval(0.9, 2).high == pytest.approx(variance * root(0.05), rel=0.02)
    significant = sps.chi2.sf(estimate + d, d) < 0.025
    assert (interval.low > 0) == significant
    if significant:
        assert interval.low == pytest.approx(variance * root(0.975), rel=0.03)


def test_a_lower_estimate_never_sharpens_the_upper_bound_below_that_of_zero():
    at_zero = SquareError(0.0, 0.0, 3.0, 1.0, 50)
    for estimate in (-0.5, -2.0, -100.0):
        found = SquareError(estimate, estimate, 3.0, 1.0, 50)
        assert found.interval(0.9, 2).high == pytest.approx(at_zero.interval(0.9, 2).high)
        assert found.interval(0.95, 9).low < estimate
    bounds = [SquareError(x, x, 3.0, 1.0, 50).interval(0.9, 2).high for x in (0.0, 0.1, 1.0, 5.0)]
    assert bounds == sorted(bounds) and bounds[0] < bounds[1]


def test_interval_of_a_large_square_is_the_usual_one():
    interval = SquareError(1e6, 1e6, 3.0, 1.0, 50).interval(0.95, 9)
    half = sps.t.isf(0.025, 49) * math.sqrt(4e6)
    assert interval.high - 1e6 == pytest.approx(half, rel=0.01)
    assert 1e6 - interval.low == pytest.approx(half, rel=0.01)


def test_an_interval_scales_with_its_square_and_is_nan_over_nothing():
    found = SquareError(5.0, 4.0, 3.0, 1.0, 50)
    part = found.over(4.0)
    assert part.standard_error == pytest.approx(found.standard_error / 4)
    assert part.interval(0.9, 2).high == pytest.approx(found.interval(0.9, 2).high / 4)
    assert part.interval(0.95, 9).low == pytest.approx(found.interval(0.95, 9).low / 4)
    assert math.isnan(found.over(0.0).interval(0.9, 2).high) and math.isnan(
        found.over(-1.0).estimate
    )
    none = SquareError(5.0, 0.0, 0.0, 0.0, 50).interval(0.95, 9)
    assert (none.low, none.high, none.standard_error) == (5, 5, 0)


def test_means_over_distinct_blocks_equal_brute_force():
    kernel = np.random.default_rng(0).normal(size=(6, 6))
    kernel += kernel.T
    quads = list(itertools.permutations(range(6), 4))
    expected = (
        np.mean([kernel[a, b] ** 2 for a, b, _, _ in quads]),
        np.mean([kernel[a, b] * kernel[a, c] for a, b, c, _ in quads]),
        np.mean([kernel[a, b] * kernel[c, d] for a, b, c, d in quads]),
    )
    assert _distinct(kernel) == pytest.approx(expected)


@pytest.mark.parametrize("n", [200, 223])
def test_block_deviations_estimate_the_covariance_of_the_mean(n):
    rows = np.random.default_rng(1).normal(size=(n, 2)) * [1.0, 3.0]
    y = block_deviations(accumulate(rows, 50))
    assert np.diag(y.T @ y) == pytest.approx([1 / n, 9 / n], rel=0.8)
    means = np.mean(
        [
            np.square(
                block_deviations(accumulate(np.random.default_rng(s).normal(size=(n, 2)), 50))
            ).sum(axis=0)
            for s in range(150)
        ],
        axis=0,
    )
    assert means == pytest.approx([1 / n, 1 / n], rel=0.06)


def block_parts(rng: np.random.Generator, skewed: bool, own: float = 1.0):
    """Blocks of two coordinates with variances 1 and 4 around (1, 1), in units of the mean."""
    draws = rng.exponential(size=(12, 2)) - 1 if skewed else rng.normal(size=(12, 2))
    draws = draws * [1.0, 2.0]
    y = (draws - draws.mean(axis=0)) / math.sqrt(12 * 11)
    return y, np.ones(2) + own * draws.mean(axis=0)


@pytest.mark.parametrize("skewed", [False, True])
def test_powers_of_the_covariance_are_estimated_without_bias(skewed):
    rng = np.random.default_rng(2)
    gauss, blocks, linear, part = [], [], [], []
    for _ in range(1_500):
        y, vector = block_parts(rng, skewed)
        first, second = _trace_of_square(y @ y.T, 2)
        gauss.append(first)
        blocks.append(second)
        linear.append(_skewed_linear(y @ vector, y @ y.T, 1.0))
        y, vector = block_parts(rng, skewed, own=0.3)
        part.append(_skewed_linear(y @ vector, y @ y.T, 0.3))
    for found, truth in ((blocks, 17 / 144), (linear, 5 / 12), (part, 5 / 12)):
        assert abs(np.mean(found) - truth) < 4 * np.std(found) / math.sqrt(len(found)), truth
    assert np.mean(gauss) > 0.9 * 17 / 144
    if not skewed:
        assert np.mean(gauss) == pytest.approx(17 / 144, rel=0.08)


def test_two_sources_of_noise_add_with_their_cross_term():
    rng = np.random.default_rng(3)
    noise, linear = [], []
    for _ in range(800):
        y, vector = block_parts(rng, False)
        z, other = block_parts(rng, False)
        both = vector + other - 1
        found = square_error(0.0, [NoisePart(y, both), NoisePart(z, both)], 12)
        noise.append(found.noise)
        linear.append(found.linear)
    # W = diag(1, 4) / 6, so tr W² = 17 / 36 and delta' W delta = 5 / 6
    assert np.mean(noise) == pytest.approx(17 / 36, rel=0.15)
    assert np.mean(linear) == pytest.approx(5 / 6, rel=0.15)


def test_three_blocks_and_more_coordinates_than_blocks_still_give_an_interval():
    rows = np.random.default_rng(4).normal(size=(30, 40))
    for n_blocks in (3, 4, 10):
        summary = summarise_gradient(accumulate(rows, n_blocks), Reference.exact(np.ones(40)))
        assert summary.bias_sq.low < 40 < summary.bias_sq.high
        assert summary.excluded_relative_bias > 0.9


LAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t5": lambda rng, shape: rng.standard_t(5, size=shape) / math.sqrt(5 / 3),
    "lognormal": lambda rng, shape: (
        (np.exp(0.5 * rng.normal(size=shape)) - math.exp(0.125))
        / math.sqrt((math.exp(0.25) - 1) * math.exp(0.25))
    ),
}
CONDITION = {"equal": 1.0, "ill": 1e-4}
# all of it is slow but the case that the jackknife gets most wrong (one-sided .76 to .80)
GRID = [
    pytest.param(law, shape, bias, d, trials, marks=[] if trials == 150 else [pytest.mark.slow])
    for law, shape, bias, d, trials in [
        ("normal", "ill", 1.5, 6, 150),
        *(
            (law, shape, bias, d, 1_500)
            for law, shape in (
                ("normal", "equal"),
                ("normal", "ill"),
                ("t5", "equal"),
                ("lognormal", "equal"),
            )
            for bias in (0.6, 1.5, 3.0)
            for d in (3, 20)
        ),
    ]
]


@pytest.mark.parametrize(("law", "shape", "bias", "d", "trials"), GRID)
def test_squared_bias_is_covered_between_zero_and_large(law, shape, bias, d, trials):
    rng = np.random.default_rng(5)
    variances = np.geomspace(1.0, CONDITION[shape], d)
    shift = np.full(d, bias * math.sqrt(variances.sum() / 200 / d))
    square = float(shift @ shift)
    two = one = printed = 0
    for _ in range(trials):
        rows = shift + np.sqrt(variances) * LAWS[law](rng, (200, d))
        summary = summarise_gradient(accumulate(rows + 1, 50), Reference.exact(np.ones(d)))
        if math.isnan(summary.bias_sq.low):  # too few effective draws: nothing is claimed
            continue
        printed += 1
        two += summary.bias_sq.covers(square)
        one += summary.excluded_relative_bias**2 * d >= square * (1 - 1e-12)
    assert printed > trials / 3
    slack = 4 * math.sqrt(0.95 * 0.05 / printed)
    assert two / printed > 0.935 - slack, two / printed
    assert one / printed > 0.935 - slack, one / printed


def test_slope_of_equal_variances_is_little_above_it_with_more_coordinates_than_blocks():
    rng = np.random.default_rng(6)
    slopes = []
    for _ in range(200):
        rows = rng.normal(size=(12, 40))
        y = (rows - rows.mean(axis=0)) / math.sqrt(12 * 11)
        vector = np.full(40, 5.0) + rows.mean(axis=0)
        slopes.append(square_error(0.0, [NoisePart(y, vector)], 12).slope)
    # (1 + 1 / 11), and the larger of two estimates; without correction it is 1 + 41 / 11 times that
    assert 1.0 < 12 * np.mean(slopes) < 1.5


def test_own_share_of_the_noise_scales_its_square_and_the_slope_has_a_floor():
    rng = np.random.default_rng(7)
    y, _ = block_parts(rng, False)
    whole, half, blind = (
        square_error(0.0, [NoisePart(y, vector, own)], 12)
        for vector, own in ((np.ones(2), 1.0), (np.ones(2), 0.5), (np.zeros(2), 1.0))
    )
    assert half.noise == pytest.approx(whole.noise / 4)
    assert blind.slope == pytest.approx(blind.noise / np.square(y).sum())
