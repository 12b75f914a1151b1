"""Evolution strategies on the logits against quadrature of the smoothed objective."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.nes import NES
from nasbench_snas.seeding import stream
from nasbench_snas.stats.hotelling import hotelling_from_draws
from nasbench_snas.testing.exact import (
    draw_gradients,
    exact_gradient,
    exact_objective,
    gradients_of_noise,
)
from nasbench_snas.testing.problems import Problem, toy_problem

SIGMA = 0.8


def smoothed_gradient(problem: Problem, sigma: float, nodes: int = 14) -> torch.Tensor:
    """Gradient of E[J(a + sigma eps)] by Gauss-Hermite quadrature, J by enumeration."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    size = problem.logits.numel()
    grid = torch.tensor(list(itertools.product(x, repeat=size)))
    weight = torch.tensor([math.prod(row) for row in itertools.product(w, repeat=size)])
    dist = problem.distribution().replicate(len(grid))
    with torch.no_grad():
        dist.alpha.add_(sigma * grid.view_as(dist.alpha))
    value = exact_objective(problem.loss, dist)
    gradient = torch.autograd.grad(value.sum(), dist.alpha)[0].flatten(1)
    return (weight / weight.sum()) @ gradient


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy_problem("exponential", 2, 2)


@pytest.fixture(scope="module")
def target(problem) -> torch.Tensor:
    return smoothed_gradient(problem, SIGMA)


def test_mean_is_the_gradient_of_the_smoothed_objective(problem, target):
    """False alarms 1e-5; a scale wrong by 10 % fails in the next test."""
    dist = problem.distribution()
    draws = draw_gradients(
        NES(sigma=SIGMA), problem.loss, dist, 200_000, stream(0, "nes"), replicates=20_000
    )
    assert hotelling_from_draws(draws, target.numpy()).p > 1e-5
    assert hotelling_from_draws(1.1 * draws, target.numpy()).p < 1e-5
    biased = exact_gradient(problem.loss, dist).alpha
    assert hotelling_from_draws(draws, biased.numpy()).p < 1e-5  # declared: biased


def test_smoothing_bias_is_of_second_order_in_sigma(problem):
    exact = exact_gradient(problem.loss, problem.distribution()).alpha
    gaps = [float((smoothed_gradient(problem, s, 8) - exact).norm()) for s in (0.1, 0.05, 0.025)]
    assert all(3.5 < a / b < 4.5 for a, b in itertools.pairwise(gaps)), gaps


def test_utilities_are_the_published_ones():
    n = 6
    raw = np.maximum(0, math.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    published = raw / raw.sum() - 1 / n  # for ranks by increasing loss, best first
    losses = torch.tensor([[0.3, -1.0, 2.0, 0.1, 9.0, 4.0]], dtype=torch.float64)
    got = NES(pairs=3, rank_shaping=True)._utilities(losses)[0]
    assert torch.allclose(got[losses[0].argsort()], torch.tensor(-n * published), atol=1e-12)
    assert float(got.sum()) == pytest.approx(0, abs=1e-12)


def test_rank_shaping_ignores_monotone_maps_of_the_loss():
    problem = toy_problem("exponential", 2, 3)
    dist, estimator = problem.distribution(), NES(pairs=3, rank_shaping=True)
    noise = estimator.noise(dist, 4, stream(1, "noise"))
    copies = dist.replicate(4)
    gradients = []
    for transform in (lambda x: x, lambda x: 100 * x.log() - 7):
        value = estimator.surrogate(lambda z, t=transform: t(problem.loss(z)), copies, noise)
        gradients.append(torch.autograd.grad(value.sum(), copies.alpha)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
    plain = gradients_of_noise(NES(pairs=3), problem.loss, dist, noise, 4)[0]
    assert not torch.allclose(plain, gradients[0].flatten(1))


def test_estimate_is_the_antithetic_difference_on_common_noise():
    problem = toy_problem("exponential", 2, 3)
    dist, estimator = problem.distribution(), NES(pairs=2, sigma=0.6)
    eps, common = estimator.noise(dist, 1, stream(2, "noise"))
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for i in range(2):
        ends = []
        for sign in (1, -1):
            logits = problem.logits + sign * 0.6 * eps[0, i]
            z = torch.eye(3, dtype=torch.float64)[(logits + common[0, i]).argmax(-1)]
            ends.append(float(problem.loss(z[None, None]).detach()))
        expected += (ends[0] - ends[1]) * eps[0, i] / (2 * 0.6) / 2
    got, _ = gradients_of_noise(estimator, problem.loss, dist, (eps, common), 1)
    torch.testing.assert_close(got[0], expected.flatten(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [{"pairs": 0}, {"sigma": 0.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="positive sigma"):
        NES(**settings)
