"""Hotelling's T²: closed forms, false alarms, power, degenerate directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats import (
    Scatter,
    hotelling_from_draws,
    hotelling_power,
    hotelling_test,
    paired_hotelling,
    required_draws,
    required_noncentrality,
    zero_sum_basis,
)
from nasbench_snas.stats.hotelling import _log_survival

P = 4
MIX = np.random.default_rng(0).normal(size=(P, P)) + 2 * np.eye(P)


def test_zero_sum_basis_is_orthonormal_and_spans_exactly_the_zero_sum_vectors():
    basis = zero_sum_basis(3, 4)
    assert basis.shape == (12, 9)
    np.testing.assert_allclose(basis.T @ basis, np.eye(9), atol=1e-15)
    np.testing.assert_allclose(basis.reshape(3, 4, 9).sum(axis=1), 0, atol=1e-15)
    centred = np.kron(np.eye(3), np.eye(4) - 1 / 4)
    np.testing.assert_allclose(basis @ basis.T, centred, atol=1e-15)
    with pytest.raises(ConfigError):
        zero_sum_basis(3, 1)


def test_one_dimension_gives_the_two_sided_t_test():
    values = np.random.default_rng(1).normal(0.3, 1, size=30)
    expected = sps.ttest_1samp(values, 0.0)
    result = hotelling_from_draws(values[:, None], np.zeros(1))
    assert result.statistic == pytest.approx(expected.statistic**2)
    assert result.p == pytest.approx(expected.pvalue)
    assert (result.directions, result.degrees, result.n) == (1, 29, 30)


def test_statistic_equals_the_textbook_quadratic_form():
    rows = np.random.default_rng(2).normal(size=(25, P)) @ MIX.T + 0.2
    target = np.array([0.1, 0.0, 0.3, -0.2])
    shift = rows.mean(0) - target
    t2 = 25 * shift @ np.linalg.solve(np.cov(rows.T), shift)
    result = hotelling_from_draws(rows, target)
    assert result.statistic == pytest.approx(t2, rel=1e-9)
    assert result.p == pytest.approx(sps.f.sf(t2 * (25 - P) / (P * 24), P, 25 - P), rel=1e-8)


def test_streamed_merged_and_resumed_scatter_equals_all_draws():
    rows = np.random.default_rng(3).normal(size=(90, P)) @ MIX.T
    first, second = Scatter(P), Scatter(P)
    for start in range(0, 60, 7):
        first.update(rows[start : min(start + 7, 60)])
    second.update(rows[60:])
    resumed = Scatter(P)
    resumed.load_state(first.state())
    resumed.merge(second)
    np.testing.assert_allclose(resumed.covariance(), np.cov(rows.T), rtol=1e-11)
    whole = hotelling_from_draws(rows, np.zeros(P))
    assert hotelling_test(resumed, np.zeros(P)).p == pytest.approx(whole.p, rel=1e-9)


def softmax_scores(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """REINFORCE draws on 2 edges x 3 operations with loss table, and the exact gradient."""
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    table = np.arange(9.0).reshape(3, 3) ** 1.5
    first = rng.choice(3, size=n, p=probs[0])
    second = rng.choice(3, size=n, p=probs[1])
    score = np.stack([np.eye(3)[first] - probs[0], np.eye(3)[second] - probs[1]], axis=1)
    draws = (table[first, second] - table.mean())[:, None, None] * score
    exact = np.stack(
        [
            probs[0] * (table @ probs[1] - probs[0] @ table @ probs[1]),
            probs[1] * (probs[0] @ table - probs[0] @ table @ probs[1]),
        ]
    )
    return draws.reshape(n, 6), exact.reshape(6)


def test_full_space_and_zero_sum_basis_agree_for_softmax_gradients():
    draws, exact = softmax_scores(np.random.default_rng(4), 2_000)
    inside = hotelling_from_draws(draws, exact, zero_sum_basis(2, 3))
    whole = hotelling_from_draws(draws, exact)
    assert (inside.directions, inside.fixed) == (4, 0)
    assert (whole.directions, whole.fixed, whole.fixed_off) == (4, 2, 0)
    assert whole.p == pytest.approx(inside.p, rel=1e-6)
    assert inside.p > 1e-4


def test_a_scale_error_of_ten_percent_is_found():
    draws, exact = softmax_scores(np.random.default_rng(5), 20_000)
    assert hotelling_from_draws(0.9 * draws, exact, zero_sum_basis(2, 3)).p < 1e-6


def test_leaving_the_zero_sum_space_is_found_although_it_has_no_variance():
    draws, exact = softmax_scores(np.random.default_rng(6), 500)
    result = hotelling_from_draws(draws + 1e-3, exact)
    assert result.p == 0 and result.log10_p == -math.inf and result.fixed_off == 2
    assert hotelling_from_draws(draws + 1e-3, exact, zero_sum_basis(2, 3)).p > 1e-4


def test_an_estimator_without_noise_passes_only_if_it_is_exact():
    target = np.array([1.0, -3.0])
    equal = hotelling_from_draws(np.tile(target, (20, 1)), target)
    assert equal.p == 1 and equal.directions == 0 and equal.fixed == 2
    rounded = hotelling_from_draws(np.tile(target * (1 + 1e-15), (20, 1)), target)
    assert rounded.p == 1
    off = hotelling_from_draws(np.tile(target * (1 + 1e-6), (20, 1)), target)
    assert off.p == 0 and off.fixed_off == 2


def test_a_mixed_estimator_is_tested_where_it_varies_and_compared_where_it_does_not():
    rng = np.random.default_rng(7)
    rows = np.column_stack([rng.normal(1, 1, 50), np.full(50, 2.0)])
    good = hotelling_from_draws(rows, np.array([1.0, 2.0]))
    assert good.p == pytest.approx(sps.ttest_1samp(rows[:, 0], 1.0).pvalue)
    assert hotelling_from_draws(rows, np.array([1.0, 2.001])).p == 0


def test_a_direction_between_coordinates_is_cut_only_where_it_has_no_variance():
    rng = np.random.default_rng(17)
    first, rest = rng.normal(size=(2, 400))
    narrow = hotelling_from_draws(np.column_stack([first, first + 1e-4 * rest]), np.zeros(2))
    assert (narrow.directions, narrow.fixed) == (2, 0)
    flat = hotelling_from_draws(np.column_stack([first, 2 * first]), np.zeros(2))
    assert (flat.directions, flat.fixed, flat.fixed_off) == (1, 1, 0)
    assert flat.p == pytest.approx(sps.ttest_1samp(first, 0.0).pvalue, rel=1e-6)
    off = hotelling_from_draws(np.column_stack([first, 2 * first + 1e-4]), np.zeros(2))
    assert (off.p, off.fixed_off) == (0, 1)


def test_rounding_left_in_a_direction_without_variance_is_no_bias():
    rng = np.random.default_rng(18)
    rows = np.column_stack([rng.normal(size=50), 1e-13 * (1 + rng.normal(size=50))])
    result = hotelling_test(_scatter(rows), np.zeros(2), size=1.0, tolerance=0.0)
    assert (result.fixed, result.fixed_off) == (1, 0)
    far = hotelling_test(_scatter(rows), np.array([0.0, 1e-11]), size=1.0, tolerance=0.0)
    assert (far.fixed, far.fixed_off, far.p) == (1, 1, 0)


def _scatter(rows: np.ndarray) -> Scatter:
    scatter = Scatter(rows.shape[1])
    scatter.update(rows)
    return scatter


def test_a_coordinate_of_tiny_but_real_variance_stays_in_the_test():
    rng = np.random.default_rng(8)
    rows = np.column_stack([rng.normal(0, 1, 400), rng.normal(1e-6, 1e-7, 400)])
    assert hotelling_from_draws(rows, np.array([0.0, 1e-6])).p > 1e-3
    wrong = hotelling_from_draws(rows, np.array([0.0, 2e-6]))
    assert wrong.directions == 2 and wrong.p < 1e-100


def test_p_values_below_the_smallest_double_keep_their_logarithm():
    rows = np.random.default_rng(9).normal(50, 1, size=(2_000, 1))
    result = hotelling_from_draws(rows, np.zeros(1))
    assert result.p == 0 and -1e4 < result.log10_p < -1_000
    # reference: 60-digit incomplete beta function at F = 5e6 with 1 and 1999 degrees of freedom
    assert _log_survival(5e6, 1, 1999) == pytest.approx(-7825.059300993421, rel=1e-12)
    assert _log_survival(3000.0, 4, 50) == pytest.approx(-133.865824565823, rel=1e-12)


@pytest.mark.parametrize("n", [2, P - 1, P])
def test_fewer_draws_than_directions_are_refused_and_do_not_count_as_a_bias(n):
    rows = np.random.default_rng(10).normal(size=(n, P))
    with pytest.raises(DataError, match="more draws"):
        hotelling_from_draws(rows, np.zeros(P))


def rejection_share(
    rng: np.random.Generator, trials: int, n: int, delta: float, alpha: float
) -> float:
    """Share of rejections with Mahalanobis bias ``delta`` of one draw."""
    direction = np.array([1.0, -1.0, 0.5, 2.0])
    shift = MIX @ (delta * direction / np.linalg.norm(direction))
    rejected = 0
    for _ in range(trials):
        rows = rng.normal(size=(n, P)) @ MIX.T
        rejected += hotelling_from_draws(rows + shift, np.zeros(P)).p <= alpha
    return rejected / trials


@pytest.mark.parametrize("trials", [1_500, pytest.param(15_000, marks=pytest.mark.slow)])
def test_false_alarm_rate_equals_its_level(trials):
    share = rejection_share(np.random.default_rng(11), trials, 15, 0.0, 0.05)
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("trials", [600, pytest.param(8_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("n", "delta"), [(30, 0.5), (100, 0.4)])
def test_power_equals_the_noncentral_f_prediction(trials, n, delta):
    expected = hotelling_power(n, delta, P, 0.01)
    assert 0.2 < expected < 0.9
    share = rejection_share(np.random.default_rng(12), trials, n, delta, 0.01)
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


def test_mahalanobis_bias_is_estimated_without_bias():
    rng = np.random.default_rng(13)
    for delta in (0.0, 0.6):
        shift = MIX @ np.array([delta, 0, 0, 0])
        estimates = [
            hotelling_from_draws(
                rng.normal(size=(40, P)) @ MIX.T + shift, np.zeros(P)
            ).mahalanobis_sq
            for _ in range(600)
        ]
        error = np.std(estimates) / math.sqrt(len(estimates))
        assert abs(np.mean(estimates) - delta**2) < 4 * error


@pytest.mark.parametrize("trials", [500, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_reference_with_its_own_error_keeps_the_level(trials):
    rng = np.random.default_rng(14)
    rejected = blind = 0
    for _ in range(trials):
        draws, reference = Scatter(P), Scatter(P)
        draws.update(rng.normal(size=(60, P)) @ MIX.T)
        reference.update(3 * rng.normal(size=(90, P)))
        rejected += hotelling_test(draws, np.zeros(P), reference=reference).p <= 0.05
        blind += hotelling_test(draws, reference.mean).p <= 0.05
    # Yao's approximation holds its level within a percent
    assert abs(rejected / trials - 0.05) < 0.01 + 4 * math.sqrt(0.05 * 0.95 / trials)
    assert blind / trials > 0.1


def test_paired_test_finds_a_one_percent_error_that_the_unpaired_test_cannot():
    draws, exact = softmax_scores(np.random.default_rng(15), 2_000)
    basis = zero_sum_basis(2, 3)
    assert paired_hotelling(0.99 * draws, draws, basis).p < 1e-12
    assert hotelling_from_draws(0.99 * draws, exact, basis).p > 1e-3


def test_paired_test_of_an_estimator_with_itself_up_to_rounding_passes():
    draws, _ = softmax_scores(np.random.default_rng(16), 300)
    same = paired_hotelling(draws * (1 + 3e-16) + 1e-17, draws)
    assert same.p == 1 and same.fixed == 6
    with pytest.raises(DataError):
        paired_hotelling(draws, draws[:-1])


def test_noncentralities_of_the_design_are_reproduced():
    # 12 directions, level 1e-5, power .9 / .99 / .999
    got = [required_noncentrality(power, 12, 1e-5) for power in (0.9, 0.99, 0.999)]
    assert [round(value, 1) for value in got] == [51.9, 68.9, 82.8]
    assert required_noncentrality(0.01, 12, 0.01) == 0


@pytest.mark.parametrize(
    ("delta", "limit", "exact"),
    [(0.2, 1_723, 1_746), (0.1, 6_892, 6_916), (0.05, 27_571, 27_595), (0.02, 172_323, 172_347)],
)
def test_draws_for_power_99_are_those_of_the_chi_square_limit_and_a_few_more(delta, limit, exact):
    assert int(required_noncentrality(0.99, 12, 1e-5) / delta**2) == limit
    needed = required_draws(delta, 12, 1e-5, 0.99)
    assert needed == exact
    assert hotelling_power(needed, delta, 12, 1e-5) >= 0.99
    assert hotelling_power(needed - 1, delta, 12, 1e-5) < 0.99


def test_power_without_bias_is_the_level_and_no_draws_show_nothing():
    assert hotelling_power(50, 0.0, 12, 0.01) == pytest.approx(0.01)
    cut = sps.f.isf(0.05, 4, 4)
    assert hotelling_power(8, 0.8, 4, 0.05) == pytest.approx(sps.ncf.sf(cut, 4, 4, 8 * 0.64))
    assert required_draws(50.0, 3, 0.05, 0.5) == 4
    with pytest.raises(ConfigError):
        required_draws(0.0, 12, 0.01)
    with pytest.raises(ConfigError):
        hotelling_power(12, 0.1, 12, 0.01)
