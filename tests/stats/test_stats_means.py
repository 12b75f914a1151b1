"""The t interval, the interquartile mean and seeds from data against closed forms."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats import data_seed, interquartile_mean, mean_interval


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


def test_iqm_of_eight_values_is_the_mean_of_the_middle_four():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == 3.5
    assert interquartile_mean([1, 2, 3]) == 2  # floor(3 / 4) = 0 values are cut


def test_a_collapsed_run_moves_the_mean_and_hardly_the_iqm():
    values = np.r_[np.linspace(90, 91, 11), 10.0]
    assert values.mean() < 84
    assert 90.2 < interquartile_mean(values) < 90.8


def test_t_interval_at_five_seeds_covers_95_percent_of_the_time():
    trials = 4_000
    data = np.random.default_rng(5).normal(3, 2, size=(trials, 5))
    covered = np.mean([mean_interval(row).covers(3) for row in data])
    assert abs(covered - 0.95) < binomial_band(0.95, trials)
