"""Proofs of the pathwise estimators against formulas that do not use them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch.distributions import RelaxedOneHotCategorical

from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.darts import DARTS
from nasbench_snas.estimators.dsnas import DSNAS
from nasbench_snas.estimators.gdas import GDAS
from nasbench_snas.estimators.gumbel_rao import GumbelRao
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.estimators.snas_credit import SNASCredit, concrete_score
from nasbench_snas.estimators.st_gumbel import STGumbel
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    draw_gradients,
    enumerate_architectures,
    exact_gradient,
    exact_moments,
    gradients_of_noise,
    gumbel_quadrature,
)
from nasbench_snas.testing.problems import cell_problem, toy_problem

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def at(estimator, tau):
    estimator.tau = tau
    return estimator


@pytest.mark.parametrize("tau", [5.0, 1.0, 0.5, 0.1])
def test_snas_jacobian_is_equation_24(tau):
    dist = toy_problem("exponential", 1, 4).distribution()
    noise = dist.noise(1, 1, stream(0, "g"))
    relax = at(SNAS(), tau).relax

    def weights(alpha_of_the_paper):
        dist.alpha.data.zero_()
        shifted = noise + alpha_of_the_paper.log()
        return relax(dist, shifted)[0, 0, 0]

    alpha = torch.tensor([0.4, 1.7, 0.2, 3.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(weights, alpha)
    z = weights(alpha)
    expected = (torch.eye(4) - z[:, None]) * z[None] / (tau * alpha[None])
    torch.testing.assert_close(jacobian, expected, **EXACT)


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_snas_gradients_are_equation_27_backpropagated_by_hand(tau):
    problem = cell_problem("initial")
    loss, dist, estimator = problem.loss, problem.distribution(), at(SNAS(), tau)
    noise = dist.noise(1, 1, stream(0, "g"))
    alpha, theta = gradients_of_noise(estimator, loss, dist, noise, 1)
    expected_alpha, expected_theta = equation_27(problem, noise[0, 0], tau)
    torch.testing.assert_close(alpha[0], expected_alpha, **EXACT)
    torch.testing.assert_close(theta[0], expected_theta, **EXACT)


@torch.no_grad()
def equation_27(problem, noise, tau):
    """Gradients for log alpha and theta of the cell, by the paper's recursion, without autograd."""
    loss = problem.loss
    z = ((problem.logits + noise) / tau).softmax(dim=-1)
    weight, bias, head, offset = (t[0] for t in loss.tensors(loss.theta))
    nodes, outputs = [loss.inputs], {}
    for target in (1, 2, 3):
        total = torch.zeros_like(loss.inputs)
        for e, (i, j) in enumerate(loss.EDGES):
            if j == target:
                outputs[e] = torch.tanh(nodes[i] @ weight[e] + bias[e])
                total = total + z[e, 1] * nodes[i] + z[e, 2] * outputs[e]
        nodes.append(total)
    features = torch.cat(nodes[1:], dim=1)
    residual = (features @ head + offset).softmax(dim=1)
    residual[torch.arange(len(loss.labels)), loss.labels] -= 1
    residual /= len(loss.labels)
    slopes = [torch.zeros_like(loss.inputs), *(residual @ head.T).chunk(3, dim=1)]
    h, d_weight, d_bias = torch.zeros(6, 3, dtype=z.dtype), weight.clone(), bias.clone()
    for target in (3, 2, 1):
        for e, (i, j) in enumerate(loss.EDGES):
            if j == target:
                inner = slopes[j] * z[e, 2] * (1 - outputs[e] ** 2)
                h[e] = torch.stack(
                    [
                        slopes[j].sum() * 0,
                        (slopes[j] * nodes[i]).sum(),
                        (slopes[j] * outputs[e]).sum(),
                    ]
                )
                d_weight[e], d_bias[e] = nodes[i].T @ inner, inner.sum(dim=0)
                slopes[i] = slopes[i] + z[e, 1] * slopes[j] + inner @ weight[e].T
    alpha = z * (h - (z * h).sum(dim=1, keepdim=True)) / tau
    parts = [d_weight, d_bias, features.T @ residual, residual.sum(dim=0)]
    return alpha.flatten(), torch.cat([p.flatten() for p in parts])


@pytest.mark.parametrize("tau", [2.0, 0.7, 0.2])
def test_concrete_score_is_the_derivative_of_the_density(tau):
    generator = stream(0, "score")
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    y = ((logits + noise) / tau).softmax(dim=-1).detach()
    density = RelaxedOneHotCategorical(torch.tensor(tau, dtype=y.dtype), logits=logits)
    (expected,) = torch.autograd.grad(density.log_prob(y).sum(), logits)
    torch.testing.assert_close(concrete_score(noise), expected, rtol=1e-9, atol=1e-9)


def test_concrete_score_given_the_sample_has_the_mean_of_the_discrete_score():
    dist = toy_problem("exponential", 1, 2).distribution()
    noise, weights = gumbel_quadrature(dist)
    score, hard = concrete_score(noise)[:, 0, 0], dist.hard(noise)[:, 0, 0]
    probs = dist.probs[0, 0].detach()
    for k in range(2):
        mean = (weights * hard[:, k]) @ score / probs[k]
        torch.testing.assert_close(mean, hard.new_tensor([k == 0, k == 1]) - probs, **EXACT)
    torch.testing.assert_close(weights @ score**2, torch.full((2,), 1 / 3, dtype=score.dtype))


def test_concrete_score_has_variance_k_minus_one_over_k_plus_one():
    draws = torch.empty(400_000, 8, dtype=torch.float64)
    draws.exponential_(generator=stream(0, "exp"))
    second = concrete_score(-draws.log())[:, 0].square()
    error = second.std().item() / math.sqrt(len(second))
    assert abs(second.mean().item() - 7 / 9) < 5 * error


def test_concrete_score_is_finite_where_single_precision_rounds_to_one_hot():
    dist = toy_problem("exponential", 1, 8).distribution().float()
    estimator = at(SNASCredit(), 0.03)
    noise = dist.noise(1, 20_000, stream(0, "g"))
    z = estimator.soft(dist, noise)
    assert (z == 0).any()
    out = estimator.relax(dist, noise)
    (gradient,) = torch.autograd.grad(out.sum(), dist.alpha)
    assert torch.isfinite(gradient).all()


def quadrature_mean(estimator, problem, of=0, nodes=400, split=True):
    dist = problem.distribution()
    noise, weights = gumbel_quadrature(dist, nodes, split=split)
    draws = gradients_of_noise(estimator, problem.loss, dist, noise, len(weights))
    return (weights @ draws[of]).numpy()


def closed_form_mean(problem, integrand):
    """Integrate ``integrand(difference of the Gumbels, logits)`` over the logistic density."""
    logits = problem.logits[0].numpy()
    switch = logits[1] - logits[0]

    def weighted(x):
        return integrand(x, logits) * math.exp(-abs(x)) / (1 + math.exp(-abs(x))) ** 2

    parts = [(-60.0, switch), (switch, 60.0)]
    return sum(integrate.quad(weighted, *part, epsabs=1e-12, limit=400)[0] for part in parts)


def sample(x, logits, tau):
    """Relaxed weight of the first operation, and the hard sample, for ``G = (x, 0)``."""
    y = 1 / (1 + math.exp(-(x + logits[0] - logits[1]) / tau))
    return y, np.array([1.0, 0.0]) if x + logits[0] - logits[1] > 0 else np.array([0.0, 1.0])


@pytest.mark.parametrize("kind", ["exponential", "quadratic"])
@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize("name", ["snas", "snas-credit", "st-gumbel", "gdas"])
def test_mean_is_the_integral_of_the_published_formula(kind, tau, name):
    problem = toy_problem(kind, 1, 2)
    c = problem.loss.theta.detach()[0].numpy()

    def slope(z):
        if kind == "exponential":
            return c * math.exp(c @ z)
        matrix, offset = c[:6].reshape(2, 3), c[6:]
        return matrix @ (z @ matrix - offset)

    def integrand(x, logits):
        y, hard = sample(x, logits, tau)
        soft = np.array([y, 1 - y])
        if name == "snas":
            h = slope(soft)
            return y * (1 - y) * (h[0] - h[1]) / tau
        if name == "snas-credit":
            t = 1 - 2 * math.exp(-x) / (math.exp(-x) + 1) if x > -700 else -1.0
            return t * (slope(soft) @ soft)
        h = slope(hard)
        if name == "gdas":
            h = h * hard
        return y * (1 - y) * (h[0] - h[1]) / tau

    estimator = {"snas": SNAS, "snas-credit": SNASCredit, "st-gumbel": STGumbel, "gdas": GDAS}[name]
    mean = quadrature_mean(at(estimator(), tau), problem)
    expected = closed_form_mean(problem, integrand)
    assert mean == pytest.approx([expected, -expected], rel=1e-8, abs=1e-9)


def test_gumbel_rao_has_the_mean_of_st_gumbel():
    problem, tau = toy_problem("exponential", 1, 2), 0.5
    dist = problem.distribution()
    points, weights = np.polynomial.legendre.leggauss(200)
    v, weights = torch.tensor((points + 1) / 2), torch.tensor(weights / 2)
    ratio, mean = v / (1 - v), 0
    probs = dist.probs[0, 0].detach()
    for k in range(2):
        hard = torch.zeros(200, 1, 1, 2, dtype=torch.float64)
        hard[..., k] = 1
        exponential = torch.where(hard > 0, torch.ones_like(hard), ratio[:, None, None, None])
        estimator = at(GumbelRao(samples=1), tau)
        noise = (1e6 * hard, exponential)
        draws, _ = gradients_of_noise(estimator, problem.loss, dist, noise, 200)
        mean = mean + probs[k] * (weights @ draws)
    assert mean.numpy() == pytest.approx(quadrature_mean(at(STGumbel(), tau), problem), rel=1e-8)


def test_gumbel_rao_averages_conditional_draws_and_never_adds_variance():
    problem = cell_problem("initial")
    dist = problem.distribution()
    variances = []
    for estimator in (STGumbel(), GumbelRao(samples=1), GumbelRao(samples=20)):
        at(estimator, 0.3)
        draws = draw_gradients(estimator, problem.loss, dist, 4000, stream(1, "gr"))
        variances.append(draws.var(axis=0, ddof=1).sum())
    assert variances[1] == pytest.approx(variances[0], rel=0.2)
    assert variances[2] < 0.7 * variances[0]


@pytest.mark.parametrize("activation, head", [("identity", "linear"), ("tanh", "cross-entropy")])
def test_darts_is_the_softmax_jacobian_at_the_probabilities(activation, head):
    problem = cell_problem("initial", activation=activation, head=head)
    dist = problem.distribution()
    p = dist.probs.detach()[:, None].requires_grad_()
    value = problem.loss(p)
    (h,) = torch.autograd.grad(value.sum(), p)
    expected = p * (h - (p * h).sum(dim=-1, keepdim=True))
    alpha, theta = gradients_of_noise(DARTS(), problem.loss, dist, None, 1)
    torch.testing.assert_close(alpha[0], expected.detach().flatten(), **EXACT)
    (direct,) = torch.autograd.grad(problem.loss(p.detach()).sum(), problem.loss.theta)
    torch.testing.assert_close(theta, direct, **EXACT)
    exact = exact_gradient(problem.loss, dist)
    gap = (alpha[0] - exact.alpha).norm() / exact.alpha.norm()
    assert gap < 1e-12 if head == "linear" else gap > 0.05


def test_dsnas_mean_is_score_times_first_order_credit():
    problem = cell_problem("initial")
    dist = problem.distribution()
    z = enumerate_architectures(6, 3)[None].requires_grad_()
    (h,) = torch.autograd.grad(problem.loss.viewed_by(True)(z).sum(), z)
    with torch.no_grad():
        weight = dist.log_prob(z).sum(dim=-1).exp()[..., None, None]
        credit = (h * z).sum(dim=-1, keepdim=True)
        expected = (weight * (z - dist.probs[:, None]) * credit).sum(dim=1).flatten()
    moments = exact_moments(DSNAS(), problem.loss, dist)
    torch.testing.assert_close(moments.alpha, expected, **EXACT)
    exact = exact_gradient(problem.loss, dist)
    torch.testing.assert_close(moments.theta, exact.theta, **EXACT)
    assert (moments.alpha - exact.alpha).norm() > 0.05 * exact.alpha.norm()


def test_first_order_estimators_are_exact_on_a_multilinear_network():
    straight = pytest.importorskip("nasbench_snas.estimators.straight_through")
    problem = cell_problem("initial", activation="identity", head="linear")
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist).alpha
    scale = exact.norm()
    darts, _ = gradients_of_noise(DARTS(), problem.loss, dist, None, 1)
    assert (darts[0] - exact).norm() <= 1e-12 * scale
    for estimator in (DSNAS(), straight.StraightThrough()):
        moments = exact_moments(estimator, problem.loss, dist)
        assert (moments.alpha - exact).norm() <= 1e-12 * scale


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_equation_7_holds_where_the_loss_is_affine_and_only_there(tau):
    for kind, equal in (("multilinear", True), ("exponential", False)):
        problem = toy_problem(kind, 1, 2)
        left = quadrature_mean(at(SNAS(), tau), problem)
        right = quadrature_mean(at(SNASCredit(), tau), problem)
        gap = np.linalg.norm(left - right) / np.linalg.norm(left)
        assert gap < 1e-8 if equal else gap > 0.05


def test_credit_form_tends_to_dsnas_as_the_temperature_vanishes():
    problem = toy_problem("exponential", 1, 2)
    limit = exact_moments(DSNAS(), problem.loss, problem.distribution()).alpha.numpy()
    gaps = [
        np.linalg.norm(quadrature_mean(at(SNASCredit(), tau), problem, nodes=400) - limit)
        for tau in (0.08, 0.04, 0.02)
    ]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.04 * np.linalg.norm(limit)


def test_credits_are_minus_the_taylor_terms_of_equation_8():
    problem = cell_problem("initial")
    dist, estimator = problem.distribution(), SNASCredit()
    noise = dist.noise(1, 1, stream(0, "g"))
    credits = estimator.credits(problem.loss, dist, noise)
    z = estimator.soft(dist, noise)
    step = 1e-6
    for e in range(6):
        values = []
        for factor in (1 + step, 1 - step):
            scaled = z.clone()
            scaled[:, :, e] *= factor
            values.append(problem.loss(scaled).item())
        slope = (values[0] - values[1]) / (2 * step)
        assert credits[0, 0, e].item() == pytest.approx(-slope, abs=1e-8)


@pytest.mark.parametrize("kind, slope", [("exponential", 1), ("quadratic", 1), ("multilinear", 2)])
def test_snas_bias_and_variance_have_their_orders_in_the_temperature(kind, slope):
    problem = toy_problem(kind, 1, 2, seed=1)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist).alpha[0].item()
    x = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    weights = torch.sigmoid(x) * torch.sigmoid(-x) * (x[1] - x[0])
    noise = torch.stack([x, torch.zeros_like(x)], dim=-1)[:, None, None]
    bias, variance = [], []
    for tau in (0.04, 0.02):
        draws, _ = gradients_of_noise(at(SNAS(), tau), problem.loss, dist, noise, len(x))
        mean = (weights @ draws[:, 0]).item()
        bias.append(abs(mean - exact))
        variance.append((weights @ draws[:, 0] ** 2).item() - mean**2)
    assert math.log2(bias[0] / bias[1]) == pytest.approx(slope, abs=0.12)
    assert math.log2(variance[0] / variance[1]) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("estimator", [SNAS, SNASCredit, STGumbel, GDAS, GumbelRao])
def test_temperatures_run_from_start_to_end_and_must_be_positive(estimator):
    made = estimator(tau_start=2.0, tau_end=0.5, schedule="geometric")
    made.set_progress(0.5)
    assert made.progress_values()["temperature"] == pytest.approx(1.0)
    with pytest.raises(ConfigError):
        estimator(tau_end=0.0)


@pytest.mark.parametrize("estimator", [SNASCredit, STGumbel, GDAS, GumbelRao])
def test_temperature_is_that_of_the_backward_pass(estimator):
    problem = cell_problem("initial")
    dist, made = problem.distribution(), estimator()
    noise = made.noise(dist, 1, stream(0, "g"))
    results = [gradients_of_noise(at(made, tau), problem.loss, dist, noise, 1) for tau in (1, 0.2)]
    assert not torch.allclose(results[0][0], results[1][0])
    if estimator is not SNASCredit:
        assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("estimator", [GDAS, DSNAS])
def test_single_path_estimators_ignore_operations_that_were_not_drawn(estimator):
    problem = cell_problem("initial")
    dist, made = problem.distribution(), estimator()
    noise = made.noise(dist, 1, stream(0, "g"))
    grads = [
        torch.autograd.grad(
            made.surrogate(problem.loss.viewed_by(everything), dist, noise).sum(), dist.alpha
        )[0]
        for everything in (False, True)
    ]
    assert torch.equal(*grads) and grads[0].any()
