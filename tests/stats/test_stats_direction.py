"""Intervals of the angle between an expected draw and a reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench_snas.stats import GradientMoments, Reference, summarise_gradient
from nasbench_snas.stats.direction import Angle, angle_interval

GOAL = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def moments(draws: np.ndarray) -> GradientMoments:
    found = GradientMoments(draws.shape[1])
    found.update(draws)
    return found


def at_angle(phi: float) -> np.ndarray:
    return math.cos(phi) * GOAL + math.sin(phi) * np.roll(GOAL, 1)


@pytest.mark.parametrize("phi", [0.1, 0.25, 1.2])
def test_angle_covers_near_zero_and_far_from_it(phi):
    """200 trials of 500 draws at a nominal 95 %: below 0.9 once in 500 if the level holds."""
    rng, mean, hits = np.random.default_rng(0), at_angle(phi), 0
    for _ in range(200):
        found = moments(mean + 1.5 * rng.standard_t(5, (500, 6)))
        interval = summarise_gradient(found, Reference.exact(GOAL)).cosine
        hits += interval.covers(math.cos(phi))
    assert hits >= 180


def test_cosine_of_an_unbiased_estimator_is_not_excluded():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = moments(GOAL + rng.normal(size=(400, 6)))
        summary = summarise_gradient(found, Reference.exact(GOAL))
        hits += summary.cosine.high >= 1 and summary.directional_bias.low <= 1e-12
    assert hits >= 185


def test_a_sampled_reference_widens_the_angle_and_stays_true():
    rng, mean, hits, wider = np.random.default_rng(2), at_angle(0.4), 0, 0
    for _ in range(60):
        found = moments(mean + rng.normal(size=(500, 6)))
        reference = Reference.from_moments(moments(GOAL + rng.normal(size=(500, 6))))
        sampled = summarise_gradient(found, reference).cosine
        exact = summarise_gradient(found, Reference.exact(GOAL)).cosine
        hits += sampled.covers(math.cos(0.4))
        wider += sampled.half_width > exact.half_width
    assert hits >= 54
    assert wider >= 54


def test_without_noise_the_angle_is_a_point_and_the_sine_turns_at_a_right_angle():
    still = angle_interval(at_angle(0.5), GOAL, [np.zeros((50, 6))], 50, 0.95)
    assert still.low == pytest.approx(0.5) and still.high == pytest.approx(0.5)
    wide = Angle(1.4, 1.8, 2.0).sine(1.0, 0.95, 10)
    assert wide.high == 1.0 and wide.low == pytest.approx(math.sin(1.8))
    beyond = Angle(2.0, 2.5, 2.0).sine(0.8, 0.95, 10)
    assert (beyond.low, beyond.high) == pytest.approx((math.sin(2.5), math.sin(2.0)))
