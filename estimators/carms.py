"""CARMS: n jointly antithetic categoricals with importance-weighted leave-one-out.

On every edge a random permutation lays the probabilities out as intervals of [0, 1], and n uniforms
from a Dirichlet copula, each uniform, together spread out, select them. With the pairwise joint
probability ``P(a, b)`` of two of the n, exact under copula and permutations, and ``r = p_a p_b /
P(a, b)``: ``g_e = 1/(n (n-1)) sum_i sum_{j != i} r_e(Z_i, Z_j) (L_i - L_j) grad log p(Z_ie)``.
Unbiased for the expected loss: the weights make the pair independent on edge e.

Reference: Dimitriev and Zhou 2021, arXiv:2110.14002, sections 3-4 (inverse-CDF sampling, Dirichlet
copula ``u_i = (1 - d_i)^(n-1)``, ``d ~ Dirichlet(1_n)``; pairwise law
``P(u_i < s, u_j < t) = max(0, s^(1/(n-1)) + t^(1/(n-1)) - 1)^(n-1)``).
Deviations: the ratios are neither clipped nor smoothed, as the released code does (by 1e-3, to at
most 10): that would be biased. Pairs that agree on an edge cancel there, so their ratio is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot
from nasbench_snas.errors import ConfigError


class CARMS(Estimator):
    """Antithetic categoricals.

    Args:
        n: Architectures per draw, at least 2. Default 4.
    """

    name = "carms"
    family = "score"
    reference = "dimitriev2021carms"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"draw": "coupled:carms", "noise": "coupled:carms_noise"}
    conformance_variants = ({"n": 2},)

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        if n < 2:
            raise ConfigError(f"carms: pairs need n of at least 2, got {n}.")
        self.n = n

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the copula's uniforms ``(R, n, E)`` and a permutation's number ``(R, E)``."""
        shape, device = (replicates, self.n, dist.num_edges), generator.device
        spread = torch.empty(shape, dtype=dist.dtype, device=device)
        spread.exponential_(generator=generator)
        spread = spread / spread.sum(dim=1, keepdim=True)
        count = len(orders(dist.num_operations))
        size = (replicates, dist.num_edges)
        chosen = torch.randint(count, size, generator=generator, device=device)
        return (1 - spread).clamp(0, 1) ** (self.n - 1), chosen

    def samples(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the architectures that the uniforms select, ``(R, n, E, K)``."""
        uniform, chosen = noise
        order = orders(dist.num_operations).to(uniform.device)[chosen]
        upper = dist.probs.detach().expand(order.shape).gather(-1, order).cumsum(dim=-1)
        place = (uniform[..., None] > upper[:, None, :, :-1]).sum(dim=-1)
        index = order[:, None].expand(-1, self.n, -1, -1).gather(-1, place[..., None])[..., 0]
        return one_hot(index, dist.num_operations, dist.dtype)

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        z, n = self.samples(dist, noise), self.n
        losses = loss(z)
        ratio = pair_ratios(dist.probs.detach(), n)
        pairs = torch.einsum("rnek,rekl,rmel->renm", z, ratio.expand(len(z), -1, -1, -1), z)
        gaps = (losses[:, :, None] - losses[:, None]).detach()[:, None]
        weight = (pairs * gaps).sum(dim=-1) / (n * (n - 1))
        score = dist.log_prob(z).movedim(1, 2)
        return losses.mean(dim=1) + (weight * (score - score.detach())).sum(dim=(-2, -1))

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the samples; see :meth:`Estimator.weights`."""
        return self.samples(dist, noise)


def orders(operations: int) -> Tensor:
    """Return the permutations, ``(K (K-1) / 2, K)``: every pair is once first and last."""
    found = []
    for i in range(operations):
        start = [(j - i) % operations for j in range(operations)]
        for j in range(operations - 1):
            rest = start[1:]
            order = [start[0], *rest[len(rest) - j :], *rest[: len(rest) - j]]
            if order[0] < order[-1]:
                found.append(order)
    return torch.tensor(found)


def pair_ratios(probs: Tensor, n: int) -> Tensor:
    """Return ``p_a p_b / P(a, b)``, zero for ``a = b``, shape ``(R, E, K, K)``."""
    order = orders(probs.shape[-1]).to(probs.device)
    sorted_probs = probs[..., order]  # (R, E, permutations, K)
    upper = sorted_probs.cumsum(dim=-1).clamp_max(1)
    upper[..., -1] = 1
    lower = torch.cat([torch.zeros_like(upper[..., :1]), upper[..., :-1]], dim=-1)
    root_low, root_up = lower ** (1 / (n - 1)), upper ** (1 / (n - 1))

    def cdf(s: Tensor, t: Tensor) -> Tensor:
        return (s[..., :, None] + t[..., None, :] - 1).clamp_min(0) ** (n - 1)

    joint = cdf(root_up, root_up) - cdf(root_low, root_up)
    joint = joint - cdf(root_up, root_low) + cdf(root_low, root_low)
    back = order.argsort(dim=-1)
    rows = back[:, :, None].expand(joint.shape)
    columns = back[:, None, :].expand(joint.shape)
    joint = joint.gather(-2, rows).gather(-1, columns).mean(dim=-3)
    product = probs[..., :, None] * probs[..., None, :]
    same = torch.eye(probs.shape[-1], dtype=torch.bool, device=probs.device)
    possible = (joint > 0) & ~same
    return torch.where(possible, product / torch.where(possible, joint, 1), 0)
