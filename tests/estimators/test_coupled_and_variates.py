"""Coupled samples and control variates: enumeration, exact integration, brute force."""

from __future__ import annotations

import itertools

import pytest
import torch

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.carms import CARMS, orders, pair_ratios
from nasbench_snas.estimators.disarm_iw import DisARMIW
from nasbench_snas.estimators.disarm_sb import DisARMSB
from nasbench_snas.estimators.disarm_tree import DisARMTree
from nasbench_snas.estimators.double_cv import DoubleCV
from nasbench_snas.estimators.grpo import GRPO
from nasbench_snas.estimators.indecater import IndeCateR
from nasbench_snas.estimators.local_expectation import LocalExpectation
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.rodeo import RODEO
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import exact_gradient, exact_moments, gradients_of_noise
from nasbench_snas.testing.problems import toy_problem


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def cells(breaks: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return midpoints and lengths of the intervals between sorted breaks in [0, 1]."""
    edges = torch.tensor(sorted({0.0, 1.0, *breaks}), dtype=torch.float64)
    return (edges[1:] + edges[:-1]) / 2, edges.diff()


def integrate_uniforms(estimator, problem):
    """Return the exact mean of a form of DisARM: it is constant between the nodes' thresholds."""
    dist = problem.distribution()
    phi = estimator.node_logits(estimator.sorted_log_probs(dist)[0])[0].detach().sigmoid()
    axes = [cells([float(s), 1 - float(s)]) for s in phi.flatten()]
    points = torch.cartesian_prod(*[a[0] for a in axes])
    weight = torch.cartesian_prod(*[a[1] for a in axes]).prod(dim=-1)
    noise = points.view(len(points), 1, *phi.shape)
    alpha, theta = gradients_of_noise(estimator, problem.loss, dist, noise, len(points))
    return weight @ alpha, weight @ theta, float(weight.sum())


@pytest.mark.parametrize("operations", [3, 4])
@pytest.mark.parametrize(
    "estimator",
    [
        DisARMSB(),
        DisARMSB(order="ascending"),
        DisARMSB(order="descending"),
        DisARMTree(),
        DisARMTree(order="ascending"),
        DisARMIW(),
    ],
    ids=["sb", "sb-ascending", "sb-descending", "tree", "tree-ascending", "iw"],
)
def test_disarm_is_unbiased_by_exact_integration_over_its_uniforms(estimator, operations):
    problem = toy_problem("exponential", 2, operations)
    exact = exact_gradient(problem.loss, problem.distribution())
    alpha, theta, mass = integrate_uniforms(estimator, problem)
    assert mass == pytest.approx(1.0, abs=1e-12)
    assert relative(alpha, exact.alpha) <= 1e-11
    assert relative(theta, exact.theta) <= 1e-11


def test_exact_integration_rejects_importance_weights_for_descending_sticks():
    problem = toy_problem("exponential", 2, 4)
    estimator = DisARMIW()
    estimator.order = "descending"
    exact = exact_gradient(problem.loss, problem.distribution())
    assert relative(integrate_uniforms(estimator, problem)[0], exact.alpha) > 0.01


@pytest.mark.parametrize("operations", [2, 3, 5, 8])
@pytest.mark.parametrize("form", [DisARMSB, DisARMTree])
def test_node_decisions_select_every_operation_with_its_probability(form, operations):
    logits = torch.randn(1, operations, generator=stream(operations, "logits"), dtype=torch.float64)
    dist = Categorical(logits)
    estimator = form()
    s = estimator.node_logits(estimator.sorted_log_probs(dist)[0]).detach().sigmoid()[0, 0]
    one, zero = estimator.branches(operations)
    path = torch.where(one, s[:, None], torch.where(zero, 1 - s[:, None], 1.0))
    assert relative(path.prod(dim=0), dist.probs[0, 0].detach()) <= 1e-12


@pytest.mark.parametrize("operations", [2, 3, 4])
def test_carms_is_unbiased_by_exact_integration_for_pairs(operations):
    problem = toy_problem("exponential", 2, operations)
    dist = problem.distribution()
    order = orders(operations)
    probs = dist.probs[0].detach()
    axes = []
    for row in probs:
        upper = torch.cat([row[o].cumsum(0)[:-1] for o in order]).tolist()
        axes.append(cells([*upper, *[1 - u for u in upper]]))
    grid = torch.cartesian_prod(*[a[0] for a in axes])
    weight = torch.cartesian_prod(*[a[1] for a in axes]).prod(dim=-1) / len(order) ** 2
    total = torch.zeros(probs.numel(), dtype=torch.float64)
    uniform = torch.stack([grid, 1 - grid], dim=1)  # a Dirichlet copula of two is u and 1 - u
    for pair in itertools.product(range(len(order)), repeat=2):
        chosen = torch.tensor(pair).expand(len(grid), 2)
        alpha, _ = gradients_of_noise(CARMS(2), problem.loss, dist, (uniform, chosen), len(grid))
        total += weight @ alpha
    assert relative(total, exact_gradient(problem.loss, dist).alpha) <= 1e-10


@pytest.mark.parametrize("n", [2, 3, 5])
def test_carms_pair_probabilities_equal_the_frequency_of_pairs(n):
    # 60,000 draws, one pair each; 4.9 standard errors on each of 12 cells: false alarms 1e-5.
    dist = Categorical(torch.tensor([[0.3, -1.0, 0.8, 0.1]], dtype=torch.float64))
    draws = 60_000
    estimator = CARMS(n)
    z = estimator.samples(dist.replicate(draws), estimator.noise(dist, draws, stream(n, "pairs")))
    ratio = pair_ratios(dist.probs.detach(), n)[0, 0]
    p = dist.probs[0, 0].detach()
    counted = torch.einsum("rk,rl->kl", z[:, 0, 0], z[:, 1, 0]) / draws
    for a, b in itertools.permutations(range(4), 2):
        joint = float(p[a] * p[b] / ratio[a, b])
        assert abs(float(counted[a, b]) - joint) <= 4.9 * (joint * (1 - joint) / draws) ** 0.5


def test_carms_orders_hold_every_pair_first_and_last_once():
    for operations in (2, 3, 4, 8):
        found = [frozenset((int(o[0]), int(o[-1]))) for o in orders(operations)]
        assert len(found) == len(set(found)) == operations * (operations - 1) // 2


def test_shared_indecater_is_local_expectation_draw_by_draw():
    problem = toy_problem("exponential", 3, 4)
    dist = problem.distribution()
    noise = dist.noise(20, 3, stream(0, "noise"))
    index = torch.arange(3).expand(20, 3, 3)
    got = gradients_of_noise(IndeCateR(3, shared=True), problem.loss, dist, noise, 20)
    expected = gradients_of_noise(LocalExpectation(n=3), problem.loss, dist, (noise, index), 20)
    for left, right in zip(got, expected, strict=True):
        assert relative(left, right) <= 1e-12


def test_independent_indecater_is_a_brute_force_sum_over_each_edge():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    noise = dist.noise(4, 2, stream(1, "noise"))  # one sample for each of two edges
    alpha, _ = gradients_of_noise(IndeCateR(1), problem.loss, dist, noise, 4)
    hard, p = dist.hard(noise), dist.probs[0].detach()
    for r, e in itertools.product(range(4), range(2)):
        values = []
        for k in range(3):
            z = hard[r, e].clone()
            z[e] = torch.eye(3, dtype=z.dtype)[k]
            values.append(problem.loss(z[None, None]).detach()[0, 0])
        row = torch.stack(values)
        assert relative(alpha[r].view(2, 3)[e], p[e] * (row - p[e] @ row)) <= 1e-12


@pytest.mark.parametrize("coefficient", [-1.0, 0.0, 0.4])
@pytest.mark.parametrize("n", [2, 3])
def test_double_control_variates_are_unbiased_by_enumeration(n, coefficient):
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    moments = exact_moments(DoubleCV(n, coefficient).double(), problem.loss, dist)
    assert relative(moments.alpha, exact.alpha) <= 1e-11
    assert relative(moments.theta, exact.theta) <= 1e-11


def test_double_control_variates_without_coefficient_are_rloo():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    noise = dist.noise(30, 4, stream(0, "noise"))
    got = gradients_of_noise(DoubleCV(4, 0.0), problem.loss, dist, noise, 30)
    expected = gradients_of_noise(RLOO(4), problem.loss, dist, noise, 30)
    assert relative(got[0], expected[0]) <= 1e-12


@pytest.mark.parametrize("n", [2, 3])
def test_rodeo_is_unbiased_by_enumeration_whatever_its_network(n):
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    moments = exact_moments(RODEO(n).double(), problem.loss, dist)
    assert relative(moments.alpha, exact.alpha) <= 1e-11
    assert relative(moments.theta, exact.theta) <= 1e-11


def test_rodeo_with_a_silent_network_is_rloo():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    estimator = RODEO(3).double()
    for parameter in estimator.network[2].parameters():
        torch.nn.init.zeros_(parameter)
    noise = dist.noise(30, 3, stream(0, "noise"))
    got = gradients_of_noise(estimator, problem.loss, dist, noise, 30)
    expected = gradients_of_noise(RLOO(3), problem.loss, dist, noise, 30)
    assert relative(got[0], expected[0]) <= 1e-12


@pytest.mark.parametrize("n", [2, 4])
def test_grpo_without_the_deviation_is_a_multiple_of_rloo(n):
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    noise = dist.noise(30, n, stream(0, "noise"))
    got = gradients_of_noise(GRPO(n, scale=False), problem.loss, dist, noise, 30)
    expected = gradients_of_noise(RLOO(n), problem.loss, dist, noise, 30)
    assert relative(got[0], (1 - 1 / n) * expected[0]) <= 1e-12


def test_grpo_does_not_see_the_scale_of_the_loss_and_is_biased():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    mean = exact_moments(GRPO(3, eps=1e-12), problem.loss, dist).alpha
    cosine = float(mean @ exact.alpha / (mean.norm() * exact.alpha.norm()))
    assert cosine < 1 - 1e-4  # no factor repairs it
    losses = torch.tensor([[1.0, 4.0, 2.5]], dtype=torch.float64)
    estimator = GRPO(3, eps=1e-12)
    first, second = (estimator.advantage(x, None, None, None) for x in (losses, 100 * losses))
    assert relative(first, second) <= 1e-9


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CARMS(1), "n of at least 2"),
        (lambda: DoubleCV(1), "n of at least 2"),
        (lambda: RODEO(1), "at least 2"),
        (lambda: GRPO(1), "n >= 2"),
        (lambda: DisARMSB(0), "at least 1"),
        (lambda: DisARMTree(1, "size"), "ascending or descending"),
        (lambda: IndeCateR(0), "at least 1"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
