"""Draws of coupled samples and of control variates over several samples, written out apart.

As :mod:`nasbench_snas.testing.formulas`, with loops over edges, nodes and pairs: no surrogate, no
table of leaves, no automatic differentiation by alpha. The noise of antithetic samples is brought
back to independent uniforms.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.testing.claims import Draw, Point, jacobian, slope

Node = tuple[list[int], list[int]]


def _probs(point: Point) -> Tensor:
    """Return probabilities ``(R, E, K)``, detached."""
    p: Tensor = point.dist.alpha.detach().softmax(dim=-1)
    return p


def _picked(point: Point, gumbel: Tensor) -> Tensor:
    scores = point.dist.alpha.detach()[:, None] + gumbel
    return torch.zeros_like(scores).scatter(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


def indecater(point: Point) -> Draw:
    """``p_e * (L_e - <p_e, L_e>)``, every edge with samples of its own unless they are shared."""
    e, p, hard = point.estimator, _probs(point), _picked(point, point.noise)
    edges, operations = p.shape[1:]
    gradient = torch.zeros_like(p)
    with torch.no_grad():
        for edge in range(edges):
            first = 0 if e.shared else edge * e.n
            table = []
            for k in range(operations):
                changed = hard[:, first : first + e.n].clone()
                changed[:, :, edge] = torch.eye(operations, dtype=p.dtype)[k]
                table.append(point.loss(changed).mean(dim=1))
            losses, own = torch.stack(table, dim=-1), p[:, edge]
            gradient[:, edge] = own * (losses - (own * losses).sum(dim=-1, keepdim=True))
    return Draw(gradient, hard[:, : e.n])


def double_cv(point: Point) -> Draw:
    """Leave-one-out with both sides expanded to first order; see ``estimators/double_cv.py``."""
    z, p, c = (
        _picked(point, point.noise),
        _probs(point),
        float(point.estimator.coefficient.detach()),
    )
    h, losses, n = slope(point.loss, z), point.loss(z).detach(), z.shape[1]
    total = torch.zeros_like(p)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        baseline = sum(losses[:, j] + c * _expansion(h, z, p, j) for j in others) / len(others)
        credit = losses[:, i] - baseline + c * _expansion(h, z, p, i)
        total = total + credit[:, None, None] * (z[:, i] - p) - c * jacobian(p, h[:, i])
    return Draw(total / n, z)


def _expansion(h: Tensor, z: Tensor, p: Tensor, i: int) -> Tensor:
    """Return ``<mean of h over the draws but i, Z_i - p>``, shape ``(R,)``."""
    rest = torch.stack([h[:, j] for j in range(h.shape[1]) if j != i]).mean(dim=0)
    return (rest * (z[:, i] - p)).sum(dim=(-2, -1))


def rodeo(point: Point) -> Draw:
    """Leave-one-out with the Gibbs operator's control variates, term by term."""
    z, p = _picked(point, point.noise), _probs(point)
    h, losses, (n, edges, operations) = slope(point.loss, z), point.loss(z).detach(), z.shape[1:]
    network = point.estimator.network

    def surrogate(i: int, at: Tensor) -> Tensor:
        """Return ``(a, b)_i`` at architectures ``(R, E, K)``, shape ``(R, 2)``."""
        found = []
        for j in range(n):
            if j != i:
                change = (h[:, j] * (at - z[:, j])).sum(dim=(-2, -1))
                x = torch.stack([losses[:, j], change], dim=-1)
                hidden = torch.tanh(x @ network[0].weight.detach().T + network[0].bias.detach())
                found.append(hidden @ network[2].weight.detach().T + network[2].bias.detach())
        return torch.stack(found).mean(dim=0)

    def neighbours(i: int) -> Iterator[tuple[Tensor, Tensor]]:
        for edge, k in itertools.product(range(edges), range(operations)):
            other = z[:, i].clone()
            other[:, edge] = torch.eye(operations, dtype=z.dtype)[k]
            yield p[:, edge, k] / edges, other

    steins, total = [], torch.zeros_like(p)
    for i in range(n):
        stein = -surrogate(i, z[:, i])[:, 0]
        total = total - surrogate(i, z[:, i])[:, 1, None, None] * (z[:, i] - p)
        for weight, other in neighbours(i):
            a, b = surrogate(i, other).unbind(dim=-1)
            stein = stein + weight * a
            total = total + (weight * b)[:, None, None] * (other - p)
        steins.append(stein)
    for i in range(n):
        rest = [losses[:, j] + steins[j] for j in range(n) if j != i]
        total = total + (losses[:, i] - sum(rest) / (n - 1))[:, None, None] * (z[:, i] - p)
    return Draw(total / n, z)


def _orders(operations: int) -> list[list[int]]:
    """Return the permutations: from each operation on, the rest rotated; no mirror images."""
    found = []
    for first in [0, *range(operations - 1, 0, -1)]:
        rest = [(first + i) % operations for i in range(1, operations)]
        for turn in range(operations - 1):
            order = [first, *rest[len(rest) - turn :], *rest[: len(rest) - turn]]
            if order[0] < order[-1]:
                found.append(order)
    return found


def carms(point: Point) -> Draw:
    """``1/(n (n-1)) sum r(Z_i, Z_j) (L_i - L_j) (Z_i - p)``, the pairs' law order by order."""
    (uniform, chosen), p, n = point.noise, _probs(point), point.estimator.n
    edges, operations = p.shape[1:]
    orders, z = _orders(operations), torch.zeros(len(p), n, edges, operations, dtype=p.dtype)
    joint = torch.zeros(len(p), edges, operations, operations, dtype=p.dtype)
    for number, order in enumerate(orders):
        here, upper = (chosen == number)[:, None], torch.zeros_like(p[..., 0])
        ends = []
        for place, operation in enumerate(order):
            lower, upper = upper, upper + p[..., operation]
            if place == operations - 1:
                upper = torch.ones_like(upper)
            ends.append((lower, upper))
            inside = (uniform > lower[:, None]) & (uniform <= upper[:, None])
            z[..., operation] = torch.where(here, inside.to(z), z[..., operation])
        for (a, k), (b, m) in itertools.product(zip(ends, order, strict=True), repeat=2):
            for sign, s, t in (
                (1, a[1], b[1]),
                (-1, a[0], b[1]),
                (-1, a[1], b[0]),
                (1, a[0], b[0]),
            ):
                root = s ** (1 / (n - 1)) + t ** (1 / (n - 1)) - 1
                joint[..., k, m] += sign * root.clamp_min(0) ** (n - 1) / len(orders)
    losses, gradient = point.loss(z).detach(), torch.zeros_like(p)
    for i, j in itertools.permutations(range(n), 2):
        together = torch.einsum("rek,rekm,rem->re", z[:, i], joint, z[:, j])
        apart = (z[:, i] * z[:, j]).sum(dim=-1) == 0
        product = (p * z[:, i]).sum(dim=-1) * (p * z[:, j]).sum(dim=-1)
        ratio = torch.where(apart, product / torch.where(apart, together, 1), 0)
        gap = (losses[:, i] - losses[:, j])[:, None]
        gradient = gradient + (ratio * gap)[..., None] * (z[:, i] - p)
    return Draw(gradient / (n * (n - 1)), z)


def carms_noise(point: Point) -> list[Tensor]:
    """Return the copula as independent uniforms, by breaking its stick, and the permutation.

    ``d_i = 1 - u_i^(1/(n-1))`` is uniform on the simplex: ``(1 - d_i / rest)^(n-1-i)`` of the first
    ``n - 1`` parts are independent uniforms.
    """
    (uniform, chosen), n = point.noise, point.noise[0].shape[1]
    parts = 1 - uniform ** (1 / (n - 1))
    left, found = torch.ones_like(parts[:, 0]), []
    for i in range(n - 1):
        found.append((1 - parts[:, i] / left).clamp(0, 1) ** (n - 1 - i))
        left = left - parts[:, i]
    count = len(_orders(point.dist.num_operations))
    fill = torch.rand(chosen.shape, generator=stream(0, "conformance/fill"), dtype=uniform.dtype)
    return [torch.stack(found, dim=1), (chosen + fill) / count]


def _stick(operations: int) -> list[Node]:
    """Return the nodes of stick breaking: one operation against all later ones."""
    return [([i], list(range(i + 1, operations))) for i in range(operations - 1)]


def _halves(operations: int) -> list[Node]:
    """Return the nodes of a balanced tree, level by level: the upper half against the lower."""
    found: list[Node] = []
    level = [list(range(operations))]
    while level:
        parents = [part for part in level if len(part) > 1]
        sides = [(part[len(part) // 2 :], part[: len(part) // 2]) for part in parents]
        found += sides
        level = [half for upper, lower in sides for half in (lower, upper)]
    return found


def _walk(p: Tensor, uniform: Tensor, nodes: list[Node]) -> tuple[Tensor, Tensor, Tensor]:
    """Follow ``uniform`` ``(R, E, K-1)`` down the tree of sorted ``p`` ``(R, E, K)``.

    Returns:
        The leaf, one-hot ``(R, E, K)``; which nodes are on its path and which of those go to
        their first side, both ``(R, E, K-1)``.
    """
    alive = torch.ones_like(p)
    on, taken = torch.zeros_like(uniform), torch.zeros_like(uniform)
    for number, (one, zero) in enumerate(nodes):
        reached = alive[..., one + zero].amin(dim=-1) > 0
        share = p[..., one].sum(dim=-1) / p[..., one + zero].sum(dim=-1)
        goes = uniform[..., number] < share
        on[..., number], taken[..., number] = reached.to(p), (reached & goes).to(p)
        for side, gone in ((one, reached & ~goes), (zero, reached & goes)):
            for leaf in side:
                alive[..., leaf] = torch.where(gone, 0.0, alive[..., leaf])
    return alive, on, taken


def _sorted(point: Point) -> tuple[Tensor, Tensor]:
    """Return probabilities in the order of the leaves, and that order, ``(R, E, K)``."""
    p = _probs(point)
    index = torch.arange(p.shape[-1]).expand(p.shape)
    if point.estimator.order != "given":
        index = p.argsort(dim=-1, descending=point.estimator.order == "descending")
    return p.gather(-1, index), index


def _antithetic(point: Point, nodes: list[Node], importance: bool) -> Draw:
    (p, index), uniform = _sorted(point), point.noise
    pairs = uniform.shape[1]
    walks = [[_walk(p, u, nodes) for u in (uniform[:, i], 1 - uniform[:, i])] for i in range(pairs)]
    leaves = [walks[i][side][0] for side in (0, 1) for i in range(pairs)]
    z = torch.zeros_like(torch.stack(leaves, dim=1))
    z.scatter_(-1, index[:, None].expand(z.shape), torch.stack(leaves, dim=1))
    losses, total = point.loss(z).detach(), torch.zeros_like(p)
    for i, (first, second) in enumerate(walks):
        half = ((losses[:, i] - losses[:, pairs + i]) / 2)[:, None, None]
        if importance:
            weight = _independent_over_coupled(p, nodes, first, second)[..., None]
            total = total + half * weight * (first[0] - second[0])
        else:
            total = total + half * _by_nodes(p, nodes, first, second)
    gradient = torch.zeros_like(total).scatter_(-1, index, total / pairs)
    return Draw(gradient, z)


def _by_nodes(
    p: Tensor, nodes: list[Node], first: tuple[Tensor, ...], second: tuple[Tensor, ...]
) -> Tensor:
    """Return what half the difference of losses is multiplied with, by leaves' logits."""
    total = torch.zeros_like(p)
    for number, (one, zero) in enumerate(nodes):
        sides = p[..., one].sum(dim=-1), p[..., zero].sum(dim=-1)
        share = sides[0] / (sides[0] + sides[1])
        (on1, b1), (on2, b2) = ((w[1][..., number], w[2][..., number]) for w in (first, second))
        weight = on1 * on2 * (b1 - b2) * torch.maximum(share, 1 - share)
        weight = weight + on1 * (1 - on2) * (b1 - share) - on2 * (1 - on1) * (b2 - share)
        for leaf in one:
            total[..., leaf] += weight * p[..., leaf] / sides[0]
        for leaf in zero:
            total[..., leaf] -= weight * p[..., leaf] / sides[1]
    return total


def _independent_over_coupled(
    p: Tensor, nodes: list[Node], first: tuple[Tensor, ...], second: tuple[Tensor, ...]
) -> Tensor:
    """Return ``p(Z) p(Z') / p(Z, Z')`` of pairs that differ, else 0, shape ``(R, E)``."""
    joint = torch.ones_like(p[..., 0])
    for number, (one, zero) in enumerate(nodes):
        share = p[..., one].sum(dim=-1) / p[..., one + zero].sum(dim=-1)
        (on1, b1), (on2, b2) = ((w[1][..., number], w[2][..., number]) for w in (first, second))
        differ = torch.minimum(share, 1 - share)
        same = torch.where(b1 > 0, (2 * share - 1).clamp_min(0), (1 - 2 * share).clamp_min(0))
        both = torch.where(b1 == b2, same, differ)
        alone = torch.where((b1 + b2) > 0, share, 1 - share)
        joint = joint * torch.where(
            (on1 * on2) > 0, both, torch.where((on1 + on2) > 0, alone, torch.ones_like(alone))
        )
    apart = (first[0] * second[0]).sum(dim=-1) == 0
    product = (p * first[0]).sum(dim=-1) * (p * second[0]).sum(dim=-1)
    return torch.where(apart, product / torch.where(apart, joint, 1.0), 0.0)


def disarm_sb(point: Point) -> Draw:
    """Antithetic pairs by stick breaking, node by node."""
    return _antithetic(point, _stick(_probs(point).shape[-1]), importance=False)


def disarm_tree(point: Point) -> Draw:
    """Antithetic pairs by a balanced tree, node by node."""
    return _antithetic(point, _halves(_probs(point).shape[-1]), importance=False)


def disarm_iw(point: Point) -> Draw:
    """Antithetic pairs by stick breaking, weighted by what they are as independent ones."""
    return _antithetic(point, _stick(_probs(point).shape[-1]), importance=True)
