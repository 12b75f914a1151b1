"""Proofs of REBAR and RELAX: unbiased by quadrature, tuned by the true gradient of the variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.darts import DARTS
from nasbench_snas.estimators.dsnas import DSNAS
from nasbench_snas.estimators.gdas import GDAS
from nasbench_snas.estimators.gumbel_rao import GumbelRao
from nasbench_snas.estimators.local_expectation import LocalExpectation
from nasbench_snas.estimators.muprop import MuProp
from nasbench_snas.estimators.rebar import REBAR
from nasbench_snas.estimators.reinforce import Reinforce
from nasbench_snas.estimators.relax import RELAX
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.self_critical import SelfCritical
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.estimators.snas_credit import SNASCredit
from nasbench_snas.estimators.st_gumbel import STGumbel
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    draw_gradients,
    exact_gradient,
    gradients_of_noise,
    gumbel_quadrature,
)
from nasbench_snas.testing.problems import cell_problem, toy_problem


def learnt(estimator, problem):
    """Give a RELAX estimator a control variate that is not zero."""
    estimator.double()
    estimator.control(torch.zeros(1, 1, *problem.logits.shape, dtype=torch.float64))
    with torch.no_grad():
        for index, parameter in enumerate(estimator.network.parameters()):
            generator = stream(index, "network")
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return estimator


def grid(dist, nodes):
    """Nodes for the difference of the Gumbels times the ratio of the conditional exponentials.

    Whatever depends on the conditional noise through differences depends on the ratio of the
    loser's exponential to the winner's only, which is ``v / (1 - v)`` with v uniform.
    """
    noise, first = gumbel_quadrature(dist, nodes)
    points, second = np.polynomial.legendre.leggauss(nodes)
    v = torch.tensor((points + 1) / 2)
    count = len(first)
    noise = noise.repeat_interleave(nodes, dim=0)
    hard = dist.hard(noise)
    ratio = (v / (1 - v)).repeat(count)[:, None, None, None]
    exponential = torch.where(hard > 0, torch.ones_like(hard), ratio)
    weights = first.repeat_interleave(nodes) * torch.tensor(second / 2).repeat(count)
    return (noise, exponential), weights


@pytest.mark.parametrize("kind", ["quadratic", "exponential"])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: REBAR(tau=0.5, eta=1.0),
        lambda p: REBAR(tau=1.0, eta=-0.7),
        lambda p: learnt(RELAX(hidden=5, tau=1.0), p),
    ],
)
def test_quadrature_over_all_noise_gives_the_exact_gradient(kind, make):
    problem = toy_problem(kind, 1, 2)
    dist = problem.distribution()
    noise, weights = grid(dist, 60)
    estimator = make(problem).double().eval()
    alpha, theta = gradients_of_noise(estimator, problem.loss, dist, noise, len(weights))
    exact = exact_gradient(problem.loss, dist)
    torch.testing.assert_close(weights @ alpha, exact.alpha, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights @ theta, exact.theta, rtol=1e-9, atol=1e-9)
    plain = Reinforce(baseline="none")
    draws, _ = gradients_of_noise(plain, problem.loss, dist, noise[0], len(weights))
    assert (alpha - draws).abs().max() > 0.05


def test_rebar_draw_is_the_published_formula():
    problem = cell_problem("initial")
    dist, estimator = problem.distribution(), REBAR(tau=0.4, eta=0.8).double().eval()
    noise = estimator.noise(dist, 1, stream(0, "g"))
    alpha, theta = gradients_of_noise(estimator, problem.loss, dist, noise, 1)
    hard = dist.hard(noise[0])
    pieces = []
    for z in (dist.perturb(noise[0]), dist.conditional(hard, noise[1])):
        value = problem.loss((z / 0.4).softmax(dim=-1))
        (gradient,) = torch.autograd.grad(value.sum(), dist.alpha, retain_graph=True)
        pieces.append((value.detach(), gradient))
    loss = problem.loss(hard)
    (direct,) = torch.autograd.grad(loss.sum(), problem.loss.theta)
    score = hard[:, 0] - dist.probs.detach()
    expected = (loss.detach() - 0.8 * pieces[1][0])[..., None] * score
    expected = expected + 0.8 * (pieces[0][1] - pieces[1][1])
    torch.testing.assert_close(alpha, expected.flatten(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(theta, direct, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_parameters_are_tuned_by_the_gradient_of_the_squared_estimate(name):
    problem = cell_problem("initial")
    dist = problem.distribution()
    estimator = REBAR(tau=0.6, eta=0.7) if name == "rebar" else learnt(RELAX(hidden=4), problem)
    estimator = estimator.double().train()
    noise = estimator.noise(dist, 1, stream(2, "g"))

    def squared(create_graph):
        value = estimator.surrogate(problem.loss, dist, noise).sum()
        (gradient,) = torch.autograd.grad(value, dist.alpha, create_graph=create_graph)
        return gradient.square().sum()

    own = list(estimator.parameters())
    grads = torch.autograd.grad(squared(True), own)
    for parameter, gradient in zip(own, grads, strict=True):
        values, step = [], 1e-5
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[0] += sign * step
            values.append(squared(False).item())
            with torch.no_grad():
                parameter.view(-1)[0] -= sign * step
        numeric = (values[0] - values[1]) / (2 * step)
        assert gradient.flatten()[0].item() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_tuning_reduces_the_variance():
    problem = cell_problem("initial")
    dist, estimator = problem.distribution(), RELAX().double()
    estimator.control(torch.zeros(1, 1, 6, 3, dtype=torch.float64))
    optimiser, generator = torch.optim.Adam(estimator.parameters(), lr=0.02), stream(0, "tune")
    copies = dist.replicate(64)
    before = draw_gradients(estimator, problem.loss, dist, 2000, stream(1, "v")).var(axis=0).sum()
    for _ in range(60):
        noise = estimator.noise(copies, 64, generator)
        value = estimator.surrogate(problem.loss.replicate(64), copies, noise).sum()
        (gradient,) = torch.autograd.grad(value, copies.alpha, create_graph=True)
        optimiser.zero_grad()
        torch.autograd.backward(gradient.square().sum() / 64, inputs=list(estimator.parameters()))
        optimiser.step()
    after = draw_gradients(estimator, problem.loss, dist, 2000, stream(1, "v")).var(axis=0).sum()
    assert after < 0.5 * before


def test_relax_starts_as_reinforce_without_baseline():
    problem = toy_problem("exponential")
    dist, estimator = problem.distribution(), RELAX()
    noise = estimator.noise(dist, 5, stream(0, "g"))
    first = gradients_of_noise(estimator, problem.loss, dist, noise, 5)
    plain = Reinforce(baseline="none")
    second = gradients_of_noise(plain, problem.loss, dist, noise[0], 5)
    torch.testing.assert_close(first[0], second[0])


def test_relax_state_fits_a_new_instance_that_has_no_network_yet():
    problem = toy_problem("exponential")
    dist, first, second = problem.distribution(), learnt(RELAX(), problem), RELAX().double()
    second.load_state_dict(first.state_dict())
    noise = first.noise(dist, 5, stream(0, "g"))
    draws = [gradients_of_noise(e, problem.loss, dist, noise, 5)[0] for e in (first, second)]
    assert torch.equal(*draws)


def test_rebar_without_tuning_has_no_trainable_parameters():
    estimator = REBAR(tune=False)
    assert not estimator.tunes_variance
    assert not [p for p in estimator.parameters() if p.requires_grad]
    assert estimator.progress_values()["temperature"] == pytest.approx(0.5)
    with pytest.raises(ConfigError):
        REBAR(tau=0)


EVERY = [
    SNAS,
    SNASCredit,
    DARTS,
    DSNAS,
    STGumbel,
    GDAS,
    GumbelRao,
    Reinforce,
    RLOO,
    SelfCritical,
    MuProp,
    LocalExpectation,
    REBAR,
    RELAX,
]


@pytest.mark.parametrize("estimator", EVERY)
def test_theta_is_trained_once_at_the_weights_that_were_drawn(estimator):
    problem, made = cell_problem("initial"), estimator()
    dist = problem.distribution()
    copies, loss = dist.replicate(4), problem.loss.replicate(4)
    noise = made.noise(copies, 4, stream(0, "g"))
    _, theta = gradients_of_noise(made, problem.loss, dist, noise, 4)
    weights = made.weights(copies, noise).detach()
    (direct,) = torch.autograd.grad(loss(weights).mean(dim=1).sum(), loss.theta)
    torch.testing.assert_close(theta, direct, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("estimator", EVERY)
def test_gradient_of_each_edge_sums_to_zero_in_every_draw(estimator):
    problem, made = cell_problem("mid"), estimator().double()
    if estimator is RELAX:
        learnt(made, problem)
    dist = problem.distribution()
    noise = made.noise(dist.replicate(32), 32, stream(0, "g"))
    alpha, _ = gradients_of_noise(made, problem.loss, dist, noise, 32)
    assert alpha.any()
    assert alpha.view(32, 6, 3).sum(dim=-1).abs().max() <= 1e-12 * alpha.abs().max()


def test_conditional_noise_of_an_impossible_operation_has_finite_gradients():
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    alpha[0, 1] = -1e9
    dist = Categorical(alpha).replicate(2)
    z = dist.hard(dist.noise(2, 3, generator))
    exponential = torch.empty(2, 3, 3, 4, dtype=torch.float64).exponential_(generator=generator)
    drawn = dist.conditional(z, exponential)
    assert torch.equal(drawn.argmax(dim=-1), z.argmax(dim=-1))
    (drawn / 0.5).softmax(dim=-1)[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in dist.parameters())
