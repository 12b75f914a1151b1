"""The published gradients of one draw, written out apart from the estimators.

They use probabilities, noise, settings and ``h = dL/dZ`` only; the chain rule is carried out by
hand, so that neither a surrogate nor a straight-through construction is trusted. Equations are
named in the estimators' own files. ``q * (h - <q, h>)`` is :func:`~claims.jacobian`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import special
from torch import Tensor

from nasbench_snas.testing.bench import space_of
from nasbench_snas.testing.claims import Draw, Point, jacobian, slope, temperature


def _pick(scores: Tensor) -> Tensor:
    """Return one-hot rows at the largest of ``scores``."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


def _alpha(point: Point) -> Tensor:
    """Return the logits as they stand, ``(R, 1, E, K)``, detached."""
    alpha: Tensor = point.dist.alpha.detach()[:, None]
    return alpha


def _log_p(point: Point) -> Tensor:
    alpha = _alpha(point)
    log_p: Tensor = alpha - alpha.logsumexp(dim=-1, keepdim=True)
    return log_p


def _soft(point: Point, noise: Tensor, tau: float) -> Tensor:
    scores = (_log_p(point) + noise) / tau
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp()


def darts(point: Point) -> Draw:
    """Softmax attention: ``J(p) h(p)``."""
    p = _log_p(point).exp()
    return Draw(jacobian(p, slope(point.loss, p))[:, 0], p)


def snas(point: Point) -> Draw:
    """Concrete relaxation: ``J(y) h(y) / tau``."""
    tau = temperature(point)
    y = _soft(point, point.noise, tau)
    return Draw((jacobian(y, slope(point.loss, y)) / tau).mean(dim=1), y)


def st_gumbel(point: Point) -> Draw:
    """Hard forward: ``J(y) h(D) / tau``."""
    tau = temperature(point)
    z = _pick(_log_p(point) + point.noise)
    y = _soft(point, point.noise, tau)
    return Draw((jacobian(y, slope(point.loss, z)) / tau).mean(dim=1), z)


def straight_through(point: Point) -> Draw:
    """``J(p) h(D)``."""
    z = _pick(_log_p(point) + point.noise)
    return Draw(jacobian(_log_p(point).exp(), slope(point.loss, z)).mean(dim=1), z)


def gdas(point: Point) -> Draw:
    """``J(y) (h(D) * D) / tau``: the drawn operation alone has a gradient."""
    tau = temperature(point)
    z = _pick(_log_p(point) + point.noise)
    y = _soft(point, point.noise, tau)
    return Draw((jacobian(y, slope(point.loss, z) * z) / tau).mean(dim=1), z)


def gumbel_rao(point: Point) -> Draw:
    """``mean_m J(y_m) h(D) / tau``, ``y_m`` from noise drawn given ``D``."""
    tau, (first, exponential) = temperature(point), point.noise
    z = _pick(_log_p(point) + first)
    h = slope(point.loss, z)
    samples = exponential.shape[1] // z.shape[1]
    total = torch.zeros_like(h[:, 0])
    for i in range(z.shape[1]):
        for m in range(samples):
            e = exponential[:, i * samples + m]
            won = (e * z[:, i]).sum(dim=-1, keepdim=True)
            arrival = torch.where(z[:, i] > 0, won, e / _log_p(point)[:, 0].exp() + won)
            weight = arrival ** (-1 / tau)
            total = total + jacobian(weight / weight.sum(dim=-1, keepdim=True), h[:, i]) / tau
    return Draw(total / (z.shape[1] * samples), z)


def reinmax(point: Point) -> Draw:
    """``2 J((p_tau + D) / 2) h(D) - J(p) h(D) / 2``."""
    z = _pick(_log_p(point) + point.noise)
    p, h = _log_p(point).exp(), slope(point.loss, z)
    warm = (_alpha(point) / point.estimator.tau).softmax(dim=-1)
    return Draw((2 * jacobian((warm + z) / 2, h) - jacobian(p, h) / 2).mean(dim=1), z)


def drnas(point: Point) -> Draw:
    """Implicit reparameterisation of the Dirichlet, by differences of the Beta's distribution.

    With ``x_k ~ Beta(c_k, C - c_k)``: ``g_k = -(dF/dc_k) / (F'(x_k) (1 - x_k))`` and
    ``dZ_j/dc_k = g_k (1[j = k] - Z_j)``; ``dc/dalpha`` of ``ELU(alpha) + 1``.
    """
    z, alpha = point.noise, _alpha(point)
    c = torch.where(alpha > 0, alpha + 1, alpha.exp())
    inner = torch.where(alpha > 0, torch.ones_like(alpha), alpha.exp())
    shape = np.broadcast_to(c.numpy(), z.shape)
    rest, x = shape.sum(axis=-1, keepdims=True) - shape, z.numpy()
    step = 1e-5 * shape
    change = special.betainc(shape + step, rest, x) - special.betainc(shape - step, rest, x)
    log_density = special.xlogy(shape - 1, x) + special.xlog1py(rest - 1, -x)
    density = np.exp(log_density - special.betaln(shape, rest))
    rate = torch.from_numpy(-change / (2 * step) / (density * (1 - x)))
    h = slope(point.loss, z)
    gradient = rate * (h - (h * z).sum(dim=-1, keepdim=True)) * inner
    anchor = {"none": 0.0, "l2": 1.0}.get(point.estimator.anchor, math.nan)
    penalty = anchor * point.estimator.anchor_weight * alpha[:, 0]
    return Draw(gradient.mean(dim=1) + penalty, z, tolerance=5e-3)


def proxyless(point: Point) -> Draw:
    """``J(q) h`` on two drawn operations, ``q`` their renormalised probabilities.

    In full mode ``J(p) h`` at a draw from ``p``, zero on edges that the zero operation (the first
    of the tiny spaces) is drawn on.
    """
    if point.estimator.mode == "full":
        z, p = _pick(_log_p(point) + point.noise[0]), _log_p(point).exp()
        every = jacobian(p, slope(point.loss.viewed_by(True), z))
        return Draw((every * (1 - z[..., :1])).mean(dim=1), z)
    scores, gate = _log_p(point) + point.noise[0], point.noise[1]
    order = scores.argsort(dim=-1, descending=True)
    pair = torch.zeros_like(scores).scatter(-1, order[..., :2], 1.0)
    p = _log_p(point).exp() * pair
    q = p / p.sum(dim=-1, keepdim=True)
    z = _pick(scores)
    if point.estimator.law == "published":
        z = _pick(torch.where(pair > 0, q.log() + gate, -torch.inf))
    view = point.loss.viewed_by(True)
    return Draw(jacobian(q, slope(view, z) * pair).mean(dim=1), z)


def proxyless_samples(point: Point) -> Tensor:
    """Return the law of the open path, ``(E, K)``: the pair's law times the gate's."""
    p: Tensor = point.dist.alpha.detach()[0].softmax(dim=-1)
    if point.estimator.law == "exact" or point.estimator.mode == "full":
        return p
    total = torch.zeros_like(p)
    for a in range(p.shape[1]):
        for b in range(p.shape[1]):
            if a != b:
                drawn = p[:, a] * p[:, b] / (1 - p[:, a])
                total[:, a] += drawn * p[:, a] / (p[:, a] + p[:, b])
                total[:, b] += drawn * p[:, b] / (p[:, a] + p[:, b])
    return total


def pc_darts(point: Point) -> Draw:
    """Attention over operations and, node by node, over edges; alpha first, then beta."""
    p, beta = _log_p(point).exp(), point.dist.beta.detach()
    weight = torch.zeros_like(beta)
    (cell,) = space_of(*_alpha(point).shape[-2:]).cells
    nodes = torch.tensor([target for _, target in cell.edges])
    for node in nodes.unique():
        here = nodes == node
        weight[:, here] = beta[:, here].softmax(dim=-1)
    z = weight[:, None, :, None] * p
    h = slope(point.loss, z)
    edge = (p * h).sum(dim=-1)[:, 0]
    of_edges = torch.zeros_like(beta)
    for node in nodes.unique():
        here = nodes == node
        of_edges[:, here] = jacobian(weight[:, here], edge[:, here])
    of_operations = weight[..., None] * jacobian(p, h)[:, 0]
    return Draw(torch.cat([of_operations.flatten(1), of_edges], dim=1), z)


def fair_darts(point: Point) -> Draw:
    """Sigmoids and the zero-one penalty ``-w mean((s - 1/2)^2)``."""
    s = 1 / (1 + (-_alpha(point)).exp())
    h = slope(point.loss, s)
    penalty = point.estimator.zero_one * 2 * (s - 0.5) / (s.shape[-1] * s.shape[-2])
    return Draw(((h - penalty) * s * (1 - s))[:, 0], s)


def hard_concrete(point: Point) -> Draw:
    """Stretched and clipped gates; a clipped one has no gradient."""
    e = point.estimator
    s = 1 / (1 + (-(_alpha(point) + point.noise) / e.beta).exp())
    gate = s * e.zeta + (1 - s) * e.gamma
    inside = (gate > 0) & (gate < 1)
    h = slope(point.loss, gate.clamp(0, 1))
    gradient = torch.where(inside, h * (e.zeta - e.gamma) * s * (1 - s) / e.beta, 0.0).mean(dim=1)
    opened = 1 / (1 + (e.beta * math.log(-e.gamma / e.zeta) - _alpha(point)[:, 0]).exp())
    return Draw(gradient + e.l0 * opened * (1 - opened), gate.clamp(0, 1))


def dsnas(point: Point) -> Draw:
    """``(D - p) (h . D)``."""
    z = _pick(_log_p(point) + point.noise)
    credit = (slope(point.loss, z) * z).sum(dim=-1, keepdim=True)
    return Draw(((z - _log_p(point).exp()) * credit).mean(dim=1), z)


def snas_credit(point: Point) -> Draw:
    """The concrete density's score ``1 - K e^{-G_k} / sum_l e^{-G_l}`` times ``h . Z``."""
    z = _soft(point, point.noise, temperature(point))
    arrival = (-point.noise).exp()
    score = 1 - z.shape[-1] * arrival / arrival.sum(dim=-1, keepdim=True)
    return Draw((score * (slope(point.loss, z) * z).sum(dim=-1, keepdim=True)).mean(dim=1), z)


def nes(point: Point) -> Draw:
    """``(L+ - L-) eps / (2 sigma)``, mean over antithetic pairs."""
    eps, gumbel = point.noise
    e, pairs = point.estimator, eps.shape[1]
    z = torch.cat([_pick(_log_p(point) + s * e.sigma * eps + gumbel) for s in (1, -1)], dim=1)
    losses = point.loss(z).detach()
    if e.rank_shaping:
        rank = losses.argsort(dim=1).argsort(dim=1) + 1
        raw = (math.log(pairs + 1) - rank.to(losses.dtype).log()).clamp_min(0)
        losses = -(raw / raw.sum(dim=1, keepdim=True) - 1 / (2 * pairs)) * 2 * pairs
    difference = (losses[:, :pairs] - losses[:, pairs:])[..., None, None]
    return Draw((difference * eps).sum(dim=1) / (2 * e.sigma * pairs), z)


def nes_samples(point: Point, nodes: int = 12) -> Tensor:
    """Return ``E softmax(alpha + sigma eps)``, ``(E, K)``, by Gauss-Hermite quadrature."""
    alpha = point.dist.alpha.detach()[0]
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    size = alpha.shape[1]
    grid = torch.cartesian_prod(*[torch.from_numpy(x)] * size).view(-1, size)
    weight = torch.cartesian_prod(*[torch.from_numpy(w / w.sum())] * size).view(-1, size)
    soft = (alpha[:, None] + point.estimator.sigma * grid).softmax(dim=-1)
    mean: Tensor = (soft * weight.prod(dim=-1)[:, None]).sum(dim=1)
    return mean


def regularized_evolution(point: Point) -> Draw:
    """Children: random ones at first, then the best of a tournament with one edge changed."""
    e, u = point.estimator, point.noise
    operations, edges = point.dist.num_operations, point.dist.num_edges
    rows = torch.empty(*u.shape[:2], edges, dtype=torch.long)
    for place in np.ndindex(*u.shape[:2]):
        row = u[place].tolist()
        if int(e.born) < e.population:
            rows[place] = torch.tensor([int(x * operations) for x in row[e.tournament + 2 :]])
            continue
        rivals = [int(x * e.population) for x in row[: e.tournament]]
        best = min(rivals, key=lambda r: float(e.fitness[r]))
        child = e.members[best].tolist()
        where, others = int(row[e.tournament] * edges), list(range(1, operations))
        move = others[int(row[e.tournament + 1] * (operations - 1))]
        child[where] = (child[where] + move) % operations
        rows[place] = torch.tensor(child)
    return Draw(None, torch.nn.functional.one_hot(rows, operations).to(u.dtype))


def entropy_regularised(point: Point) -> Tensor:
    """Return ``E[L] - w H(p)`` of ``enas`` and ``vargrad``, a scalar, by enumeration."""
    e = point.estimator
    weight = e.kappa if hasattr(e, "kappa") else e.entropy_weight
    edges, operations = point.dist.num_edges, point.dist.num_operations
    index = torch.cartesian_prod(*[torch.arange(operations)] * edges).view(-1, edges)
    z = torch.eye(operations, dtype=point.dist.dtype)[index][None]
    log_p = point.dist.log_prob(z).sum(dim=-1)
    cost = point.loss.error(z) if getattr(e, "reward", "") == "accuracy" else point.loss(z)
    total: Tensor = (log_p.exp() * (cost + weight * log_p)).sum()
    return total


def drnas_noise(point: Point) -> list[Tensor]:
    """Return uniforms of Dirichlet samples: the stick-breaking Betas through their distribution."""
    z, alpha = point.noise, _alpha(point)
    c = torch.where(alpha > 0, alpha + 1, alpha.exp()).expand_as(z).numpy()
    x, uniforms = z.numpy(), []
    for k in range(x.shape[-1] - 1):
        left = x[..., k:].sum(axis=-1)
        uniforms.append(special.betainc(c[..., k], c[..., k + 1 :].sum(axis=-1), x[..., k] / left))
    return [torch.from_numpy(np.stack(uniforms, axis=-1))]
