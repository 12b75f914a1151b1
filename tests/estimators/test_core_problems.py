"""The toy objectives and the enumeration that every proof rests on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    draw_gradients,
    enumerate_architectures,
    exact_gradient,
    exact_objective,
    gumbel_quadrature,
)
from nasbench_snas.testing.problems import STEPS, cell_problem, toy_problem

TOYS = ("multilinear", "quadratic", "exponential")


def random_weights(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def test_enumeration_lists_each_architecture_once():
    z = enumerate_architectures(3, 4)
    assert z.shape == (64, 3, 4)
    assert len({tuple(row.flatten().tolist()) for row in z}) == 64
    assert (z.sum(dim=-1) == 1).all()
    with pytest.raises(ConfigError):
        enumerate_architectures(14, 8)


@pytest.mark.parametrize("kind", TOYS)
def test_closed_form_toys_have_their_closed_form(kind):
    problem = toy_problem(kind)
    z = random_weights(1, 1, 2, 3)
    theta, flat = problem.loss.theta.detach()[0], z.flatten()
    expected = {
        "multilinear": lambda: (theta.view(2, 3) * z[0, 0]).sum(dim=-1).prod(),
        "quadratic": lambda: (flat @ theta[:18].view(6, 3) - theta[18:]).square().sum() / 2,
        "exponential": lambda: (theta @ flat).exp(),
    }[kind]()
    assert problem.loss(z).item() == pytest.approx(expected.item(), rel=1e-13)


def test_cell_is_the_network_of_figure_6():
    problem = cell_problem("initial")
    loss, z = problem.loss, random_weights(1, 1, 6, 3)[0, 0]
    weight, bias, head, offset = (t.detach()[0] for t in loss.tensors(loss.theta))

    def edge(e, x):
        return z[e, 1] * x + z[e, 2] * torch.tanh(x @ weight[e] + bias[e])

    x0 = loss.inputs
    x1 = edge(0, x0)
    x2 = edge(1, x0) + edge(2, x1)
    x3 = edge(3, x0) + edge(4, x1) + edge(5, x2)
    logits = torch.cat([x1, x2, x3], dim=1) @ head + offset
    expected = torch.nn.functional.cross_entropy(logits, loss.labels)
    assert loss(z[None, None]).item() == pytest.approx(expected.item(), rel=1e-13)
    error = (logits.argmax(dim=1) != loss.labels).double().mean()
    assert loss.error(z[None, None]).item() == pytest.approx(error.item())


def test_identity_cell_with_linear_head_is_affine_in_each_edge():
    loss = cell_problem("initial", activation="identity", head="linear").loss
    z = random_weights(1, 3, 6, 3)
    for edge in range(6):
        both = z[:, :2].clone()
        both[:, :, [i for i in range(6) if i != edge]] = z[
            :, :1, [i for i in range(6) if i != edge]
        ]
        middle = loss(both.mean(dim=1, keepdim=True))
        torch.testing.assert_close(middle, loss(both).mean(dim=1, keepdim=True))


@pytest.mark.parametrize("name", [*TOYS, "cell"])
def test_replicated_theta_gives_each_draw_its_own_gradient(name):
    problem = cell_problem("initial") if name == "cell" else toy_problem(name)
    edges, operations = problem.logits.shape
    z = random_weights(4, 2, edges, operations)
    copies = problem.loss.replicate(4)
    (together,) = torch.autograd.grad(copies(z).sum(), copies.theta)
    for r in range(4):
        (alone,) = torch.autograd.grad(problem.loss(z[r : r + 1]).sum(), problem.loss.theta)
        torch.testing.assert_close(together[r], alone[0])


def test_gradient_of_skipped_operations_is_zero_unless_all_run():
    loss = toy_problem("exponential").loss
    z = enumerate_architectures(2, 3)[None].requires_grad_()
    (skipped,) = torch.autograd.grad(loss(z).sum(), z)
    (everything,) = torch.autograd.grad(loss.viewed_by(True)(z).sum(), z)
    assert (skipped[z == 0] == 0).all() and (everything != 0).all()
    torch.testing.assert_close(skipped[z == 1], everything[z == 1])
    torch.testing.assert_close(loss(z), loss.viewed_by(True)(z))


@pytest.mark.parametrize("stage", ["initial", "mid"])
def test_exact_gradient_agrees_with_finite_differences(stage):
    problem = cell_problem(stage)
    dist, step = problem.distribution(), 1e-5
    gradient = exact_gradient(problem.loss, dist)
    for row in (0, 7, 17):
        values = []
        for sign in (1, -1):
            moved = problem.distribution()
            moved.alpha.data.flatten()[row] += sign * step
            values.append(exact_objective(problem.loss, moved).item())
        assert gradient.alpha[row].item() == pytest.approx(
            (values[0] - values[1]) / (2 * step), abs=1e-9
        )
    for column in (0, 100, 158):
        values = []
        for sign in (1, -1):
            theta = problem.loss.theta.detach().clone()
            theta[0, column] += sign * step
            values.append(exact_objective(problem.loss.with_theta(theta), dist).item())
        assert gradient.theta[column].item() == pytest.approx(
            (values[0] - values[1]) / (2 * step), abs=1e-9
        )
    assert gradient.value == pytest.approx(exact_objective(problem.loss, dist).item())


def test_stages_are_reproducible_and_ever_more_decided():
    entropies = []
    for stage in STEPS:
        first, second = cell_problem(stage), cell_problem(stage)
        assert torch.equal(first.logits, second.logits)
        assert torch.equal(first.loss.theta, second.loss.theta)
        dist = first.distribution()
        entropies.append(dist.entropy(stream(0, "x")).mean().item())
    assert entropies[0] > 0.9 * np.log(3) > 0.75 * np.log(3) > entropies[1]
    assert entropies[1] > 0.5 * np.log(3) > entropies[2]
    with pytest.raises(ConfigError):
        cell_problem("never")
    with pytest.raises(ConfigError):
        toy_problem("cubic")


def test_draws_do_not_depend_on_which_gradient_is_asked_for():
    from nasbench_snas.estimators.snas import SNAS

    problem = toy_problem("exponential")
    dist = problem.distribution()
    options = [
        draw_gradients(SNAS(), problem.loss, dist, 10, stream(0, "d"), of=of, replicates=4)
        for of in ("alpha", "theta", "alpha")
    ]
    assert options[0].shape == (10, 6) and options[1].shape == (10, 6)
    assert np.array_equal(options[0], options[2])
    assert dist.alpha.grad is None and problem.loss.theta.grad is None


def test_quadrature_integrates_the_logistic_difference():
    dist = toy_problem("exponential", 1, 2).distribution()
    noise, weights = gumbel_quadrature(dist)
    assert weights.sum().item() == pytest.approx(1, abs=1e-13)
    frequency = weights @ dist.hard(noise)[:, 0, 0]
    torch.testing.assert_close(frequency, dist.probs[0, 0].detach(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ConfigError):
        gumbel_quadrature(toy_problem("exponential").distribution())
