"""Proofs of the score-function estimators by enumeration: no Monte-Carlo error anywhere."""

from __future__ import annotations

import itertools

import pytest
import torch

from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.exact import Exact
from nasbench_snas.estimators.local_expectation import LocalExpectation
from nasbench_snas.estimators.muprop import MuProp
from nasbench_snas.estimators.random import Random
from nasbench_snas.estimators.reinforce import MovingAverage, Reinforce
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.self_critical import SelfCritical
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import (
    SELECT,
    enumerate_architectures,
    exact_gradient,
    exact_moments,
    gradients_of_noise,
)
from nasbench_snas.testing.problems import cell_problem, toy_problem


def all_edges(z):
    """Yield the one noise of a local expectation on all edges."""
    yield 1.0, (SELECT * z, torch.arange(z.shape[2]).expand(z.shape[:3]))


def pairs_of_edges(z):
    """Yield every pair of edges with its probability."""
    pairs = list(itertools.combinations(range(z.shape[2]), 2))
    for pair in pairs:
        yield 1 / len(pairs), (SELECT * z, torch.tensor(pair).expand(*z.shape[:2], 2))


def warmed(estimator, problem):
    """Return the estimator after two draws in training mode."""
    dist = problem.distribution()
    for seed in range(2):
        noise = estimator.noise(dist, 1, stream(seed, "warm"))
        estimator.surrogate(problem.loss, dist, noise)
    return estimator


CELL_ESTIMATORS = {
    "reinforce without baseline": (lambda p: Reinforce(baseline="none"), None),
    "reinforce at its first call": (lambda p: Reinforce(), None),
    "reinforce with a moving average": (lambda p: warmed(Reinforce(decay=0.9), p), None),
    "self-critical": (lambda p: SelfCritical(), None),
    "muprop": (lambda p: MuProp(), None),
    "local expectation": (lambda p: LocalExpectation(chunk=5), all_edges),
    "local expectation on two edges": (lambda p: LocalExpectation(edges=2), pairs_of_edges),
}


@pytest.mark.parametrize("name", CELL_ESTIMATORS)
@pytest.mark.parametrize("stage", ["initial", "mid"])
def test_enumerated_mean_is_the_exact_gradient_for_alpha_and_theta(name, stage):
    make, noise_of = CELL_ESTIMATORS[name]
    problem = cell_problem(stage)
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    moments = exact_moments(make(problem), problem.loss, dist, noise_of, replicates=243)
    assert (moments.alpha - exact.alpha).norm() <= 1e-12 * exact.alpha.norm()
    assert (moments.theta - exact.theta).norm() <= 1e-12 * exact.theta.norm()
    assert moments.value == pytest.approx(exact.value, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RLOO(n=2),
        lambda: Reinforce(n=2),
        lambda: SelfCritical(n=2),
        lambda: MuProp(n=2),
        lambda: LocalExpectation(n=2),
    ],
)
@pytest.mark.parametrize("kind", ["multilinear", "quadratic", "exponential"])
def test_enumerated_mean_over_pairs_of_draws_is_the_exact_gradient(make, kind):
    problem, estimator = toy_problem(kind), make()
    dist = problem.distribution()
    noise_of = all_edges if isinstance(estimator, LocalExpectation) else None
    exact = exact_gradient(problem.loss, dist)
    moments = exact_moments(estimator, problem.loss, dist, noise_of)
    assert (moments.alpha - exact.alpha).norm() <= 1e-12 * exact.alpha.norm()
    assert (moments.theta - exact.theta).norm() <= 1e-12 * exact.theta.norm()


def test_three_draws_leave_one_out_correctly_too():
    problem = toy_problem("exponential")
    dist = problem.distribution()
    moments = exact_moments(RLOO(n=3), problem.loss, dist)
    exact = exact_gradient(problem.loss, dist)
    assert (moments.alpha - exact.alpha).norm() <= 1e-12 * exact.alpha.norm()


def test_exact_estimator_is_the_exact_gradient_in_every_draw():
    problem = cell_problem("mid")
    dist = problem.distribution()
    exact = exact_gradient(problem.loss, dist)
    alpha, theta = gradients_of_noise(Exact(), problem.loss, dist, None, 3)
    for draw in range(3):
        assert (alpha[draw] - exact.alpha).norm() <= 1e-12 * exact.alpha.norm()
        assert (theta[draw] - exact.theta).norm() <= 1e-12 * exact.theta.norm()


def test_exact_estimator_refuses_large_spaces():
    problem = cell_problem("initial")
    with pytest.raises(ConfigError, match="729"):
        Exact(limit=728).surrogate(problem.loss, problem.distribution(), None)


def test_rloo_is_vargrad_draw_by_draw():
    vargrad = pytest.importorskip("nasbench_snas.estimators.vargrad").VarGrad
    problem = cell_problem("initial")
    dist = problem.distribution()
    noise = dist.noise(50, 4, stream(0, "g"))
    first = gradients_of_noise(RLOO(n=4), problem.loss, dist, noise, 50)
    second = gradients_of_noise(vargrad(n=4), problem.loss, dist, noise, 50)
    for left, right in zip(first, second, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


def test_rloo_draw_is_built_from_leave_one_out_means():
    problem = toy_problem("exponential")
    dist = problem.distribution()
    noise = dist.noise(1, 3, stream(0, "g"))
    z = dist.hard(noise)
    losses = problem.loss(z)[0].detach()
    score = (z[0] - dist.probs.detach()).flatten(1)
    expected = sum((losses[i] - (losses.sum() - losses[i]) / 2) * score[i] / 3 for i in range(3))
    alpha, _ = gradients_of_noise(RLOO(n=3), problem.loss, dist, noise, 1)
    torch.testing.assert_close(alpha[0], expected)


def test_moving_average_is_used_before_it_is_updated():
    problem = toy_problem("exponential")
    dist, estimator = problem.distribution(), Reinforce(decay=0.75)
    losses = []
    for seed, expected_average in ((0, None), (1, lambda: losses[0]), (2, None)):
        noise = estimator.noise(dist, 1, stream(seed, "g"))
        z = dist.hard(noise)
        average = float(estimator.baseline.value)
        loss = float(problem.loss(z).detach())
        (gradient,) = torch.autograd.grad(
            estimator.surrogate(problem.loss, dist, noise).sum(), dist.alpha
        )
        baseline = float(problem.loss(dist.mode()[:, None]).detach()) if seed == 0 else average
        if expected_average is not None:
            assert average == pytest.approx(expected_average())
        expected = (loss - baseline) * (z[:, 0] - dist.probs.detach())
        torch.testing.assert_close(gradient, expected)
        losses.append(loss)
    assert float(estimator.baseline.value) == pytest.approx(
        0.75 * (0.75 * losses[0] + 0.25 * losses[1]) + 0.25 * losses[2]
    )


def test_moving_average_keeps_still_in_evaluation_mode_and_checks_its_decay():
    average = MovingAverage(0.9)
    average.update(torch.tensor([2.0]))
    average.eval()
    average.update(torch.tensor([100.0]))
    assert float(average.value) == 2.0
    for decay in (1.0, -0.1):
        with pytest.raises(ConfigError):
            MovingAverage(decay)


def test_baseline_removes_most_of_the_variance():
    problem = cell_problem("initial")
    dist = problem.distribution()
    reinforce = Reinforce()
    reinforce.baseline.value.fill_(exact_gradient(problem.loss, dist).value)
    traces = [
        exact_moments(e, problem.loss, dist, noise_of).covariance.trace()
        for e, noise_of in (
            (Reinforce(baseline="none"), None),
            (reinforce, None),
            (LocalExpectation(), all_edges),
        )
    ]
    assert traces[0] > 3 * traces[1] > 3 * traces[2]


def test_local_expectation_conditions_reinforce_on_the_other_edges():
    problem = toy_problem("exponential")
    dist = problem.distribution()
    singles = enumerate_architectures(2, 3)
    alpha, _ = gradients_of_noise(
        LocalExpectation(), problem.loss, dist, next(iter(all_edges(singles[:, None])))[1], 9
    )
    probs, losses = dist.probs.detach()[0], problem.loss(singles[None])[0].detach().view(3, 3)
    for index, (a, b) in enumerate(itertools.product(range(3), range(3))):
        rows = [losses[:, b], losses[a]]
        expected = torch.stack([p * (row - p @ row) for p, row in zip(probs, rows, strict=True)])
        torch.testing.assert_close(alpha[index], expected.flatten())


@pytest.mark.parametrize(
    "estimator, forwards, graphs",
    [
        (Reinforce(baseline="none"), 1, 1),
        (RLOO(n=4), 4, 4),
        (SelfCritical(), 2, 1),
        (MuProp(), 2, 2),
        (LocalExpectation(), 13, 1),
        (LocalExpectation(edges=2), 5, 1),
        (Random(n=2), 2, 2),
    ],
)
def test_network_is_evaluated_as_often_as_declared(estimator, forwards, graphs):
    problem = cell_problem("initial")
    dist, seen = problem.distribution(), [0, 0]

    class Counting:
        def __call__(self, z):
            value = problem.loss(z)
            seen[0] += z.shape[1]
            seen[1] += z.shape[1] * value.requires_grad
            return value

        error = problem.loss.error

    noise = estimator.noise(dist, 1, stream(0, "g"))
    estimator.surrogate(Counting(), dist, noise)
    assert seen == [forwards, graphs]


def test_local_expectation_evaluates_no_more_than_a_chunk_at_once():
    problem = cell_problem("initial")
    dist, sizes = problem.distribution(), []

    class Watching:
        def __call__(self, z):
            sizes.append(z.shape[1])
            return problem.loss(z)

        error = problem.loss.error

    estimator = LocalExpectation(chunk=5)
    estimator.surrogate(Watching(), dist, estimator.noise(dist, 1, stream(0, "g")))
    assert sizes == [1, 5, 5, 2]


def test_random_draws_uniformly_whatever_alpha_is():
    problem = toy_problem("exponential")
    dist = problem.distribution()
    dist.alpha.data.mul_(10)
    estimator = Random(n=20_000)
    weights = estimator.weights(dist, estimator.noise(dist, 1, stream(0, "g")))
    assert (weights.mean(dim=(0, 1)) - 1 / 3).abs().max() < 5 * (2 / 9 / 20_000) ** 0.5


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RLOO(n=1), "at least 2"),
        (lambda: Reinforce(baseline="median"), "median"),
        (lambda: LocalExpectation(edges=-1), "edges"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
