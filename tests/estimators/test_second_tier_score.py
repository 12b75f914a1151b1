"""Score-function estimators of the second tier: enumeration, exact integration, brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators import sum_and_sample, unordered_set
from nasbench_snas.estimators.arsm import ARSM
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.sum_and_sample import SumAndSample
from nasbench_snas.estimators.unordered_set import UnorderedSet
from nasbench_snas.estimators.vargrad import VarGrad
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    enumerate_architectures,
    exact_gradient,
    exact_moments,
    exact_objective,
    gradients_of_noise,
)
from nasbench_snas.testing.problems import cell_problem, toy_problem


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def all_probabilities(dist: Categorical) -> torch.Tensor:
    z = enumerate_architectures(dist.num_edges, dist.num_operations)
    return dist.log_prob(z[None]).sum(-1)[0].exp().detach()


def indices(num_edges: int, num_operations: int) -> torch.Tensor:
    return enumerate_architectures(num_edges, num_operations).argmax(-1)


def ordered_probability(p: list[float], order: tuple[int, ...]) -> float:
    """Of drawing ``order`` one after another without replacement."""
    left, value = 1.0, 1.0
    for member in order:
        value *= p[member] / left
        left -= p[member]
    return value


def set_probability(p: list[float], members: tuple[int, ...]) -> float:
    return sum(ordered_probability(p, order) for order in itertools.permutations(members))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_vargrad_is_rloo_draw_by_draw(n):
    problem = cell_problem("mid")
    dist = problem.distribution()
    noise = dist.noise(50, n, stream(0, "noise"))
    got = gradients_of_noise(VarGrad(n), problem.loss, dist, noise, 50)
    expected = gradients_of_noise(RLOO(n), problem.loss, dist, noise, 50)
    for left, right in zip(got, expected, strict=True):
        assert float((left - right).abs().max() / right.abs().max()) <= 1e-12


def test_vargrad_is_unbiased_by_enumeration_of_all_pairs():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    moments = exact_moments(VarGrad(2), problem.loss, dist)
    assert relative(moments.alpha, exact.alpha) <= 1e-12
    assert relative(moments.theta, exact.theta) <= 1e-12
    assert moments.value == pytest.approx(exact.value, rel=1e-12)


def test_vargrad_with_kappa_follows_the_loss_minus_the_entropy():
    problem, kappa = toy_problem("exponential", 2, 3), 0.7
    dist = problem.distribution()
    entropy = torch.special.entr(dist.probs).sum()
    target = exact_objective(problem.loss, dist).sum() - kappa * entropy
    expected = torch.autograd.grad(target, dist.alpha)[0].flatten()
    moments = exact_moments(VarGrad(2, kappa=kappa), problem.loss, dist)
    assert relative(moments.alpha, expected) <= 1e-12


@pytest.mark.parametrize(("edges", "operations", "k"), [(2, 2, 2), (2, 2, 3), (2, 3, 2), (2, 3, 3)])
def test_unordered_set_is_unbiased_by_enumeration_of_all_sets(monkeypatch, edges, operations, k):
    problem = toy_problem("exponential", edges, operations)
    dist = problem.distribution()
    p = all_probabilities(dist).tolist()
    sets = list(itertools.combinations(range(len(p)), k))
    choices = indices(edges, operations)[torch.tensor(sets)]
    monkeypatch.setattr(unordered_set, "gumbel_top_k", lambda log_probs, noise: choices)
    weight = torch.tensor([set_probability(p, s) for s in sets], dtype=torch.float64)
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-12)
    exact = exact_gradient(problem.loss, dist)
    noise = torch.zeros(len(sets), k, edges, operations, dtype=torch.float64)
    alpha, theta = gradients_of_noise(UnorderedSet(k), problem.loss, dist, noise, len(sets))
    assert relative(weight @ alpha, exact.alpha) <= 1e-12
    assert relative(weight @ theta, exact.theta) <= 1e-12


def test_enumeration_of_sets_rejects_naively_renormalised_weights(monkeypatch):
    def naive(probs):
        share = probs / probs.sum(dim=1, keepdim=True)
        return share, share[:, None].expand(-1, probs.shape[1], -1)

    monkeypatch.setattr(unordered_set, "leave_one_out", naive)
    with pytest.raises(AssertionError):
        test_unordered_set_is_unbiased_by_enumeration_of_all_sets(monkeypatch, 2, 3, 2)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_leave_one_out_ratios_equal_sums_over_permutations(k):
    p = torch.rand(k, generator=stream(k, "p"), dtype=torch.float64)
    p = (p / p.sum() * 0.8).tolist()  # a fifth of the mass is outside the set
    first, second = unordered_set.leave_one_out(torch.tensor([p], dtype=torch.float64))
    members = tuple(range(k))
    whole = set_probability(p, members)

    def completed(removed: tuple[int, ...]) -> float:
        """Probability of the rest of the set once ``removed`` has left the domain."""
        left = 1 - sum(p[i] for i in removed)
        rest = tuple(i for i in members if i not in removed)
        scaled = [value / left for value in p]
        return set_probability(scaled, rest) if rest else 1.0

    for s in members:
        assert float(first[0, s]) == pytest.approx(p[s] * completed((s,)) / whole, rel=1e-11)
        for t in members:
            ratio = 1.0 if s == t else completed((s, t)) / completed((s,))
            assert float(second[0, s, t]) == pytest.approx(p[t] * ratio, rel=1e-11)


@pytest.mark.parametrize("k", [2, 3])
def test_gumbel_top_k_draws_ordered_sets_with_their_probabilities(k):
    dist = toy_problem("exponential", 2, 2, seed=3).distribution()
    p, draws = all_probabilities(dist).tolist(), 30_000
    noise = dist.noise(draws, k, stream(0, "top-k"))
    chosen = unordered_set.gumbel_top_k(dist.log_probs.detach(), noise)
    codes = (chosen[..., 0] * 2 + chosen[..., 1]).tolist()
    orders = list(itertools.permutations(range(4), k))
    counts = [0] * len(orders)
    position = {order: i for i, order in enumerate(orders)}
    for row in codes:
        counts[position[tuple(row)]] += 1
    expected = np.array([ordered_probability(p, order) for order in orders]) * draws
    assert expected.min() > 5
    assert stats.chisquare(counts, expected * (draws / expected.sum())).pvalue > 1e-4


def test_unordered_set_of_all_architectures_is_the_exact_gradient():
    problem = toy_problem("exponential", 2, 2)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    for k in (4, 7):
        noise = dist.noise(3, k, stream(0, "noise"))
        alpha, theta = gradients_of_noise(UnorderedSet(k), problem.loss, dist, noise, 3)
        for row in range(3):
            assert relative(alpha[row], exact.alpha) <= 1e-12
            assert relative(theta[row], exact.theta) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", [UnorderedSet(10), SumAndSample(10)], ids=lambda e: e.name)
def test_peaked_and_large_spaces_stay_finite(estimator, dtype):
    for scale in (0.1, 40.0):
        logits = scale * torch.randn((28, 8), generator=stream(0, "peaked"))
        dist = Categorical(logits.to(dtype)).replicate(2)
        noise = estimator.noise(dist, 2, stream(1, "noise"))
        value = estimator.surrogate(lambda z: (z**2 * z.cumsum(-1)).mean((-1, -2)), dist, noise)
        gradient = torch.autograd.grad(value.sum(), dist.alpha)[0]
        assert value.dtype == dtype and torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_sum_and_sample_is_unbiased_by_enumeration(monkeypatch, n, baseline):
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    p = all_probabilities(dist)
    order = p.argsort(descending=True)
    top, rest = order[: n - 1], order[n - 1 :]
    # The draws without replacement start with summed ones, which must be passed over.
    drawn = torch.cat([top.expand(len(rest), -1), rest[:, None]], dim=1)
    choices = indices(2, 3)[drawn]
    monkeypatch.setattr(sum_and_sample, "gumbel_top_k", lambda log_probs, noise: choices)
    exact = exact_gradient(problem.loss, dist)
    noise = torch.zeros(len(rest), n, 2, 3, dtype=torch.float64)
    estimator = SumAndSample(n, baseline)
    alpha, theta = gradients_of_noise(estimator, problem.loss, dist, noise, len(rest))
    weight = p[rest] / p[rest].sum()
    assert relative(weight @ alpha, exact.alpha) <= 1e-12
    assert relative(weight @ theta, exact.theta) <= 1e-12


def test_likeliest_architectures_are_found():
    logits = torch.randn((4, 3), generator=stream(4, "logits"), dtype=torch.float64)
    dist = Categorical(logits)
    order = all_probabilities(dist).argsort(descending=True)[:7]
    found = sum_and_sample.likeliest(dist.log_probs.detach(), 7)[0]
    assert torch.equal(found, indices(4, 3)[order])


def test_sum_and_sample_draws_the_rest_by_its_probabilities():
    problem = toy_problem("exponential", 2, 3, seed=1)
    dist = problem.distribution().replicate(40_000)
    p = all_probabilities(problem.distribution())
    order = p.argsort(descending=True)
    seen = []

    def loss(z):
        seen.append((z.argmax(-1) * torch.tensor([3, 1])).sum(-1))
        return z.sum((-1, -2))

    SumAndSample(3).surrogate(loss, dist, dist.noise(40_000, 3, stream(0, "rest")))
    assert set(seen[0][:, 0].tolist()) == {int(order[0])}
    counts = seen[0][:, 2].bincount(minlength=9)[order[2:]]
    expected = p[order[2:]] / p[order[2:]].sum() * 40_000
    assert int(counts.sum()) == 40_000 and float(expected.min()) > 5
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


def test_sum_and_sample_refuses_to_sum_everything():
    problem = toy_problem("exponential", 1, 2)
    estimator, dist = SumAndSample(3), problem.distribution()
    with pytest.raises(ConfigError, match="exceeds the number of architectures"):
        estimator.surrogate(problem.loss, dist, dist.noise(1, 3, stream(0, "noise")))


@pytest.mark.parametrize("edges", [1, 3])
def test_arsm_is_unbiased_by_exact_integration_for_two_operations(edges):
    """With K = 2 the estimate is linear in pi between the points at which a sample flips."""
    problem = toy_problem("exponential", edges, 2)
    dist = problem.distribution()
    nodes, weights = [], []
    for p in problem.logits.softmax(-1)[:, 0].tolist():
        ends = [0.0, min(p, 1 - p), max(p, 1 - p), 1.0]
        nodes.append([(a + b) / 2 for a, b in itertools.pairwise(ends)])
        weights.append([b - a for a, b in itertools.pairwise(ends)])
    grid = torch.tensor(list(itertools.product(*nodes)), dtype=torch.float64)
    weight = torch.tensor(
        [math.prod(row) for row in itertools.product(*weights)], dtype=torch.float64
    )
    pi = torch.stack([grid, 1 - grid], dim=-1)[:, None]
    alpha, theta = gradients_of_noise(ARSM(), problem.loss, dist, -pi.log(), len(grid))
    exact = exact_gradient(problem.loss, dist)
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-12)
    assert relative(weight @ alpha, exact.alpha) <= 1e-12
    assert relative(weight @ theta, exact.theta) <= 1e-12


def test_arsm_equals_its_definition_written_with_loops():
    problem = toy_problem("exponential", 2, 4)
    dist = problem.distribution()
    noise = dist.noise(1, 1, stream(5, "noise"))
    pi, p = (-noise[0, 0]).softmax(-1), problem.logits.softmax(-1)
    f = torch.zeros(4, 4, dtype=torch.float64)
    for c, j in itertools.product(range(4), repeat=2):
        swapped = pi.clone()
        swapped[:, [c, j]] = swapped[:, [j, c]]
        choice = (swapped / p).argmin(-1)
        f[c, j] = problem.loss(torch.eye(4, dtype=torch.float64)[choice][None, None]).detach()
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for e, c, j in itertools.product(range(2), range(4), range(4)):
        expected[e, c] += (f[c, j] - f[:, j].mean()) * (1 / 4 - pi[e, j])
    got, _ = gradients_of_noise(ARSM(), problem.loss, dist, noise, 1)
    assert relative(got[0], expected.flatten()) <= 1e-12


def test_arsm_averages_its_draws():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    noise = dist.noise(2, 3, stream(6, "noise"))
    joint, _ = gradients_of_noise(ARSM(n=3), problem.loss, dist, noise, 2)
    singles = [
        gradients_of_noise(ARSM(), problem.loss, dist, noise[:, i : i + 1], 2)[0] for i in range(3)
    ]
    torch.testing.assert_close(joint, torch.stack(singles).mean(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("build", [lambda: UnorderedSet(1), lambda: UnorderedSet(11)])
def test_unordered_set_refuses_sizes_without_a_ratio(build):
    with pytest.raises(ConfigError, match="2 to 10"):
        build()
