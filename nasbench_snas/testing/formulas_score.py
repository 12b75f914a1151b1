"""Draws of score-function and control-variate estimators, written out apart from the estimators.

As :mod:`nasbench_snas.testing.formulas`; where a gradient through conditional noise is needed it is
that of an expression of its own in exponential arrival times.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.testing.claims import Draw, Point


def _picked(point: Point, noise: Tensor) -> Tensor:
    scores = point.dist.alpha.detach()[:, None] + noise
    return torch.zeros_like(scores).scatter(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


def _probs(point: Point) -> Tensor:
    p: Tensor = point.dist.alpha.detach().softmax(dim=-1)[:, None]
    return p


def local_expectation(point: Point) -> Draw:
    """``p_e * (L_e - <p_e, L_e>)`` on the treated edges, times ``E / m``."""
    (gumbel, chosen), p = point.noise, _probs(point)
    z = _picked(point, gumbel)
    gradient = torch.zeros_like(z)
    with torch.no_grad():
        for e in range(z.shape[2]):
            table = []
            for k in range(z.shape[3]):
                other = z.clone()
                other[:, :, e] = torch.eye(z.shape[3], dtype=z.dtype)[k]
                table.append(point.loss(other))
            losses = torch.stack(table, dim=-1)
            mean = (p[:, :, e] * losses).sum(dim=-1, keepdim=True)
            treated = (chosen == e).any(dim=-1)[..., None]
            gradient[:, :, e] = treated * p[:, :, e] * (losses - mean)
    return Draw(gradient.mean(dim=1) * z.shape[2] / chosen.shape[-1], z)


def arsm(point: Point) -> Draw:
    """``sum_j (f^{c<->j} - mean_m f^{m<->j}) (1/K - pi_ej)``, ``pi`` uniform on the simplex."""
    arrival = (-point.noise).exp()
    pi = arrival / arrival.sum(dim=-1, keepdim=True)
    k = pi.shape[-1]
    ratio = _probs(point)
    f = torch.zeros(*pi.shape[:2], k, k, dtype=pi.dtype)
    with torch.no_grad():
        for c, j in itertools.product(range(k), repeat=2):
            order = list(range(k))
            order[c], order[j] = j, c
            first = (pi[..., order] / ratio).argmin(dim=-1)
            f[..., c, j] = point.loss(torch.eye(k, dtype=pi.dtype)[first])
    advantage = f - f.mean(dim=2, keepdim=True)
    terms = advantage[:, :, None] * (1 / k - pi)[:, :, :, None, :]
    return Draw(terms.sum(dim=-1).mean(dim=1), _picked(point, point.noise))


def sum_and_sample(point: Point) -> Draw:
    """The likeliest ``n - 1`` architectures with their probabilities, the last with what is left.

    The baseline is the mean loss of the former, weighted by their probabilities.
    """
    z, p = point.seen, _probs(point)
    probs = (z * p).sum(dim=-1).prod(dim=-1)
    kept, n = probs[:, :-1], z.shape[1]
    everything = _all(p[0, 0])
    largest = (everything * p[0, 0]).sum(dim=-1).prod(dim=-1).sort(descending=True).values[: n - 1]
    if not torch.allclose(kept, largest.expand_as(kept), rtol=1e-9):
        return Draw(torch.full_like(z[:, 0], torch.nan), z)  # not the likeliest ones
    share = torch.cat([kept, 1 - kept.sum(dim=1, keepdim=True)], dim=1)
    losses = point.loss(z).detach()
    baseline = torch.zeros_like(losses[:, :1])
    if point.estimator.baseline:
        baseline = (kept * losses[:, :-1]).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True)
    credit = (share * (losses - baseline))[..., None, None]
    return Draw((credit * (z - p)).sum(dim=1), z, share=share)


def unordered_set(point: Point) -> Draw:
    """The estimate for the set that was drawn, its ratios by summing over all orders of drawing."""
    z, p = point.seen, _probs(point)
    probs, losses = (z * p).sum(dim=-1).prod(dim=-1), point.loss(z).detach()
    k = z.shape[1]
    everyone = frozenset(range(k))
    total = _orders(probs, everyone, frozenset())
    share, credit = torch.zeros_like(probs), torch.zeros_like(probs)
    for s in range(k):
        first = _orders(probs, everyone, frozenset({s})) / total
        baseline = probs[:, s] * losses[:, s]
        for other in everyone - {s}:
            second = _orders(probs, everyone, frozenset({s, other}))
            rest = _orders(probs, everyone, frozenset({s}))
            baseline = baseline + probs[:, other] * second / rest * losses[:, other]
        share[:, s] = probs[:, s] * first
        credit[:, s] = share[:, s] * (losses[:, s] - baseline)
    return Draw((credit[..., None, None] * (z - p)).sum(dim=1), z, share=share)


def _orders(probs: Tensor, members: frozenset[int], drawn: frozenset[int]) -> Tensor:
    """Return the probability of drawing the other members next, in any order, given ``drawn``."""
    total = torch.zeros_like(probs[:, 0])
    for order in itertools.permutations(sorted(members - drawn)):
        used, chance = list(drawn), torch.ones_like(total)
        for member in order:
            gone = probs[:, used].sum(dim=1) if used else torch.zeros_like(total)
            chance = chance * probs[:, member] / (1 - gone)
            used.append(member)
        total = total + chance
    return total


def _all(p: Tensor) -> Tensor:
    edges, operations = p.shape
    index = torch.cartesian_prod(*[torch.arange(operations)] * edges).view(-1, edges)
    return torch.eye(operations, dtype=p.dtype)[index]


def rebar(point: Point) -> Draw:
    """``(L(D) - eta c(z~)) grad log p(D) + eta grad (c(z) - c(z~))``, ``c`` the relaxed loss."""
    e = point.estimator
    tau, eta = float(e.log_tau.detach().exp()), float(e.eta.detach())
    return _control(point, lambda y: eta * point.loss(y), tau)


def relax(point: Point) -> Draw:
    """As :func:`rebar` with the estimator's own network as ``c``."""
    e = point.estimator
    layers, tau = e.network, float(e.log_tau.detach().exp())

    def control(y: Tensor) -> Tensor:
        hidden = torch.tanh(y.flatten(-2) @ layers[0].weight.detach().T + layers[0].bias.detach())
        out: Tensor = (hidden @ layers[2].weight.detach().T + layers[2].bias.detach())[..., 0]
        return out

    return _control(point, control, tau)


def _control(point: Point, control: Any, tau: float) -> Draw:
    gumbel, exponential = point.noise
    z = _picked(point, gumbel)
    alpha = point.dist.alpha.detach().clone().requires_grad_()
    log_p = (alpha - alpha.logsumexp(dim=-1, keepdim=True))[:, None]
    won = (exponential * z).sum(dim=-1, keepdim=True)
    arrival = torch.where(z > 0, won.expand_as(z), exponential / log_p.exp() + won)
    free = control(((log_p + gumbel) / tau).softmax(dim=-1))
    given = control((-arrival.log() / tau).softmax(dim=-1))
    (path,) = torch.autograd.grad((free - given).sum(), alpha)
    credit = (point.loss(z) - given).detach()[..., None, None]
    score = (credit * (z - log_p.detach().exp())).mean(dim=1)
    return Draw(score + path / z.shape[1], z)


def muprop(point: Point) -> Draw:
    """``(L(D) - L(p) - <h, D - p>) (D - p) + J(p) h``, ``h`` at ``p``."""
    z, p = _picked(point, point.noise), _probs(point)
    leaf = p.clone().requires_grad_()
    at_mean = point.loss(leaf)
    (h,) = torch.autograd.grad(at_mean.sum(), leaf)
    rest = point.loss(z).detach() - at_mean.detach() - (h * (z - p)).sum(dim=(-2, -1))
    mean = (p * (h - (p * h).sum(dim=-1, keepdim=True)))[:, 0]
    return Draw((rest[..., None, None] * (z - p)).mean(dim=1) + mean, z)


def enas_ppo_replay(before: Point, dist: Any) -> Tensor:
    """Return the gradient of ``sum_e max(r A, clip(r) A)`` for the draw of ``before``."""
    e = before.estimator
    z = before.dist.hard(before.noise)
    advantage = ppo_advantage(before, z)
    with torch.no_grad():
        old = before.dist.log_prob(z)
    new = dist.log_prob(z)
    ratio = (new - old).exp().detach()
    worse = torch.where(advantage > 0, ratio > 1 - e.clip, ratio < 1 + e.clip)
    value = (ratio * advantage * worse * new).sum(dim=-1).mean(dim=1).sum()
    return flat_gradient(value, list(dist.parameters()), len(z))


def ppo_advantage(point: Point, z: Tensor) -> Tensor:
    """Return ``A_e = sum_l lambda^l delta_{e+l}``, shape ``(R, n, E)``."""
    e, edges = point.estimator, z.shape[2]
    with torch.no_grad():
        of = point.loss.error if e.reward == "accuracy" else point.loss
        cost = of(z) + e.entropy_weight * point.dist.log_prob(z).sum(dim=-1)
        start = of(point.dist.mode()[:, None])
        values = (
            e.values.to(cost) if len(e.values) else start[..., None].expand(*z.shape[:2], edges)
        )
        values = values.expand(*cost.shape, edges)
        delta = torch.cat([values[..., 1:], cost[..., None]], dim=-1) - values
        places = torch.arange(edges, dtype=torch.float64)
        power = places[None] - places[:, None]
        decay = torch.where(power >= 0, float(e.gae_lambda) ** power.clamp_min(0), 0.0)
        advantage: Tensor = delta @ decay.to(delta).T
        return advantage


def enas_ppo(point: Point) -> Draw:
    """The first update: ``sum_e A_e grad log pi``."""
    z = point.dist.hard(point.noise)
    value = (ppo_advantage(point, z) * point.dist.log_prob(z)).sum(dim=-1).mean(dim=1).sum()
    return Draw(flat_gradient(value, list(point.dist.parameters()), len(z)), z)


def flat_gradient(value: Tensor, leaves: list[Any], replicates: int) -> Tensor:
    """Return the gradient of a sum over replicates, ``(R, d)``, zero where there is none."""
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    pairs = zip(leaves, grads, strict=True)
    flat = [(torch.zeros_like(p) if g is None else g).reshape(replicates, -1) for p, g in pairs]
    return torch.cat(flat, dim=1)


def moving_average(estimator: Any, dist: Any, history: list[Any]) -> dict[str, Tensor]:
    """Return the baseline after updates: the first mean loss, then an exponential average."""
    if estimator.baseline is None:
        return {}
    cost = [_cost(estimator, dist, step) for step in history]
    value, decay = cost[0].mean(), estimator.baseline.decay
    for row in cost[1:]:
        value = decay * value + (1 - decay) * row.mean()
    return {"baseline.value": value}


def ppo_values(estimator: Any, dist: Any, history: list[Any]) -> dict[str, Tensor]:
    """Return the positions' values after updates by TD(lambda)."""
    edges = history[0].z.shape[2]
    values = history[0].mode.flatten().expand(edges).clone()
    for step in history:
        cost = _cost(estimator, dist, step)[0]
        moved = torch.zeros(len(cost), edges, dtype=values.dtype)
        for i in range(len(cost)):
            ahead = torch.cat([values[1:], cost[i : i + 1]])
            running = torch.zeros((), dtype=values.dtype)
            for e in reversed(range(edges)):
                running = ahead[e] - values[e] + estimator.gae_lambda * running
                moved[i, e] = values[e] + (1 - estimator.decay) * running
        values = moved.mean(dim=0)
    return {"_extra_state": values}


def population(estimator: Any, dist: Any, history: list[Any]) -> dict[str, Tensor]:
    """Return members, fitness and births of regularised evolution, and the logits it writes."""
    rows = [
        (z.argmax(dim=-1), loss)
        for step in history
        for z, loss in zip(step.z[0], step.losses[0], strict=True)
    ]
    size, operations = estimator.population, dist.num_operations
    members = torch.zeros(size, rows[0][0].numel(), dtype=torch.long)
    fitness = torch.full((size,), torch.inf, dtype=torch.float64)
    for number, (row, loss) in enumerate(rows):
        members[number % size], fitness[number % size] = row, loss
    alive = members[: len(rows)]
    counts = torch.nn.functional.one_hot(alive, operations).double().sum(dim=0)
    alpha = ((counts + 1 / operations) / (len(alive) + 1)).log()
    born = torch.tensor(len(rows))
    return {"members": members, "fitness": fitness, "born": born, "alpha": alpha}


def _cost(estimator: Any, dist: Any, step: Any) -> Tensor:
    """Return the cost of a step's draws, ``(1, n)``, with the entropy's share."""
    weight = getattr(estimator, "entropy_weight", 0.0)
    if not weight:
        losses: Tensor = step.losses
        return losses
    with torch.no_grad():
        total: Tensor = step.losses + weight * dist.log_prob(step.z).sum(dim=-1)
        return total
