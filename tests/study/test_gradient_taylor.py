"""Eq. (7) against eq. (6): the identity with the Taylor remainder, and the toy table."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.oracle.exact import architectures
from nasbench_snas.study.taylor import both_sides, concrete_score, eq7_gap, hard_gap, remainders
from nasbench_snas.testing.exact import enumerate_architectures, exact_gradient
from nasbench_snas.testing.problems import cell_problem


def gap(activation: str, head: str, stage: str = "initial", tau: float = 1.0) -> float:
    problem = cell_problem(stage, activation=activation, head=head)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(5)
    found = eq7_gap(problem.loss, problem.distribution(), tau, 10_000, generator, replicates=1000)
    return found.relative


def test_concrete_score_is_the_derivative_of_the_relaxed_density() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_()
    noise = torch.randn(4, generator=generator, dtype=torch.float64)
    for tau in (1.0, 0.3):
        y = ((logits.detach() + noise) / tau).softmax(-1)
        law = torch.distributions.RelaxedOneHotCategorical(torch.tensor(tau), logits=logits)
        (score,) = torch.autograd.grad(law.log_prob(y), logits)
        torch.testing.assert_close(score, concrete_score(noise))


@pytest.mark.equation(6, 7, 28)
def test_gap_reproduces_the_order_and_direction_of_the_closed_form_study() -> None:
    linear = gap("identity", "linear")
    relu, tanh = gap("relu", "linear"), gap("tanh", "linear")
    relu_ce, tanh_ce = gap("relu", "cross-entropy"), gap("tanh", "cross-entropy")
    assert linear < 0.01
    assert 0.02 < relu < 0.2
    assert 0.02 < tanh < 0.2
    assert 0.2 < relu_ce < 0.8
    assert 0.2 < tanh_ce < 0.8


def test_gap_grows_from_the_initial_to_the_middle_stage() -> None:
    early = gap("tanh", "cross-entropy", "initial", tau=0.1)
    assert gap("tanh", "cross-entropy", "mid", tau=0.1) > 1.5 * early


@pytest.mark.equation(7, 28)
def test_difference_of_both_sides_is_the_score_of_the_taylor_remainder() -> None:
    problem = cell_problem("initial")
    dist = problem.distribution()
    generator = torch.Generator().manual_seed(6)
    parts = []
    for _ in range(20):
        noise = dist.noise(1000, 1, generator)
        lhs, rhs, _ = both_sides(problem.loss, dist, 1.0, noise)
        parts.append((noise, lhs, rhs, *remainders(problem.loss, dist, 1.0, noise)))
    noise, lhs, rhs, remainder, exact = (torch.cat(column) for column in zip(*parts, strict=True))
    scored = (concrete_score(noise)[:, 0] * remainder[..., None]).flatten(1)
    rest = lhs - rhs - scored
    z = rest.mean(0) / rest.std(0) * len(rest) ** 0.5
    assert float(z.abs().max()) < 4.5
    without = lhs - rhs
    z = without.mean(0) / without.std(0) * len(rest) ** 0.5
    assert float(z.abs().max()) > 6
    assert exact.shape == (20_000, 6)


def test_hard_gap_is_zero_on_a_multilinear_network_and_not_with_cross_entropy() -> None:
    for head, activation, low, high in (
        ("linear", "identity", 0.0, 1e-10),
        ("cross-entropy", "tanh", 0.1, 0.8),
    ):
        problem = cell_problem("initial", activation=activation, head=head)  # type: ignore[arg-type]
        dist = problem.distribution()
        z = enumerate_architectures(6, 3)[None].requires_grad_()
        (h,) = torch.autograd.grad(problem.loss.viewed_by(True)(z).sum(), z)
        probs = dist.log_prob(z).sum(-1).exp().detach()[0]
        policy = hard_gap(probs, h[0], architectures(6, 3), dist.probs.detach()[0])
        exact = exact_gradient(problem.loss, dist).alpha
        relative = float((policy - exact).norm() / exact.norm())
        assert low <= relative <= high, (head, relative)


@pytest.mark.slow
def test_low_temperature_gap_approaches_the_hard_limit() -> None:
    assert abs(gap("tanh", "cross-entropy", tau=0.02) - gap("tanh", "cross-entropy")) < 0.1
