"""DisARM-IW: antithetic pairs by stick breaking, made unbiased by importance weights.

The pair of ``disarm-sb``, in the role of two independent samples: ``g_e = w_e (L - L') (grad log
p(Z_e) - grad log p(Z'_e)) / 2`` with ``w_e = p(Z_e) p(Z'_e) / p(Z_e, Z'_e)``. For a pair that
parts at decision m, ``w = prod_{i<m} (1 - s_i)^2 / (1 - 2 s_i) * max(s_m, 1 - s_m)`` with ``s =
sigma(phi)``; a pair that never parts contributes nothing. Unbiased for the expected loss: the
sticks are broken from the smallest probability up, so that ``s_i < 1/2`` and every pair can occur.

Reference: Dong, Mnih and Tucker 2021, arXiv:2106.08056, section 3 (DisARM-IW).
Deviations: the order of the sticks is fixed (ascending), the only one for which no pair is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Loss, score_term

from .disarm_sb import AntitheticTree, DisARMSB


class DisARMIW(DisARMSB):
    """Importance-weighted antithetic pairs.

    Args:
        pairs: Antithetic pairs per draw; ``n`` is twice that. Default 1.
    """

    name = "disarm-iw"
    family = "score"
    reference = "dong2021coupled"
    evaluations = "2 F forward, 2 F backward for theta, for each pair"
    bias = "unbiased"
    claims = {"draw": "coupled:disarm_iw", "noise": "uniform"}
    conformance_variants = ({"pairs": 2}, {"pairs": 3}, {"pairs": 4})
    n = 2

    def __init__(self, pairs: int = 1) -> None:
        AntitheticTree.__init__(self, pairs, "ascending")

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        phi, first, second, z = self.pair(dist, noise)
        losses, log_prob = loss(z), dist.log_prob(z)
        half = (losses[:, : self.pairs] - losses[:, self.pairs :]).detach()[..., None] / 2
        parting = torch.minimum(first.argmax(dim=-1), second.argmax(dim=-1))
        apart = (first != second).any(dim=-1)
        ratios = parting_weights(phi.detach())[:, None].expand(*parting.shape, -1)
        last = ratios.shape[-1] - 1
        weight = ratios.gather(-1, parting.clamp_max(last)[..., None])[..., 0] * apart
        scores = log_prob[:, : self.pairs] - log_prob[:, self.pairs :]
        return losses.mean(dim=1) + score_term(half * weight, scores).sum(dim=-1).mean(dim=1)


def parting_weights(phi: Tensor) -> Tensor:
    """Return ``p(Z) p(Z') / p(Z, Z')`` of pairs that part at each decision, shape as ``phi``."""
    s = phi.sigmoid()
    stay = torch.where(
        s < 0.5, (1 - s).square() / (1 - 2 * s).clamp_min(1e-12), torch.zeros_like(s)
    )
    before = torch.cat([torch.ones_like(s[..., :1]), stay.cumprod(dim=-1)[..., :-1]], dim=-1)
    return before * torch.maximum(s, 1 - s)
