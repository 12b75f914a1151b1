"""Straight-through, ReinMax and the two-path gates against enumeration and quadrature."""

from __future__ import annotations

import itertools

import pytest
import torch

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.proxyless import Proxyless
from nasbench_snas.estimators.reinmax import ReinMax
from nasbench_snas.estimators.st_gumbel import STGumbel
from nasbench_snas.estimators.straight_through import StraightThrough
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    SELECT,
    enumerate_architectures,
    exact_gradient,
    exact_moments,
    gradients_of_noise,
)
from nasbench_snas.testing.losses import Exponential
from nasbench_snas.testing.problems import cell_problem, toy_problem


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def jacobian(q: torch.Tensor) -> torch.Tensor:
    """Of the softmax at ``q``, shape (..., K, K)."""
    return torch.diag_embed(q) - q[..., :, None] * q[..., None, :]


def hard_gradients(problem) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All architectures, their probabilities, and dL/dz at each."""
    dist = problem.distribution()
    z = enumerate_architectures(dist.num_edges, dist.num_operations)
    probability = dist.log_prob(z[None]).sum(-1)[0].exp().detach()
    leaf = z.clone().requires_grad_()
    losses = problem.loss.viewed_by(True)(leaf[None])
    return z, probability, torch.autograd.grad(losses.sum(), leaf)[0]


@pytest.mark.parametrize("estimator", [StraightThrough(), ReinMax()], ids=lambda e: e.name)
def test_mean_is_exact_on_multilinear_losses(estimator):
    for problem in (
        toy_problem("multilinear", 3, 3),
        cell_problem(activation="identity", head="linear"),
    ):
        dist = problem.distribution()
        exact = exact_gradient(problem.loss, dist)
        moments = exact_moments(estimator, problem.loss, dist)
        assert relative(moments.alpha, exact.alpha) <= 1e-12
        assert relative(moments.theta, exact.theta) <= 1e-12
        assert moments.value == pytest.approx(exact.value, rel=1e-12)


def test_reinmax_is_exact_on_quadratic_losses_and_straight_through_is_not():
    problem = toy_problem("quadratic", 3, 3)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    assert relative(exact_moments(ReinMax(), problem.loss, dist).alpha, exact.alpha) <= 1e-12
    assert relative(exact_moments(ReinMax(tau=1.2), problem.loss, dist).alpha, exact.alpha) > 1e-3
    assert relative(exact_moments(StraightThrough(), problem.loss, dist).alpha, exact.alpha) > 1e-2


@pytest.mark.parametrize("tau", [1.0, 1.5])
def test_biased_means_equal_their_formulas_summed_over_all_architectures(tau):
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    z, probability, h = hard_gradients(problem)
    p = problem.logits.softmax(-1)
    middle = ((problem.logits / tau).softmax(-1) + z) / 2
    reinmax = 2 * jacobian(middle) @ h[..., None] - 0.5 * jacobian(p) @ h[..., None]
    straight = jacobian(p) @ h[..., None]
    for estimator, formula in ((ReinMax(tau=tau), reinmax), (StraightThrough(), straight)):
        expected = (probability[:, None, None] * formula[..., 0]).sum(0).flatten()
        moments = exact_moments(estimator, problem.loss, dist)
        assert relative(moments.alpha, expected) <= 1e-12
        assert relative(moments.theta, exact_gradient(problem.loss, dist).theta) <= 1e-12


def st_gumbel_mean(problem, tau: float) -> torch.Tensor:
    """E[ST-Gumbel] for one edge of two operations by quadrature over the logistic difference."""
    shift = float(problem.logits[0, 0] - problem.logits[0, 1])
    step = tau / 40  # a cell boundary lies on the jump at minus shift
    x = -shift + step * (torch.arange(-int(34 / step), int(34 / step), dtype=torch.float64) + 0.5)
    weight = torch.sigmoid(x) * torch.sigmoid(-x) * step
    noise = torch.stack([x, torch.zeros_like(x)], dim=-1)[:, None, None]
    estimator = STGumbel(tau_start=tau, schedule="constant")
    dist = problem.distribution()
    alpha, _ = gradients_of_noise(estimator, problem.loss, dist, noise, len(x))
    return weight @ alpha


def test_st_gumbel_tends_to_reinmax_as_the_temperature_vanishes():
    problem = toy_problem("exponential", 1, 2)
    dist = problem.distribution()
    limit = exact_moments(ReinMax(), problem.loss, dist).alpha
    means = [st_gumbel_mean(problem, tau) for tau in (0.08, 0.04, 0.02, 0.01)]
    gaps = [relative(mean, limit) for mean in means]
    assert all(1.8 < a / b < 2.2 for a, b in itertools.pairwise(gaps)), gaps  # linear in tau
    extrapolated = 2 * means[-1] - means[-2]
    assert relative(extrapolated, limit) < 1e-3
    exact = exact_gradient(problem.loss, dist).alpha
    assert relative(limit, exact) > 0.03  # the limit is not the gradient


def test_reinmax_refuses_a_temperature_below_one():
    with pytest.raises(ConfigError, match="at least 1"):
        ReinMax(tau=0.9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_values_are_exactly_one_hot(dtype):
    dist = Categorical(torch.randn((4, 5), generator=stream(0, "logits")).to(dtype))
    for estimator in (StraightThrough(n=3), ReinMax(n=3)):
        noise = estimator.noise(dist, 2, stream(0, "noise"))
        z = estimator.relax(dist, noise)
        assert torch.equal(z.detach(), dist.hard(noise))
        assert z.shape == (2, 3, 4, 5) and z.dtype == dtype


def two_path_outcomes(p: torch.Tensor):
    """Probability of each ordered pair, times the noise that selects it, for one edge."""
    for first, second in itertools.permutations(range(len(p)), 2):
        order = torch.zeros(len(p), dtype=torch.float64)
        order[first], order[second] = 2 * SELECT, SELECT
        yield float(p[first] * p[second] / (1 - p[first])), first, second, order


@pytest.mark.parametrize("law", ["published", "exact"])
def test_two_path_mean_equals_the_sum_over_pairs_and_gates(law):
    problem = toy_problem("exponential", 1, 3)
    p, dist = problem.logits[0].softmax(-1), problem.distribution()
    h = hard_gradients(problem)[2]
    h = {int(z[0].argmax()): h[i, 0] for i, z in enumerate(enumerate_architectures(1, 3))}
    mean, expected, marginal = torch.zeros(3).double(), torch.zeros(3).double(), torch.zeros(3)
    for chance, first, second, order in two_path_outcomes(p):
        q = p[first] / (p[first] + p[second])
        for gate, share in ((first, q), (second, 1 - q)):
            noise = torch.zeros(2, 1, 1, 1, 3, dtype=torch.float64)
            noise[0, ...], noise[1, 0, 0, 0, gate] = order, SELECT
            draw, _ = gradients_of_noise(Proxyless(law=law), problem.loss, dist, tuple(noise), 1)
            mean += chance * share * draw[0]
            opened = gate if law == "published" else first
            slope = q * (1 - q) * (h[opened][first] - h[opened][second])
            expected[first] += chance * share * slope
            expected[second] -= chance * share * slope
            marginal[opened] += chance * share
    assert relative(mean, expected) <= 1e-12
    if law == "exact":
        assert torch.allclose(marginal.double(), p, atol=1e-6)
    else:
        assert (marginal.double() - p).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("law", "marginal"),
    [("published", (0.7714, 0.1739, 0.0547)), ("exact", (0.7, 0.2, 0.1))],
)
def test_two_path_opens_operations_by_the_stated_law(law, marginal):
    dist = Categorical(torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log())
    estimator = Proxyless(law=law, n=100_000)
    noise = estimator.noise(dist, 1, stream(0, "law"))
    z = estimator.relax(dist, noise).detach()[0, :, 0]
    frequency = (z > 0.5).double().mean(0)
    expected = torch.tensor(marginal, dtype=torch.float64)
    error = (expected * (1 - expected) / estimator.n).sqrt()
    assert ((frequency - expected).abs() < 4.5 * error + 1e-4).all(), frequency
    assert (estimator.pair(dist, noise).sum(-1) == 2).all() and ((z != 0).sum(-1) == 1).all()
    theta = estimator.weights(dist, noise)[0, :, 0].mean(0)  # theta alone: one path from p
    p = torch.tensor((0.7, 0.2, 0.1), dtype=torch.float64)
    assert ((theta - p).abs() < 4.5 * (p * (1 - p) / estimator.n).sqrt()).all()


def test_two_path_runs_two_operations_and_the_closed_one_cannot_be_seen():
    loss = Exponential(torch.randn(20, generator=stream(1, "c"), dtype=torch.float64), 4, 5)
    dist = Categorical(torch.randn((4, 5), generator=stream(2, "a"), dtype=torch.float64))
    estimator = Proxyless(n=2)
    z = estimator.relax(dist, estimator.noise(dist, 3, stream(0, "noise"))).detach()
    assert torch.equal(loss(z), loss(z.round()))
    with pytest.raises(ConfigError, match="unknown law"):
        Proxyless(law="other")
