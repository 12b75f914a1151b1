"""Optimisation levels against finite differences of their objectives, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_cell import SPACE, batch, generator
from torch import Tensor

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError, DivergedError
from nasbench_snas.estimators.darts import DARTS
from nasbench_snas.estimators.random import Random
from nasbench_snas.estimators.reinforce import Reinforce
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.search.levels import Learner, search_step
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.unrolled import UnrolledLoss
from nasbench_snas.supernet.reference import ReferenceParent

RATE = 0.1


def parent() -> ReferenceParent:
    return ReferenceParent(SPACE, generator(1)).double()


def distribution() -> Categorical:
    return Categorical(torch.randn(SPACE.num_edges, 3, generator=generator(2)).double())


def unrolled(
    network: ReferenceParent, hessian: str = "exact", difference: float = 1e-6
) -> UnrolledLoss:
    outer, inner = SupernetLoss(network, *batch(4)), SupernetLoss(network, *batch(3))
    return UnrolledLoss(network, outer, inner, RATE, hessian, difference)  # type: ignore[arg-type]


def bilevel_objective(z: Tensor) -> Tensor:
    """L_val(theta - xi grad L_train(theta, z), z), written out with explicit weight updates."""
    network = parent()
    train = SupernetLoss(network, *batch(3))
    loss = train(z[None, None])[0, 0]
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            if gradient is not None:
                parameter -= RATE * gradient
    return SupernetLoss(network, *batch(4))(z[None, None])[0, 0].detach()


def central_differences(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    step, result = 1e-6, torch.zeros_like(at)
    for index in range(at.numel()):
        shift = torch.zeros_like(at).view(-1)
        shift[index] = step
        shift = shift.view_as(at)
        result.view(-1)[index] = (function(at + shift) - function(at - shift)) / (2 * step)
    return result


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_the_unrolled_gradient_equals_finite_differences_of_the_bilevel_objective() -> None:
    z = distribution().probs[0].detach().requires_grad_()
    value = unrolled(parent())(z[None, None])[0, 0]
    torch.testing.assert_close(value.detach(), bilevel_objective(z.detach()))
    (gradient,) = torch.autograd.grad(value, z)
    expected = central_differences(bilevel_objective, z.detach())
    assert relative(gradient, expected) < 1e-6
    first_order = SupernetLoss(parent(), *batch(4))(z[None, None])[0, 0]
    (plain,) = torch.autograd.grad(first_order, z)
    assert relative(plain, expected) > 1e-3  # the test can tell the levels apart


def test_the_finite_difference_hessian_agrees_with_the_exact_one() -> None:
    gradients = []
    for hessian in ("exact", "finite-difference"):
        z = distribution().probs[0].detach().requires_grad_()
        value = unrolled(parent(), hessian)(z[None, None]).sum()
        gradients.append(torch.autograd.grad(value, z)[0])
    assert relative(gradients[1], gradients[0]) < 1e-6


def test_unrolling_leaves_weights_and_running_statistics_alone() -> None:
    network = parent()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    z = distribution().probs[0].detach().requires_grad_()
    unrolled(network)(z[None, None]).sum().backward()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("level", ["bilevel", "unrolled"])
def test_alphas_step_follows_the_gradient_of_its_level(level: str) -> None:
    dist, network = distribution(), parent()
    start = dist.alpha.detach().clone()
    learner = make_learner(DARTS(), dist, network, alpha_rate=1.0)
    search_step(level, learner, batch(3), batch(4))  # type: ignore[arg-type]

    def objective(alpha: Tensor) -> Tensor:
        z = alpha.softmax(dim=-1)[0]
        if level == "unrolled":
            return bilevel_objective(z)
        return SupernetLoss(parent(), *batch(4))(z[None, None])[0, 0].detach()

    expected = central_differences(objective, start)
    assert relative(start - dist.alpha.detach(), expected) < 1e-6


def make_learner(
    estimator: object, dist: Categorical, network: ReferenceParent, alpha_rate: float = 0.1
) -> Learner:
    return Learner(
        estimator=estimator,  # type: ignore[arg-type]
        dist=dist,
        parent=network,
        theta_optimizer=torch.optim.SGD(network.parameters(), lr=RATE),
        alpha_optimizer=torch.optim.SGD(dist.parameters(), lr=alpha_rate),
        make_loss=lambda b, theta=True: SupernetLoss(network, *b),
        cost_term=lambda: None,
        generator=generator(5),
    )


def test_joint_trains_theta_and_alpha_with_one_backward_pass() -> None:
    dist, network = distribution(), parent()
    estimator = SNAS(tau_start=0.7, tau_end=0.7)
    before = [p.detach().clone() for p in (*network.parameters(), dist.alpha)]
    noise = estimator.noise(dist, 1, generator(5))
    value = SupernetLoss(network, *batch(3))(estimator.relax(dist, noise)).sum()
    gradients = torch.autograd.grad(value, [*network.parameters(), dist.alpha])
    search_step("joint", make_learner(estimator, dist, network), batch(3), None)
    after = [*network.parameters(), dist.alpha]
    for p, q, g in zip(before, after, gradients, strict=True):
        torch.testing.assert_close(q.detach(), p - RATE * g)


def test_bilevel_trains_theta_on_the_training_batch_only() -> None:
    dist, network = distribution(), parent()
    learner = make_learner(DARTS(), dist, network, alpha_rate=1e-12)
    z = dist.probs[:, None].detach()
    reference = parent()
    loss = SupernetLoss(reference, *batch(3))(z).sum()
    gradients = torch.autograd.grad(loss, list(reference.parameters()))
    search_step("bilevel", learner, batch(3), batch(4))
    for p, q, g in zip(reference.parameters(), network.parameters(), gradients, strict=True):
        torch.testing.assert_close(q.detach(), p.detach() - RATE * g)


def test_alpha_stays_while_theta_warms_up_and_for_an_estimator_without_gradient() -> None:
    for estimator, train_alpha in ((DARTS(), False), (Random(), True)):
        dist, network = distribution(), parent()
        start = dist.alpha.detach().clone()
        learner = make_learner(estimator, dist, network)
        search_step("joint", learner, batch(3), None, train_alpha=train_alpha)
        assert torch.equal(dist.alpha.detach(), start)


def test_a_missing_architecture_batch_is_an_error() -> None:
    learner = make_learner(Reinforce(), distribution(), parent())
    with pytest.raises(ConfigError, match="architecture split"):
        search_step("bilevel", learner, batch(3), None)


@pytest.mark.parametrize("level", ["joint", "bilevel"])
def test_a_loss_that_is_not_finite_stops_before_anything_is_changed(level: str) -> None:
    dist, network = distribution(), parent()
    before = [p.detach().clone() for p in (*network.parameters(), dist.alpha)]
    images, labels = batch(3)
    images[0, 0, 0, 0] = float("nan")
    learner = make_learner(SNAS(), dist, network)
    with pytest.raises(DivergedError, match="nan"):
        search_step(level, learner, (images, labels), (images, labels))  # type: ignore[arg-type]
    for p, q in zip(before, (*network.parameters(), dist.alpha), strict=True):
        assert torch.equal(p, q.detach())
