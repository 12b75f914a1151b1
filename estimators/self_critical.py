"""Self-critical: REINFORCE whose baseline is the loss of the most probable architecture.

``g = mean_i (L(Z_i) - L(argmax p)) grad log p(Z_i)``. Unbiased for the expected loss, since the
argmax does not depend on the draws. A good baseline only once ``p`` is peaked. Theta gets the mean
of ``dL/dtheta`` at the draws; the argmax is evaluated without a graph.

Reference: Rennie et al. 2017, arXiv:1612.00563, section 3.
Known elsewhere as: ReMax (Li et al. 2023, arXiv:2310.10505), the same estimate for language models.
Deviations: none (for a controller the argmax is the greedy sequence, as in the paper).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss, Score


class SelfCritical(Score):
    """Score function with the loss of the mode as baseline.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "self-critical"
    reference = "rennie2017selfcritical"
    evaluations = "(n + 1) F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return ``L - L(mode)``, shape ``(R, n)``; see :meth:`Score.advantage`."""
        with torch.no_grad():
            return losses - loss(dist.mode()[:, None])
