"""A sampled reference where architectures cannot be enumerated, with its own error.

Factorised distributions: the local expectation (Titsias & Lázaro-Gredilla 2015),
``g_e = p_e * (L(Z_-e, .) - sum_k p_ek L(Z_-e, k))``: every edge in turn takes all its operations
while the others keep the draw; unbiased, and of small variance. Others: leave-one-out scores,
``1/(n-1) sum_i (L_i - mean L) grad log p(Z_i)``, n = 8. By theta: the gradient at a drawn
architecture. The draws' block moments go with the mean, so that every interval carries its error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import Categorical, Distribution
from nasbench_snas.oracle.exact import flatten
from nasbench_snas.oracle.network import BatchedLoss
from nasbench_snas.stats.gradient_summary import Reference
from nasbench_snas.stats.moments import GradientMoments

_SCORES = 8


def sampled_reference(
    loss: BatchedLoss,
    dist: Distribution,
    draws: int,
    generator: torch.Generator,
    *,
    replicates: int = 16,
) -> Reference:
    """Return the mean of unbiased draws of the alpha-gradient, with its error.

    Args:
        loss: The objective.
        dist: The distribution, one replicate.
        draws: ``M``.
        generator: Source of noise that no estimator sees.
        replicates: Draws of a pass.
    """
    size = sum(p.numel() for p in dist.parameters())
    moments = GradientMoments(size)
    for start in range(0, draws, replicates):
        count = min(replicates, draws - start)
        if type(dist) is Categorical:
            rows = _local_expectation(loss, dist, count, generator)
        else:
            rows = _leave_one_out(loss, dist, count, generator)
        moments.update(rows.numpy())
    return Reference.from_moments(moments)


def sampled_theta_reference(
    loss: BatchedLoss, dist: Distribution, draws: int, generator: torch.Generator
) -> Reference:
    """Return the mean of ``draws`` gradients by theta at drawn architectures, with its error."""
    theta = list(loss.network.parent.parameters())
    moments = GradientMoments(sum(p.numel() for p in theta), n_blocks=10)
    for _ in range(draws):
        z = dist.hard(dist.noise(1, 1, generator))
        found = torch.autograd.grad(loss(z).sum(), theta, allow_unused=True)
        moments.update(flatten(found, theta)[None].numpy())
    return Reference.from_moments(moments)


def _local_expectation(
    loss: BatchedLoss, dist: Categorical, count: int, generator: torch.Generator
) -> Tensor:
    """Return draws of the local expectation gradient, shape ``(count, E K)``."""
    edges, operations = dist.num_edges, dist.num_operations
    z = dist.hard(dist.noise(count, 1, generator))[:, 0]
    every = z[:, None, None].repeat(1, edges, operations, 1, 1)
    eye = torch.eye(operations, dtype=z.dtype)
    for edge in range(edges):
        every[:, edge, :, edge] = eye
    with torch.no_grad():
        values = loss(every.flatten(1, 2)).view(count, edges, operations)
        probs = dist.probs.detach()
        mean = (probs * values).sum(dim=-1, keepdim=True)
        return (probs * (values - mean)).flatten(1)


def _leave_one_out(
    loss: BatchedLoss, dist: Distribution, count: int, generator: torch.Generator
) -> Tensor:
    """Return draws of the leave-one-out score gradient, shape ``(count, d)``."""
    copies = dist.replicate(count)
    z = copies.hard(copies.noise(count, _SCORES, generator))
    with torch.no_grad():
        values = loss(z)
    advantage = (values - values.mean(dim=1, keepdim=True)) / (_SCORES - 1)
    leaves = list(copies.parameters())
    total = (advantage * copies.log_prob(z).sum(dim=-1)).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten(1) for g, p in pairs], 1)
