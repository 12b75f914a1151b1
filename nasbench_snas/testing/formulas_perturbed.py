"""Draws of perturbed, denoised and averaged straight-through estimators, written out apart.

As :mod:`nasbench_snas.testing.formulas`. Two expressions are left to automatic differentiation,
both other than the estimators' own: the denoiser as a mixture of Gaussian densities, and nothing of
a surrogate or a straight-through construction.
"""

from __future__ import annotations

import torch
from scipy import special
from torch import Tensor

from nasbench_snas.testing.claims import Draw, Point, jacobian, slope, temperature

NODES = 1 << 16  # of the quasi-Monte Carlo quadrature over normal noise


def _log_p(point: Point) -> Tensor:
    log_p: Tensor = point.dist.alpha.detach().log_softmax(dim=-1)[:, None]
    return log_p


def _pick(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores).scatter(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


def gapped_st(point: Point) -> Draw:
    """``J(y) h(D) / tau``: the drawn logit at the top, all others at least ``gap`` below it."""
    tau, log_p = temperature(point), _log_p(point)
    z = _pick(log_p + point.noise)
    top = log_p.amax(dim=-1, keepdim=True)
    moved = torch.where(z > 0, top, torch.minimum(log_p, top - point.estimator.gap))
    return Draw((jacobian((moved / tau).softmax(dim=-1), slope(point.loss, z)) / tau).mean(1), z)


def imle(point: Point) -> Draw:
    """``(Z - Z') / lambda``, ``Z'`` after a step of ``-lambda h(Z)`` on the same noise."""
    scores, step = _log_p(point) + point.noise, point.estimator.step
    z = _pick(scores)
    return Draw(((z - _pick(scores - step * slope(point.loss, z))) / step).mean(dim=1), z)


def aimle(point: Point) -> Draw:
    """As :func:`imle` with ``lambda = beta |alpha| / |h|``, to one side or to both."""
    e, scores = point.estimator, _log_p(point) + point.noise
    z = _pick(scores)
    h, alpha = slope(point.loss, z), point.dist.alpha.detach()[:, None]
    centred = alpha - alpha.mean(dim=-1, keepdim=True)
    length, steep = (x.square().sum(dim=(-2, -1), keepdim=True).sqrt() for x in (centred, h))
    step = float(e.beta) * length / steep
    if not float(e.beta):
        return Draw(torch.zeros_like(z[:, 0]), z)
    after = _pick(scores - step * h)
    if e.symmetric:
        return Draw(((_pick(scores + step * h) - after) / (2 * step)).mean(dim=1), z)
    return Draw(((z - after) / step).mean(dim=1), z)


def grpo(point: Point) -> Draw:
    """``mean_i (L_i - mean L) / (std L + eps) (Z_i - p)``; ``std`` with ``n - 1``."""
    e, log_p = point.estimator, _log_p(point)
    z = _pick(log_p + point.noise)
    losses = point.loss(z).detach()
    n = losses.shape[1]
    advantage = losses - losses.sum(dim=1, keepdim=True) / n
    if e.scale:
        deviation = (advantage.square().sum(dim=1, keepdim=True) / (n - 1)).sqrt()
        advantage = advantage / (deviation + e.eps)
    return Draw((advantage[..., None, None] * (z - log_p.exp())).sum(dim=1) / n, z)


def gaea(point: Point) -> Draw:
    """``h(p)`` less its mean on each edge."""
    p = _log_p(point).exp()
    h = slope(point.loss, p)
    return Draw((h - h.sum(dim=-1, keepdim=True) / h.shape[-1])[:, 0], p)


def _averaged(q: Tensor, z: Tensor, h: Tensor, exponential: Tensor, tau: float) -> Tensor:
    """Return ``mean_m J(y_m) h / tau``, ``y_m`` of arrival times at rates ``q`` given ``z``."""
    total = torch.zeros_like(h)
    for m in range(exponential.shape[2]):
        e = exponential[:, :, m]
        won = (e * z).sum(dim=-1, keepdim=True)
        weight = torch.where(z > 0, won, e / q + won) ** (-1 / tau)
        total = total + jacobian(weight / weight.sum(dim=-1, keepdim=True), h) / tau
    return total / exponential.shape[2]


def reinmax_rao(point: Point) -> Draw:
    """``2 mean_m J(y_m) h(D) / tau - J(p) h(D) / 2``, ``y_m`` given ``D`` at ``(p + D) / 2``."""
    log_p = _log_p(point)
    z, p = _pick(log_p + point.noise[0]), log_p.exp()
    h = slope(point.loss, z)
    averaged = _averaged((p + z) / 2, z, h, point.noise[1], point.estimator.tau)
    return Draw((2 * averaged - jacobian(p, h) / 2).mean(dim=1), z)


def reinmax_cv(point: Point) -> Draw:
    """``2 J(q) h - J(p) h / 2 + c (mean_m J(y_m) - J(y)) h / tau``, ``q = (p + D) / 2``."""
    e, log_p, (first, exponential, fresh) = point.estimator, _log_p(point), point.noise
    z, p = _pick(log_p + first), log_p.exp()
    h, q = slope(point.loss, z), (p + z) / 2
    weight = (q * fresh.exp()) ** (1 / e.tau)
    single = jacobian(weight / weight.sum(dim=-1, keepdim=True), h) / e.tau
    control = _averaged(q, z, h, exponential, e.tau) - single
    return Draw((2 * jacobian(q, h) - jacobian(p, h) / 2 + e.coefficient * control).mean(1), z)


def _posterior(log_p: Tensor, x: Tensor, a: float, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the probabilities of the one-hot states ``e_k`` given ``x ~ N(a e_k + mean, v)``."""
    centres = a * torch.eye(x.shape[-1], dtype=x.dtype) + mean[..., None, :]
    exponent = (x[..., None, :] - centres).square() / (2 * variance[..., None, :])
    return (log_p - exponent.sum(dim=-1)).softmax(dim=-1)


def _denoised(point: Point, alpha: Tensor, normal: Tensor, matched: bool) -> Tensor:
    """Return the last denoised mean of a deterministic reverse diffusion; noise ``(R, n, E, K)``.

    Args:
        point: For the settings.
        alpha: Logits, ``(R, E, K)``.
        normal: Standard normal noise.
        matched: Whether the noise of the diffusion has the architecture's mean and variance.
    """
    e, log_p = point.estimator, alpha.log_softmax(dim=-1)[:, None]
    mean, variance = torch.zeros_like(log_p), torch.ones_like(log_p)
    if matched:
        mean = log_p.exp()
        spread = mean - mean.square()
        variance = torch.where(spread > 0.1, spread, torch.full_like(spread, 0.1))
    x, last = mean + variance.sqrt() * normal, e.levels - 1
    signal = [1.0]
    for t in range(1, e.levels):
        along = (t - 1) / max(last - 1, 1)
        signal.append((1 - e.t1) * (1 - along) + 1e-4 * along)
    for t in range(last, 0, -1):
        a, s = signal[t], 1 - signal[t]
        clean = _posterior(log_p, x, a, s * mean, s**2 * variance)
        if t > 1:
            x = signal[t - 1] * clean + (1 - signal[t - 1]) / s * (x - a * clean)
    return clean


def _redge(point: Point, matched: bool) -> Draw:
    alpha = point.dist.alpha.detach().clone().requires_grad_()
    soft = _denoised(point, alpha, point.noise[1], matched)
    z = _pick(soft.detach().log() + point.noise[0])
    (gradient,) = torch.autograd.grad((soft * slope(point.loss, z)).sum(), alpha)
    return Draw(gradient / z.shape[1], z)


def redge(point: Point) -> Draw:
    """The gradient of ``<h(D), y>``, ``y`` the mean denoised from standard normal noise."""
    return _redge(point, matched=False)


def redge_cov(point: Point) -> Draw:
    """The gradient of ``<h(D), y>``, ``y`` denoised from noise of matched mean and variance."""
    return _redge(point, matched=True)


def _redge_samples(point: Point, matched: bool) -> Tensor:
    """Return the mean of the denoised ``y``, the law of ``D``, ``(E, K)``, by quadrature."""
    alpha = point.dist.alpha.detach()[:1]
    engine = torch.quasirandom.SobolEngine(alpha.shape[-1], scramble=True, seed=0)
    nodes = engine.draw(NODES, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    normal = torch.from_numpy(special.ndtri(nodes.numpy())).to(alpha)[None, :, None]
    with torch.no_grad():
        return _denoised(point, alpha, normal, matched)[0].mean(dim=0)


def redge_samples(point: Point) -> Tensor:
    """Return the law of the samples of a finite diffusion: near the categorical, not it."""
    return _redge_samples(point, matched=False)


def redge_cov_samples(point: Point) -> Tensor:
    """As :func:`redge_samples` with matched noise."""
    return _redge_samples(point, matched=True)
