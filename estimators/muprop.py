"""MuProp: REINFORCE with the loss's first-order expansion at the mean as control variate.

With ``p`` the probabilities and ``h = dL/dZ`` at ``Z = p``: ``g = (L(D) - L(p) - <h, D - p>) grad
log p(D) + grad <[h], p>``. Unbiased for the expected loss: the expansion's own expectation has the
gradient that is added back. Good where L is nearly affine. Theta gets ``dL/dtheta`` at ``D`` only.

Reference: Gu et al. 2016, arXiv:1511.05176, section 3.
Deviations: the paper's further baselines (centring by a moving average and an input-dependent
network) are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, score_term


class MuProp(Estimator):
    """Score function with a mean-field Taylor baseline.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "muprop"
    family = "control-variate"
    reference = "gu2016muprop"
    evaluations = "(n + K) F forward + backward"
    bias = "unbiased"
    claims = {"draw": "score:muprop"}

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def surrogate(self, loss: Loss, dist: Categorical, noise: Any) -> Tensor:
        """Return the loss at D plus terms of value zero; see :meth:`Estimator.surrogate`."""
        hard, probs = dist.hard(noise), dist.probs[:, None]
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        mean = probs.detach().requires_grad_()
        at_mean = loss(mean)
        (slope,) = torch.autograd.grad(at_mean.sum(), mean)
        expansion = at_mean.detach() + (slope * (hard - mean.detach())).sum(dim=(-2, -1))
        score = score_term(losses.detach() - expansion, log_prob).mean(dim=1)
        restored = (slope * (probs - mean.detach())).sum(dim=(-2, -1))[:, 0]
        return losses.mean(dim=1) + score + restored
