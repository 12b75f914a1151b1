"""Straight-through forms and perturbed maxima: closed forms, limits, brute force."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.aimle import AIMLE
from nasbench_snas.estimators.darts import DARTS
from nasbench_snas.estimators.gaea import GAEA
from nasbench_snas.estimators.gapped_st import GappedST
from nasbench_snas.estimators.imle import IMLE
from nasbench_snas.estimators.redge import ReDGE
from nasbench_snas.estimators.redge_cov import ReDGECov
from nasbench_snas.estimators.reinmax import ReinMax
from nasbench_snas.estimators.reinmax_cv import ReinMaxCV
from nasbench_snas.estimators.reinmax_rao import ReinMaxRao
from nasbench_snas.estimators.straight_through import StraightThrough
from nasbench_snas.search.optimizers import alpha_optimizer
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import AlphaSettings
from nasbench_snas.testing.exact import gradients_of_noise
from nasbench_snas.testing.problems import toy_problem

COST = torch.tensor([1.3, -0.4, 0.2, 2.0], dtype=torch.float64)
LOGITS = torch.tensor([[0.3, -1.0, 0.8, 0.1]], dtype=torch.float64)


def linear(z: torch.Tensor) -> torch.Tensor:
    """A loss of one decision that is linear in z: ``h = COST`` everywhere."""
    return (z * COST[: z.shape[-1]]).sum(dim=(-2, -1))


def draws(estimator, logits: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    """Return ``count`` gradients for the logits of one edge under the linear loss."""
    dist = Categorical(logits).replicate(count)
    noise = estimator.eval().noise(dist, count, stream(seed, "noise"))
    total = estimator.surrogate(linear, dist, noise).sum()
    return torch.autograd.grad(total, dist.alpha)[0][:, 0]


def jacobian(q: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    return q * (h - (q * h).sum(dim=-1, keepdim=True))


def within(sample: torch.Tensor, expected: torch.Tensor, limit: float = 4.9) -> bool:
    """Whether the mean of each coordinate lies within ``limit`` standard errors (4.9: 1e-6)."""
    error = sample.std(dim=0) / len(sample) ** 0.5
    return bool(((sample.mean(dim=0) - expected).abs() <= limit * error + 1e-12).all())


@pytest.mark.parametrize("step", [0.5, 1.0, 3.0])
def test_imle_has_the_finite_difference_of_probabilities_as_its_mean_for_linear_losses(step):
    p, moved = LOGITS[0].softmax(0), (LOGITS[0] - step * COST).softmax(0)
    assert within(draws(IMLE(step), LOGITS, 40_000), (p - moved) / step)
    assert not within(draws(IMLE(step), LOGITS, 40_000), 1.2 * (p - moved) / step)


def test_imle_of_a_small_step_has_the_mean_of_straight_through():
    p = LOGITS[0].softmax(0)
    assert within(draws(IMLE(0.01), LOGITS, 100_000), jacobian(p, COST))


def test_aimle_takes_the_step_that_its_norms_say():
    centred = LOGITS[0] - LOGITS[0].mean()
    step = float(0.7 * centred.norm() / COST.norm())
    got = draws(AIMLE(beta=0.7), LOGITS, 500)
    assert torch.allclose(got, draws(IMLE(step), LOGITS, 500), atol=1e-12)


def test_symmetric_aimle_is_a_central_difference_for_linear_losses():
    step = float((LOGITS[0] - LOGITS[0].mean()).norm() / COST.norm())
    sides = [(LOGITS[0] + s * step * COST).softmax(0) for s in (1, -1)]
    expected = (sides[0] - sides[1]) / (2 * step)
    assert within(draws(AIMLE(symmetric=True), LOGITS, 40_000), expected)


def test_aimle_steps_grow_when_nothing_changes_and_shrink_when_much_does():
    dist = Categorical(LOGITS)
    for beta, sign in ((1e-6, 1), (100.0, -1)):
        estimator = AIMLE(beta=beta, rate=1e-3, decay=0.0)
        noise = estimator.noise(dist, 1, stream(3, "noise"))
        estimator.surrogate(linear, dist, noise)
        assert float(estimator.beta) == pytest.approx(max(beta + sign * 1e-3, 0.0))


def test_gapped_straight_through_equals_its_moved_logits_case_by_case():
    estimator, dist = GappedST(gap=1.0, tau_start=0.7, schedule="constant"), Categorical(LOGITS)
    for k in range(4):
        hard = torch.eye(4, dtype=torch.float64)[k]
        log_p = LOGITS[0].log_softmax(0)
        moved = log_p.clone()
        moved[k] = log_p.max()
        for j in range(4):
            if j != k:
                moved[j] = min(float(log_p[j]), float(log_p.max()) - 1.0)
        noise = (1e6 * hard).expand(1, 1, 1, 4)
        value = estimator.surrogate(linear, dist, noise).sum()
        (got,) = torch.autograd.grad(value, dist.alpha)
        expected = jacobian((moved / 0.7).softmax(0), COST) / 0.7
        assert torch.allclose(got[0, 0], expected, atol=1e-12)


def test_reinmax_cv_without_coefficient_is_reinmax_draw_by_draw():
    problem = toy_problem("exponential", 2, 3)
    problem.loss.all_operations = True
    dist = problem.distribution()
    estimator = ReinMaxCV(coefficient=0.0, samples=3)
    noise = estimator.noise(dist, 40, stream(0, "noise"))
    got = gradients_of_noise(estimator, problem.loss, dist, noise, 40)
    expected = gradients_of_noise(ReinMax(1.0), problem.loss, dist, noise[0], 40)
    assert torch.allclose(got[0], expected[0], atol=1e-12)


def conditional_mean(k: int, tau: float, points: int = 200_000) -> torch.Tensor:
    """Return ``E[J(y) h | argmax = k] / tau`` of two operations at ``log q``, by quadrature.

    The difference of the two perturbed values is logistic around ``log q_k - log q_other``, given
    that it is positive: a route other than the conditional draws of the estimator.
    """
    p = LOGITS[0, :2].softmax(0)
    q = (p + torch.eye(2, dtype=torch.float64)[k]) / 2
    location = float((q[k] / q[1 - k]).log())
    low = 1 / (1 + float(torch.tensor(location).exp()))
    u = low + (1 - low) * (torch.arange(points, dtype=torch.float64) + 0.5) / points
    y = ((location + u.log() - (1 - u).log()) / tau).sigmoid()
    slope = (y * (1 - y)).mean() / tau * (COST[k] - COST[1 - k])
    return torch.stack([slope, -slope]) if k == 0 else torch.stack([-slope, slope])


@pytest.mark.parametrize("tau", [0.3, 1.0])
def test_reinmax_rao_has_the_mean_given_its_draw_that_quadrature_gives(tau):
    logits = LOGITS[:, :2]
    p = logits[0].softmax(0)
    expected = sum(p[k] * 2 * conditional_mean(k, tau) for k in range(2))
    expected = expected - 0.5 * jacobian(p, COST[:2])
    sample = draws(ReinMaxRao(tau, samples=8), logits, 20_000)
    assert within(sample, expected)
    assert not within(sample, 1.1 * expected)


def test_more_conditional_draws_never_raise_the_variance_of_reinmax_rao():
    few, many = (draws(ReinMaxRao(0.3, m), LOGITS, 20_000).var(dim=0).sum() for m in (1, 30))
    assert float(many) < 0.8 * float(few)


def loop_of_redge(logits, normal, t1, levels):
    """ReDGE's denoising written out for one vector of logits."""
    a = [1.0] + torch.linspace(1 - t1, 1e-4, levels - 1, dtype=torch.float64).tolist()
    x = normal
    for t in reversed(range(1, levels)):
        s = 1 - a[t]
        clean = torch.softmax(logits + a[t] * x / s**2, dim=-1)
        if t == 1:
            return clean
        x = a[t - 1] * clean + (1 - a[t - 1]) / s * (x - a[t] * clean)
    return None


@pytest.mark.parametrize(("t1", "levels"), [(0.1, 3), (0.5, 5), (0.3, 2)])
def test_redge_differentiates_its_denoising_steps(t1, levels):
    normal = torch.randn(1, 1, 1, 4, generator=stream(0, "normal"), dtype=torch.float64)
    estimator, dist = ReDGE(t1, levels), Categorical(LOGITS)
    value = estimator.surrogate(linear, dist, (torch.zeros_like(normal), normal)).sum()
    (got,) = torch.autograd.grad(value, dist.alpha)
    step, expected = 1e-6, []
    for k in range(4):
        ends = []
        for sign in (1, -1):
            at = LOGITS[0] + sign * step * torch.eye(4, dtype=torch.float64)[k]
            ends.append(loop_of_redge(at, normal[0, 0, 0], t1, levels) @ COST)
        expected.append((ends[0] - ends[1]) / (2 * step))
    assert torch.allclose(got[0, 0], torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_redge_cov_starts_at_the_moments_of_the_architecture():
    dist = Categorical(LOGITS)
    normal = torch.randn(1, 50_000, 1, 4, generator=stream(0, "normal"), dtype=torch.float64)
    x = ReDGECov().start(dist, normal).detach()[0, :, 0]
    p = LOGITS[0].softmax(0)
    assert within(x, p)
    assert torch.allclose(x.var(dim=0), (p * (1 - p)).clamp_min(0.1), rtol=0.05)


def test_zero_temperature_gumbel_rao_of_shekhovtsov_is_reinmax():
    # (straight-through + DARN) / 2 of the same draw: the documented alias of reinmax at tau = 1.
    dist = Categorical(LOGITS)
    for k in range(4):
        hard = torch.eye(4, dtype=torch.float64)[k]
        noise = (1e6 * hard).expand(1, 1, 1, 4)
        found = []
        for estimator in (StraightThrough(), ReinMax(1.0)):
            value = estimator.surrogate(linear, dist, noise).sum()
            found.append(torch.autograd.grad(value, dist.alpha)[0][0, 0])
        p = LOGITS[0].softmax(0)
        darn = (hard - p) * ((hard - p) * COST).sum()
        assert torch.allclose(found[1], (found[0] + darn) / 2, atol=1e-12)


def test_gaea_takes_exponentiated_steps_of_darts_slope():
    dist, rate = Categorical(LOGITS), 0.3
    p = dist.probs.detach()[0, 0]
    optimizer = alpha_optimizer(AlphaSettings(lr=rate, weight_decay=0.5), GAEA(), dist)
    GAEA().surrogate(linear, dist, None).sum().backward()
    optimizer.step()
    expected = p * (-rate * COST).exp()
    assert torch.allclose(dist.probs.detach()[0, 0], expected / expected.sum(), atol=1e-12)


def test_gaea_becomes_darts_gradient_under_the_jacobian_of_softmax():
    problem = toy_problem("exponential", 2, 3)
    dist = problem.distribution()
    slope, _ = gradients_of_noise(GAEA(), problem.loss, dist, None, 1)
    expected, _ = gradients_of_noise(DARTS(), problem.loss, dist, None, 1)
    got = jacobian(dist.probs.detach()[0], slope.view(2, 3))
    assert torch.allclose(got.flatten(), expected[0], atol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda: IMLE(0.0),
        lambda: AIMLE(beta=-1.0),
        lambda: GappedST(gap=-1.0),
        lambda: ReDGE(t1=1.0),
        lambda: ReinMaxRao(tau=0.0),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(ConfigError):
        build()
