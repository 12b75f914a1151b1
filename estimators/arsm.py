"""ARSM: augment, reinforce, swap, merge.

With ``pi_e ~ Dirichlet(1_K)`` on every edge, ``argmin_k pi_ek / p_ek`` has the law ``p_e``. The
pseudo-architecture ``c<->j`` swaps ``pi_ec`` and ``pi_ej`` on all edges at once; ``f^{c<->j}`` is
its loss and ``f^{c<->c}`` that of the true sample. The estimate for edge e, operation c is
``sum_j (f^{c<->j} - mean_m f^{m<->j}) (1/K - pi_ej)``. Unbiased for the expected loss.

Reference: Yin et al. 2019, arXiv:1905.01413 (the form for several categorical variables, which
share their swaps).
Cost: K(K-1)/2 + 1 hard losses; theta learns from the true sample.
Deviations: pseudo-architectures that coincide are evaluated again (the paper skips them); with more
than a few edges they hardly ever do.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss


class ARSM(Estimator):
    """Swapped pseudo-architectures on common noise.

    Args:
        n: Draws averaged, each with its own swaps. Default 1.
    """

    name = "arsm"
    family = "score"
    reference = "yin2019arsm"
    evaluations = "K(K-1)/2 + 1 F forward, 1 F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"draw": "score:arsm"}

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the true loss with ARSM's gradient; see :meth:`Estimator.surrogate`.

        ``noise`` is Gumbel, ``(R, n, E, K)``: ``pi`` is the softmax of its negative, and the
        Gumbel-max sample is the argmin of ``pi / p``.
        """
        true = loss(dist.hard(noise))
        k = dist.num_operations
        swaps = list(combinations(range(k), 2))
        orders = torch.arange(k, device=noise.device).repeat(len(swaps), 1)
        for row, (c, j) in zip(orders, swaps, strict=True):
            row[c], row[j] = j, c
        swapped = noise[..., orders].movedim(-2, 2).flatten(1, 2)
        with torch.no_grad():
            losses = loss(dist.hard(swapped)).view(*true.shape, -1)
        table = true.detach()[..., None, None].expand(-1, -1, k, k).clone()
        for index, (c, j) in enumerate(swaps):
            table[..., c, j] = table[..., j, c] = losses[..., index]
        advantage = table - table.mean(dim=2, keepdim=True)
        pi = (-noise).softmax(dim=-1)
        gradient = torch.einsum("rncj,rnej->rnec", advantage, 1 / k - pi).mean(dim=1)
        step = (gradient * (dist.logits - dist.logits.detach())).sum(dim=(-2, -1))
        return true.mean(dim=1) + step
