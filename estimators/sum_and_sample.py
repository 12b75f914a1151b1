"""Sum and sample: the likeliest architectures summed exactly, one drawn from the rest.

With ``C`` the ``n - 1`` architectures of largest probability and ``Z'`` drawn from ``p`` outside
``C``: ``sum_{C} p(Z) grad log p(Z) (L(Z) - b) + (1 - p(C)) grad log p(Z') (L(Z') - b)``. Unbiased
for the expected loss; the variance falls with ``1 - p(C)``, so that it gains once ``p`` is peaked.

Reference: Liu et al. 2019, arXiv:1810.04777, section 3 (Rao-Blackwellisation by a partial sum).
Deviations: the categories are whole architectures; ``C`` comes from an exact beam search, and
``Z'`` is the first of n draws without replacement that is not in ``C``, which has the law of ``p``
outside ``C`` without rejection. The baseline ``b``, the mean loss over ``C`` weighted by ``p``, is
not in the paper: it does not depend on ``Z'``, keeps the estimate unbiased and costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot, score_term
from nasbench_snas.errors import ConfigError

from .unordered_set import extend, gumbel_top_k


class SumAndSample(Estimator):
    """Score function, summed over the likeliest architectures.

    Args:
        n: Architectures per draw: ``n - 1`` summed, one drawn; at least 2. Default 4.
        baseline: Whether the losses of the summed ones serve as baseline. Default True.
    """

    name = "sum-and-sample"
    family = "score"
    reference = "liu2019raoblackwellized"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"draw": "score:sum_and_sample"}
    conformance_variants = ({"baseline": False},)

    def __init__(self, n: int = 4, baseline: bool = True) -> None:
        super().__init__()
        if n < 2:
            raise ConfigError(f"sum-and-sample: n must be at least 2, got {n}.")
        self.n, self.baseline = n, baseline

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the weighted losses with their scores; see :meth:`Estimator.surrogate`."""
        if dist.num_operations**dist.num_edges < self.n:
            raise ConfigError(
                f"sum-and-sample: n = {self.n} exceeds the number of architectures.",
                fix="Lower n, or use the exact estimator.",
            )
        log_probs = dist.logits.detach().double().log_softmax(dim=-1)
        top = likeliest(log_probs, self.n - 1).expand(noise.shape[0], -1, -1)
        drawn = gumbel_top_k(log_probs, noise)
        outside = (drawn[:, :, None] != top[:, None]).any(dim=-1).all(dim=-1)
        chosen = outside.to(torch.uint8).argmax(dim=1)  # the first that is outside
        sample = drawn[torch.arange(len(drawn), device=drawn.device), chosen]
        z = one_hot(torch.cat([top, sample[:, None]], dim=1), dist.num_operations, dist.dtype)
        summed = (z[:, :-1].double() * log_probs[:, None]).sum(dim=(-2, -1)).exp()
        rest = (1 - summed.sum(dim=1, keepdim=True)).clamp_min(0)
        weight = torch.cat([summed, rest], dim=1).to(dist.dtype)
        losses = loss(z)
        advantage = losses.detach()
        if self.baseline:
            share = (summed / summed.sum(dim=1, keepdim=True)).to(dist.dtype)
            advantage = advantage - (share * advantage[:, :-1]).sum(dim=1, keepdim=True)
        scores = score_term(weight * advantage, dist.log_prob(z).sum(dim=-1))
        return (weight * losses + scores).sum(dim=1)


def likeliest(log_probs: Tensor, count: int) -> Tensor:
    """Return the ``count`` architectures of largest probability of a factorised law.

    Args:
        log_probs: Shape ``(R, E, K)``, detached.
        count: At most ``K^E``.

    Returns:
        Operations, most probable first, shape ``(R, count, E)``.
    """
    replicates, num_edges, num_operations = log_probs.shape
    choices = torch.zeros(replicates, 1, 0, dtype=torch.long, device=log_probs.device)
    mass = log_probs.new_zeros(replicates, 1)
    for e in range(num_edges):
        joint = (mass[..., None] + log_probs[:, None, e]).flatten(1)
        mass, index = joint.topk(min(count, joint.shape[1]))
        choices = extend(choices, index, num_operations)
    return choices
