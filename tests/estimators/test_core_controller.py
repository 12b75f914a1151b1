"""The LSTM controller, ENAS and PPO, by enumeration of all architectures."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.architecture.controller import LSTMController
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.enas import ENAS
from nasbench_snas.estimators.enas_ppo import EnasPPO
from nasbench_snas.estimators.reinforce import Reinforce
from nasbench_snas.seeding import stream
from nasbench_snas.testing.bench import tiny_space
from nasbench_snas.testing.exact import (
    enumerate_architectures,
    exact_gradient,
    exact_moments,
    gradients_of_noise,
)
from nasbench_snas.testing.problems import toy_problem


def controller(edges=2, operations=3, scale=1.0, **options):
    """Return a small controller in double precision with weights that matter."""
    options = {"hidden": 4, "init_range": scale, "tanh_constant": 2.5, **options}
    return LSTMController(edges, operations, stream(0, "controller"), **options).double()


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


@pytest.mark.equation(13, 14)
def test_probabilities_of_all_architectures_sum_to_one():
    dist = controller(4, 3)
    z = enumerate_architectures(4, 3)[None]
    assert dist.log_prob(z).sum(dim=-1).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.equation(12, 15)
def test_later_decisions_depend_on_earlier_ones():
    dist = controller()
    steps = dist.step_log_probs(enumerate_architectures(2, 3)[None]).detach()[0]
    assert torch.equal(steps[0, 0], steps[8, 0])
    assert (steps[0, 1] - steps[8, 1]).abs().max() > 1e-3


def test_an_outer_autocast_region_changes_nothing():
    dist = controller(6, 3).float()
    z = dist.hard(dist.noise(1, 4, stream(1, "noise")))
    plain = torch.autograd.grad(dist.log_prob(z).sum(), dist.lstm)[0]
    with torch.autocast("cpu", torch.bfloat16):
        value = dist.log_prob(z).sum()
    assert torch.equal(torch.autograd.grad(value, dist.lstm)[0], plain)


def test_recurrence_is_that_of_torch():
    dist = controller(3, 3)
    cell = torch.nn.LSTMCell(4, 4, bias=False, dtype=torch.float64)
    i, f, o, g = dist.lstm.detach()[0].chunk(4, dim=1)
    matrix = torch.cat([i, f, g, o], dim=1).T
    with torch.no_grad():
        cell.weight_ih.copy_(matrix[:, :4])
        cell.weight_hh.copy_(matrix[:, 4:])
        z = enumerate_architectures(3, 3)[5]
        x, state, expected = dist.start[0], None, []
        for row in z:
            state = cell(x, state)
            logits = 2.5 * torch.tanh(state[0] @ dist.head[0] + dist.bias[0])
            expected.append((logits[0].log_softmax(dim=-1) * row).sum())
            x = (row @ dist.embedding[0])[None]
    torch.testing.assert_close(dist.log_prob(z[None, None])[0, 0], torch.stack(expected))


@pytest.mark.equation(14, 15)
def test_samples_have_the_stated_probabilities():
    dist, draws = controller(), 40_000
    index = dist.hard(dist.noise(1, draws, stream(1, "g")))[0].argmax(dim=-1)
    counts = torch.bincount(index[:, 0] * 3 + index[:, 1], minlength=9)
    p = dist.log_prob(enumerate_architectures(2, 3)[None]).sum(dim=-1)[0].exp().detach()
    statistic = ((counts - draws * p) ** 2 / (draws * p)).sum().item()
    assert statistic < 32  # chi-squared with 8 degrees of freedom: p = 1e-4
    assert p.max() > 2 * p.min()


def test_marginals_approach_the_exact_ones():
    dist = controller()
    z = enumerate_architectures(2, 3)
    p = dist.log_prob(z[None]).sum(dim=-1)[0].exp().detach()
    exact = (p[:, None, None] * z).sum(dim=0)
    marginals = dist.marginals(stream(0, "m"))[0]
    torch.testing.assert_close(marginals[0], exact[0])
    assert (marginals[1] - exact[1]).abs().max() < 0.02
    assert dist.entropy(stream(0, "m")).shape == (1, 2)


def test_replicates_share_nothing_and_agree():
    dist = controller(3, 3)
    copies = dist.replicate(5)
    noise = copies.noise(5, 2, stream(0, "g"))
    for r in range(5):
        assert torch.equal(copies.hard(noise)[r], dist.hard(noise[r : r + 1])[0])
    z = copies.hard(noise)
    torch.testing.assert_close(copies.log_prob(z)[3:4], dist.log_prob(z[3:4]))
    grads = torch.autograd.grad(copies.log_prob(z)[2].sum(), list(copies.parameters()))
    assert all(not g[[0, 1, 3, 4]].any() for g in grads) and copies.replicates == 5


def test_greedy_mode_takes_the_most_probable_operation_at_each_step():
    dist = controller(3, 3)
    z = dist.mode()[:, None]
    steps = dist.step_log_probs(z)
    assert torch.equal(steps.argmax(dim=-1), z.argmax(dim=-1))


def test_official_controller_is_small_at_first_and_bounded_for_ever():
    dist = ENAS().make_distribution(tiny_space(), stream(0, "c"))
    assert dist.hidden == 64
    weights = torch.cat([p.detach().flatten() for p in dist.parameters()])
    assert weights.abs().max() <= 0.1 and weights.std() > 0.05
    with torch.no_grad():
        dist.head.mul_(1e6)
    steps = dist.step_log_probs(dist.mode()[:, None]).detach()
    assert (steps.amax(dim=-1) - steps.amin(dim=-1)).max() <= 0.88 + 1e-5
    with pytest.raises(ConfigError):
        LSTMController(2, 3, stream(0, "c"), hidden=0)


def exact_entropy(dist):
    log_prob = dist.log_prob(enumerate_architectures(dist.num_edges, 3)[None]).sum(dim=-1)
    return -(log_prob.exp() * log_prob).sum()


def test_entropy_along_paths_has_the_entropy_as_its_mean():
    dist = controller(3, 3)
    z = enumerate_architectures(3, 3)[None]
    mean = (dist.log_prob(z).sum(dim=-1).exp() * dist.path_entropy(z).sum(dim=-1)).sum()
    torch.testing.assert_close(mean, exact_entropy(dist), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["quadratic", "exponential"])
def test_enas_estimates_the_gradient_of_loss_minus_weighted_entropy(weight, kind):
    problem, dist = toy_problem(kind), controller()
    exact = exact_gradient(problem.loss, dist)
    entropy = flat(torch.autograd.grad(exact_entropy(dist), list(dist.parameters())))
    target = exact.alpha - weight * entropy
    for n in (1, 2):
        moments = exact_moments(ENAS(n=n, entropy_weight=weight), problem.loss, dist)
        assert (moments.alpha - target).norm() <= 1e-12 * target.norm()
        assert (moments.theta - exact.theta).norm() <= 1e-12 * exact.theta.norm()


def test_entropy_as_released_is_not_an_entropy_gradient():
    problem, dist = toy_problem("exponential"), controller()
    z = enumerate_architectures(2, 3)[None]
    log_prob = dist.log_prob(z).sum(dim=-1)
    constant = (log_prob.exp() * dist.path_entropy(z).sum(dim=-1)).detach()
    score = flat(torch.autograd.grad((constant * log_prob).sum(), list(dist.parameters())))
    entropy = flat(torch.autograd.grad(exact_entropy(dist), list(dist.parameters())))
    exact = exact_gradient(problem.loss, dist)
    released = ENAS(entropy_weight=1.0, entropy="official")
    moments = exact_moments(released, problem.loss, dist)
    torch.testing.assert_close(moments.alpha, exact.alpha - score, rtol=1e-11, atol=1e-12)
    assert torch.nn.functional.cosine_similarity(score, entropy, dim=0) < 0.5


def test_reward_may_be_the_accuracy():
    problem, dist = toy_problem("exponential"), controller()

    class Errors:
        def __call__(self, z):
            return problem.loss.error(z)

    target = exact_gradient(Errors(), dist, theta=[]).alpha
    estimator = ENAS(reward="accuracy", entropy_weight=0.0)
    moments = exact_moments(estimator, problem.loss, dist)
    assert (moments.alpha - target).norm() <= 1e-12 * target.norm()
    theta = exact_gradient(problem.loss, dist).theta
    assert (moments.theta - theta).norm() <= 1e-12 * theta.norm()
    with pytest.raises(ConfigError):
        ENAS(reward="speed")


def test_enas_has_the_released_settings():
    assert ENAS.optimizer_defaults == {
        "lr": 3.5e-3,
        "betas": (0.0, 0.999),
        "eps": 1e-3,
        "weight_decay": 0.0,
    }
    estimator = ENAS()
    assert estimator.entropy_weight == 1e-4 and estimator.baseline.decay == 0.99
    assert estimator.tanh_constant == pytest.approx(0.44)


def ppo(**options):
    return EnasPPO(**{"entropy_weight": 0.0, **options})


def drawn(estimator, problem, dist, n=3, seed=0):
    """Return score part of the alpha-gradient of a draw in training mode, and its noise."""
    estimator.train()
    noise = dist.noise(1, n, stream(seed, "g"))
    value = estimator.surrogate(problem.loss, dist, noise).sum()
    return flat(torch.autograd.grad(value, list(dist.parameters()))), noise


def test_first_epoch_of_ppo_is_reinforce():
    problem, dist = toy_problem("exponential", 3), controller(3)
    first, _ = drawn(ppo(n=3, gae_lambda=1.0), problem, dist)
    second, _ = drawn(Reinforce(n=3), problem, dist)
    torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("gae_lambda", [1.0, 0.7, 0.0])
def test_clipped_objective_at_ratio_one_has_the_gradient_of_the_first_epoch(gae_lambda):
    problem, dist = toy_problem("exponential", 3), controller(3)
    estimator = ppo(n=3, gae_lambda=gae_lambda)
    first, _ = drawn(estimator, problem, dist)
    again = torch.autograd.grad(estimator.replay(dist).sum(), list(dist.parameters()))
    torch.testing.assert_close(flat(again), first, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("gae_lambda", [1.0, 0.7, 0.0])
def test_advantages_are_sums_of_temporal_differences(gae_lambda):
    problem, dist = toy_problem("exponential", 3), controller(3)
    estimator = ppo(n=2, gae_lambda=gae_lambda, decay=0.5)
    estimator.values = torch.tensor([0.3, -0.8, 1.9], dtype=torch.float64)
    z = dist.hard(dist.noise(1, 2, stream(0, "g")))
    losses = problem.loss(z).detach()
    advantage = estimator.advantage(losses, problem.loss, dist, z)
    for i in range(2):
        ahead = [0.3, -0.8, 1.9, losses[0, i].item()]
        deltas = [ahead[e + 1] - ahead[e] for e in range(3)]
        for e in range(3):
            expected = sum(gae_lambda ** (m - e) * deltas[m] for m in range(e, 3))
            assert advantage[0, i, e].item() == pytest.approx(expected)
    moved = torch.tensor([0.3, -0.8, 1.9], dtype=torch.float64) + 0.5 * advantage[0].mean(dim=0)
    torch.testing.assert_close(estimator.values, moved)


def test_delayed_reward_reaches_early_decisions_geometrically_when_values_are_equal():
    problem, dist = toy_problem("exponential", 3), controller(3)
    estimator = ppo(gae_lambda=0.5)
    estimator.values = torch.full((3,), 0.4, dtype=torch.float64)
    z = dist.hard(dist.noise(1, 1, stream(0, "g")))
    losses = problem.loss(z).detach()
    advantage = estimator.advantage(losses, problem.loss, dist, z)[0, 0]
    outcome = losses.item() - 0.4
    assert advantage.tolist() == pytest.approx([outcome / 4, outcome / 2, outcome])


def test_later_epochs_stop_where_the_ratio_has_left_the_trust_region():
    problem, dist = toy_problem("exponential", 3), controller(3)
    estimator = ppo(n=1, clip=0.2, gae_lambda=1.0)
    _, noise = drawn(estimator, problem, dist, n=1)
    z, before, advantage = estimator._draw
    with torch.no_grad():
        for parameter in dist.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=stream(3, "move")))
    log_prob = dist.log_prob(z)
    ratio = (log_prob - before).exp().detach()
    outside = ((ratio > 1.2) & (advantage < 0)) | ((ratio < 0.8) & (advantage > 0))
    assert outside.any() and not outside.all()
    weights = torch.where(outside, torch.zeros_like(ratio), ratio * advantage)
    parameters = list(dist.parameters())
    expected = torch.autograd.grad((weights * log_prob).sum(), parameters)
    got = torch.autograd.grad(estimator.replay(dist).sum(), parameters)
    torch.testing.assert_close(flat(got), flat(expected))


def test_first_update_with_lambda_one_is_unbiased_and_with_less_it_is_not():
    problem, dist = toy_problem("exponential", 3), controller(3)
    exact = exact_gradient(problem.loss, dist)
    for gae_lambda, unbiased in ((1.0, True), (0.5, False)):
        estimator = ppo(gae_lambda=gae_lambda)
        estimator.values = torch.tensor([0.3, -0.8, 1.9], dtype=torch.float64)
        moments = exact_moments(estimator, problem.loss, dist)
        gap = (moments.alpha - exact.alpha).norm() / exact.alpha.norm()
        assert gap < 1e-12 if unbiased else gap > 0.05
        assert (moments.theta - exact.theta).norm() <= 1e-12 * exact.theta.norm()


def test_ppo_draws_are_stored_in_training_mode_only_and_values_survive_a_checkpoint():
    problem, dist = toy_problem("exponential", 3), controller(3)
    estimator = ppo().eval()
    noise = dist.noise(4, 1, stream(0, "g"))
    gradients_of_noise(estimator, problem.loss, dist, noise, 4)
    assert estimator.replay(dist) is None and len(estimator.values) == 0
    drawn(estimator, problem, dist, n=1)
    other = ppo()
    other.load_state_dict(estimator.state_dict())
    assert torch.equal(other.values, estimator.values) and len(other.values) == 3
    assert EnasPPO(epochs=7).updates == 7
    with pytest.raises(ConfigError):
        EnasPPO(clip=0.0)
