"""Intervals that a few rare large draws would make worthless are not given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench_snas.stats import GradientMoments, Reference, summarise_gradient
from nasbench_snas.stats.tails import LEAST_EFFECTIVE, effective_draws


def moments(draws: np.ndarray) -> GradientMoments:
    found = GradientMoments(draws.shape[1])
    found.update(draws)
    return found


def test_draws_that_are_large_once_in_a_hundred_count_as_a_hundredth():
    rng = np.random.default_rng(0)
    draws = np.where(rng.random((20_000, 1)) < 0.01, 1.0, 0.0) * np.sign(
        rng.normal(size=(20_000, 1))
    )
    assert effective_draws(moments(draws)) == pytest.approx(200, rel=0.4)
    assert effective_draws(moments(rng.normal(size=(20_000, 4)))) > 3_000


def test_one_draw_that_outweighs_all_others_counts_as_one():
    draws = np.random.default_rng(0).normal(size=(512, 3))
    draws[17] = 1e4
    assert effective_draws(moments(draws)) == pytest.approx(1, abs=0.1)


def test_draws_without_variance_have_no_such_limit():
    assert math.isinf(effective_draws(moments(np.ones((512, 3)))))


def test_interval_is_not_estimated_where_rare_draws_rule_and_is_where_they_do_not():
    """Draws of 30 with probability 0.002, else of 0.1: the mean is mostly the rare ones'."""
    rng = np.random.default_rng(1)
    rare = np.where(rng.random((512, 1)) < 0.004, 30.0, 0.1) * rng.normal(size=(512, 3))
    reference = Reference.exact(np.array([1.0, 0.0, 0.0]))
    summary = summarise_gradient(moments(rare), reference)
    assert effective_draws(moments(rare)) < LEAST_EFFECTIVE
    assert summary.bias_sq.method.startswith("not estimated")
    assert math.isnan(summary.bias_sq.low) and math.isnan(summary.excluded_relative_bias)
    assert math.isfinite(summary.bias_sq.estimate)
    plain = summarise_gradient(moments(rng.normal(size=(512, 3))), reference)
    assert plain.bias_sq.method == "test inversion" and math.isfinite(plain.bias_sq.high)
