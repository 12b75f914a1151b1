"""Streaming moments, the gradient summary, its intervals, budgets, decomposition and slopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from nasbench_snas.errors import CheckpointError, ConfigError, DataError, DivergedError
from nasbench_snas.stats import (
    GradientMoments,
    Reference,
    coordinate_groups,
    summarise_gradient,
    summarise_groups,
)
from nasbench_snas.stats.jackknife import jackknife_variance, leave_one_out, pooled

D = 6
MIX = np.random.default_rng(100).normal(size=(D, D))
TRACE = float(np.square(MIX).sum())
TRUTH = np.array([1.0, -2.0, 0.5, 0.0, 1.5, 3.0])
GROUPS = coordinate_groups(2, 3)


def draws(rng: np.random.Generator, n: int, mean: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Correlated Gaussian draws with trace ``scale² TRACE``, shape ``(n, D)``."""
    return mean + scale * rng.normal(size=(n, D)) @ MIX.T


def accumulate(rows: np.ndarray, n_blocks: int = 50, chunk: int = 37, **options) -> GradientMoments:
    moments = GradientMoments(rows.shape[1], n_blocks, **options)
    for start in range(0, len(rows), chunk):
        moments.update(rows[start : start + chunk])
    return moments


def fast_moments(rows: np.ndarray, n_blocks: int) -> GradientMoments:
    moments = GradientMoments(rows.shape[1], n_blocks)
    moments.update(rows)
    return moments


def share_band(p: float, trials: int) -> float:
    return 4 * math.sqrt(p * (1 - p) / trials)


# --- moments ---------------------------------------------------------------------------------


def test_streamed_block_moments_equal_those_of_all_draws():
    rows = draws(np.random.default_rng(0), 503, TRUTH)
    moments = accumulate(rows, n_blocks=10)
    for block in range(10):
        own = rows[block::10]
        assert moments.count[block] == len(own)
        np.testing.assert_allclose(moments.mean[block], own.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            moments.squares[block], np.square(own - own.mean(0)).sum(0), rtol=1e-11
        )
    count, mean, squares = pooled(moments)
    assert count[0] == 503
    np.testing.assert_allclose(mean[0], rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(squares[0] / 502, rows.var(0, ddof=1), rtol=1e-11)


def test_leave_one_out_moments_equal_those_of_the_remaining_draws():
    rows = draws(np.random.default_rng(1), 103, TRUTH)
    count, mean, squares = leave_one_out(accumulate(rows, n_blocks=7))
    for block in range(7):
        rest = np.delete(rows, np.s_[block::7], axis=0)
        assert count[block] == len(rest)
        np.testing.assert_allclose(mean[block], rest.mean(0), rtol=1e-11)
        np.testing.assert_allclose(squares[block], rest.var(0) * len(rest), rtol=1e-10)


def test_merging_two_processes_equals_one_block_by_block():
    rng = np.random.default_rng(2)
    first, second = draws(rng, 60, TRUTH), draws(rng, 90, TRUTH)
    merged = accumulate(first, 5, direction=TRUTH)
    merged.merge(accumulate(second, 5, direction=TRUTH))
    for block in range(5):
        own = np.vstack([first[block::5], second[block::5]])
        np.testing.assert_allclose(merged.mean[block], own.mean(0), rtol=1e-12)
        np.testing.assert_allclose(merged.squares[block], own.var(0) * len(own), rtol=1e-11)
    rows = np.vstack([first, second])
    cosines = rows @ TRUTH / np.linalg.norm(rows, axis=1) / np.linalg.norm(TRUTH)
    assert merged.cosine.sum() == pytest.approx(cosines.sum())


def test_resumed_accumulator_is_bit_equal_to_an_uninterrupted_one(tmp_path):
    rows = draws(np.random.default_rng(3), 400, TRUTH)
    options = {"direction": TRUTH, "groups": GROUPS}
    straight = accumulate(rows, 10, **options)
    part = accumulate(rows[: 37 * 5], 10, **options)
    np.savez(tmp_path / "state.npz", **part.state())
    resumed = GradientMoments(D, 10, **options)
    with np.load(tmp_path / "state.npz") as state:  # allow_pickle stays False
        resumed.load_state(state)
    for start in range(37 * 5, 400, 37):
        resumed.update(rows[start : start + 37])
    for key, value in straight.state().items():
        assert np.array_equal(value, resumed.state()[key]), key


@pytest.mark.parametrize(
    "other",
    [
        GradientMoments(D, 9, TRUTH, GROUPS),
        GradientMoments(D, 10, TRUTH + 1e-9, GROUPS),
        GradientMoments(D, 10, TRUTH, coordinate_groups(3, 2)),
        GradientMoments(D, 10, None, GROUPS),
    ],
)
def test_state_of_another_study_is_refused(other):
    mine = GradientMoments(D, 10, TRUTH, GROUPS)
    with pytest.raises(CheckpointError):
        mine.load_state(other.state())
    with pytest.raises(DataError):
        mine.merge(other)


def test_draws_that_are_not_finite_or_misshapen_are_refused():
    moments = GradientMoments(2, 5)
    with pytest.raises(DivergedError, match="1 of 2"):
        moments.update([[1.0, math.nan], [1.0, 2.0]])
    with pytest.raises(DataError):
        moments.update([1.0, 2.0])
    with pytest.raises(DataError, match="two in every block"):
        summarise_gradient(fast_moments(np.zeros((9, 2)), 5), Reference.exact([0.0, 0.0]))
    with pytest.raises(ConfigError):
        GradientMoments(2, 2)


# --- jackknife -------------------------------------------------------------------------------


def test_jackknife_variance_of_a_mean_is_the_textbook_one_for_equal_blocks():
    values = np.random.default_rng(4).normal(size=20)
    left_out = (values.sum() - values) / 19
    variance = jackknife_variance(values.mean(), left_out, np.ones(20))
    assert variance == pytest.approx(values.var(ddof=1) / 20)


def test_jackknife_variance_with_unequal_blocks_has_the_right_expectation():
    rng = np.random.default_rng(5)
    counts = np.array([2.0, 3.0, 5.0, 4.0, 6.0])
    estimates = []
    for _ in range(4_000):
        sums = rng.normal(scale=np.sqrt(counts))
        left_out = (sums.sum() - sums) / (counts.sum() - counts)
        estimates.append(jackknife_variance(sums.sum() / counts.sum(), left_out, counts))
    assert np.mean(estimates) == pytest.approx(1 / counts.sum(), rel=0.05)


# --- the summary -----------------------------------------------------------------------------


def test_bias_squared_is_the_u_statistic_over_pairs_of_draws():
    rows = draws(np.random.default_rng(6), 40, TRUTH)
    error = rows - TRUTH
    gram = error @ error.T
    expected = (gram.sum() - np.trace(gram)) / (40 * 39)
    summary = summarise_gradient(accumulate(rows, 8), Reference.exact(TRUTH))
    assert summary.bias_sq.estimate == pytest.approx(expected, rel=1e-10)
    assert summary.mse.estimate == pytest.approx(np.trace(gram) / 40, rel=1e-10)
    assert summary.trace.estimate == pytest.approx(rows.var(0, ddof=1).sum(), rel=1e-10)
    goal = TRUTH @ TRUTH
    assert summary.relative_bias_sq.estimate == pytest.approx(expected / goal, rel=1e-10)
    mean = rows.mean(0)
    mean_sq = mean @ mean - summary.trace.estimate / 40
    assert summary.cosine.estimate == pytest.approx(mean @ TRUTH / math.sqrt(mean_sq * goal))
    assert summary.scale.estimate == pytest.approx(mean @ TRUTH / goal)
    assert summary.snr.estimate == pytest.approx(math.sqrt(mean_sq / summary.trace.estimate))
    assert summary.bias_se == pytest.approx(math.sqrt(summary.trace.estimate / 40))


def test_negative_bias_squared_is_kept_and_does_not_sharpen_the_excluded_bound():
    rng = np.random.default_rng(7)
    for _ in range(50):
        summary = summarise_gradient(
            fast_moments(draws(rng, 100, TRUTH), 20), Reference.exact(TRUTH)
        )
        if summary.bias_sq.estimate < 0:
            break
    assert summary.bias_sq.estimate < 0
    assert summary.bias == summary.bias_over_se == 0
    assert summary.bias_sq.low < 0 < summary.bias_sq.high
    error = summary.relative_bias_sq.standard_error
    assert summary.excluded_relative_bias > math.sqrt(sps.t.isf(0.025, 19) * error)


def test_an_estimator_without_noise_has_an_exact_summary():
    mean = 0.5 * TRUTH
    rows = np.tile(mean, (100, 1))
    summary = summarise_gradient(accumulate(rows, 10, direction=TRUTH), Reference.exact(TRUTH))
    assert summary.bias_sq.estimate == pytest.approx(TRUTH @ TRUTH / 4)
    assert summary.bias_sq.standard_error == pytest.approx(0, abs=1e-12)
    assert (summary.trace.estimate, summary.trace.low, summary.trace.high) == (0, 0, 0)
    assert summary.scale.estimate == pytest.approx(0.5)
    assert summary.cosine.estimate == pytest.approx(1)
    assert summary.draw_cosine.estimate == pytest.approx(1)
    assert summary.bias_over_se == math.inf
    assert summary.excluded_relative_bias == pytest.approx(0.5)
    exact = summarise_gradient(accumulate(np.tile(TRUTH, (100, 1)), 10), Reference.exact(TRUTH))
    assert exact.bias_over_se == exact.bias_sq.estimate == exact.excluded_relative_bias == 0


def test_scale_error_is_told_from_direction_error():
    rows = draws(np.random.default_rng(8), 60_000, 0.2 * TRUTH, 0.05)
    summary = summarise_gradient(fast_moments(rows, 50), Reference.exact(TRUTH))
    assert summary.scale.estimate == pytest.approx(0.2, abs=0.002)
    assert math.sqrt(summary.relative_bias_sq.estimate) == pytest.approx(0.8, abs=0.002)
    assert summary.directional_bias.low < 0.005
    off = np.array([2.0, 1.0, 0.0, 0.0, 0.0, 0.0])  # orthogonal to the truth
    rows = draws(np.random.default_rng(9), 60_000, TRUTH + off, 0.05)
    summary = summarise_gradient(fast_moments(rows, 50), Reference.exact(TRUTH))
    expected = math.sqrt(5 / (TRUTH @ TRUTH + 5))
    assert summary.scale.estimate == pytest.approx(1, abs=0.002)
    assert summary.directional_bias.estimate == pytest.approx(expected, abs=0.002)
    assert summary.directional_bias.covers(summary.directional_bias.estimate)


def test_groups_are_the_summaries_of_their_coordinates_alone():
    rows = draws(np.random.default_rng(10), 300, TRUTH + 0.3)
    moments = accumulate(rows, 20, direction=TRUTH, groups=GROUPS)
    result = summarise_groups(moments, Reference.exact(TRUTH))
    assert list(result) == ["all", "edge 0", "edge 1", "op 0", "op 1", "op 2"]
    assert {name: index.tolist() for name, index in GROUPS.items()} == {
        **{f"edge {e}": [3 * e, 3 * e + 1, 3 * e + 2] for e in range(2)},
        **{f"op {k}": [k, k + 3] for k in range(3)},
    }
    for name, index in GROUPS.items():
        alone = summarise_gradient(
            accumulate(rows[:, index], 20, direction=TRUTH[index]), Reference.exact(TRUTH[index])
        )
        for field in ("bias_sq", "trace", "cosine", "mse", "draw_cosine"):
            ours, theirs = getattr(result[name], field), getattr(alone, field)
            assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-9), (name, field)
            assert ours.low == pytest.approx(theirs.low, rel=1e-7), (name, field)
    parts = [result[f"edge {e}"].bias_sq.estimate for e in range(2)]
    assert sum(parts) == pytest.approx(result["all"].bias_sq.estimate)
    with pytest.raises(DataError, match="edge 9"):
        summarise_gradient(moments, Reference.exact(TRUTH), group="edge 9")


def test_a_coordinate_group_without_gradient_gives_nan_and_no_error():
    rows = draws(np.random.default_rng(11), 100, TRUTH)
    summary = summarise_gradient(
        fast_moments(rows, 10), Reference.exact(TRUTH), group="x", index=np.array([3])
    )
    assert summary.reference_norm == 0 and summary.draw_cosine is None
    assert math.isfinite(summary.bias_sq.estimate)
    assert not math.isfinite(summary.relative_bias_sq.estimate)


@pytest.mark.parametrize("trials", [400, pytest.param(1_200, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "bias",
    [0.0, pytest.param(0.3, marks=pytest.mark.slow), 0.6]
    + [pytest.param(bias, marks=pytest.mark.slow) for bias in (0.45, 0.8, 1.0, 1.5, 3.0)],
)
def test_bias_squared_is_unbiased_and_its_interval_covers(trials, bias):
    rng = np.random.default_rng(int(10 * bias))
    shift = bias * np.array([1.0, 0, 0, 0, 0, 0])
    reference = Reference.exact(TRUTH)
    results = [
        summarise_gradient(fast_moments(draws(rng, 200, TRUTH + shift), 50), reference)
        for _ in range(trials)
    ]
    estimates = np.array([r.bias_sq.estimate for r in results])
    error = estimates.std(ddof=1) / math.sqrt(trials)
    assert abs(estimates.mean() - bias**2) < 4 * error
    assert (estimates < 0).any() or bias > 0.5
    covered = np.mean([r.bias_sq.covers(bias**2) for r in results])
    assert covered > 0.95 - 0.015 - share_band(0.95, trials)
    bounded = np.mean([r.excluded_relative_bias**2 * (TRUTH @ TRUTH) >= bias**2 for r in results])
    assert bounded > 0.95 - 0.015 - share_band(0.95, trials)


@pytest.mark.parametrize("trials", [400, pytest.param(1_200, marks=pytest.mark.slow)])
def test_trace_and_mse_and_cosine_intervals_cover(trials):
    rng = np.random.default_rng(20)
    shift = np.array([0.0, 0, 0, 1.0, 0, 0])
    cosine = (TRUTH @ (TRUTH + shift)) / np.linalg.norm(TRUTH) / np.linalg.norm(TRUTH + shift)
    truth = {"trace": TRACE, "mse": TRACE + 1, "cosine": cosine, "scale": 1.0}
    truth["snr"] = np.linalg.norm(TRUTH + shift) / math.sqrt(TRACE)
    hits = dict.fromkeys(truth, 0)
    for _ in range(trials):
        moments = fast_moments(draws(rng, 500, TRUTH + shift), 50)
        summary = summarise_gradient(moments, Reference.exact(TRUTH))
        for name, value in truth.items():
            hits[name] += getattr(summary, name).covers(value)
    for name, count in hits.items():
        assert abs(count / trials - 0.95) < 0.012 + share_band(0.95, trials), (name, count / trials)


def test_trace_interval_of_gaussian_draws_agrees_with_chi_square():
    rows = np.random.default_rng(21).normal(size=(20_000, 1))
    interval = summarise_gradient(fast_moments(rows, 50), Reference.exact([1.0])).trace
    chi = math.sqrt(2 / 19_999) * sps.t.isf(0.025, 49)
    assert math.log(interval.high / interval.low) / 2 == pytest.approx(chi, rel=0.4)


@pytest.mark.parametrize("trials", [200, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "bias", [0.0, 0.8, *(pytest.param(bias, marks=pytest.mark.slow) for bias in (0.3, 0.5, 1.2))]
)
def test_error_of_the_reference_is_taken_off_and_carried_into_the_interval(trials, bias):
    rng = np.random.default_rng(22)
    shift = bias * np.array([0.0, 1, 0, 0, 0, 0])
    results, ignoring = [], 0
    for _ in range(trials):
        reference = Reference.from_moments(fast_moments(draws(rng, 150, TRUTH), 50))
        moments = fast_moments(draws(rng, 600, TRUTH + shift), 50)
        results.append(summarise_gradient(moments, reference))
        blind = summarise_gradient(moments, Reference.exact(reference.value))
        ignoring += blind.bias_sq.covers(bias**2)
    estimates = np.array([r.bias_sq.estimate for r in results])
    error = estimates.std(ddof=1) / math.sqrt(trials)
    assert abs(estimates.mean() - bias**2) < 4 * error
    covered = np.mean([r.bias_sq.covers(bias**2) for r in results])
    assert covered > 0.95 - 0.015 - share_band(0.95, trials)
    assert ignoring / trials < 0.8  # an interval that trusts the reference misses
    norm_sq = np.mean([r.reference_norm**2 for r in results])
    assert norm_sq == pytest.approx(TRUTH @ TRUTH, rel=0.03)


def test_squared_difference_has_the_same_interval_whichever_side_is_the_reference():
    rng = np.random.default_rng(23)
    ours = fast_moments(1 + rng.exponential(size=(400, D)), 20)
    theirs = fast_moments(2 * rng.exponential(size=(200, D)), 40)
    there = summarise_gradient(ours, Reference.from_moments(theirs)).bias_sq
    back = summarise_gradient(theirs, Reference.from_moments(ours)).bias_sq
    for name in ("estimate", "low", "high", "standard_error"):
        assert getattr(there, name) == pytest.approx(getattr(back, name), rel=1e-9), name


def test_an_estimator_of_zero_has_relative_bias_one_whatever_the_noise_of_the_reference():
    rows = draws(np.random.default_rng(24), 200, TRUTH)
    reference = Reference.from_moments(fast_moments(rows, 50))
    summary = summarise_gradient(fast_moments(np.zeros((100, D)), 50), reference)
    assert summary.bias_sq.standard_error > 0.5
    assert summary.relative_bias_sq.estimate == pytest.approx(1)
    assert summary.relative_bias_sq.standard_error < 1e-6
    assert summary.excluded_relative_bias == pytest.approx(1)


# --- budget, decomposition, slope ------------------------------------------------------------
