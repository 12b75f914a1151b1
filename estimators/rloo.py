"""RLOO: REINFORCE whose baseline is the mean of the other draws.

``g = 1/n sum_i (L_i - mean_{j != i} L_j) grad log p(Z_i) = 1/(n-1) sum_i (L_i - mean L) grad
log p(Z_i)``. Unbiased for the expected loss: each baseline is independent of its own draw (the mean
over all draws without the factor ``n/(n-1)`` is not, and shrinks the gradient by ``1 - 1/n``).
Theta gets the mean of ``dL/dtheta`` at the draws.

Reference: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; Mnih and Rezende
2016, arXiv:1602.06725.
Deviations: none. Equal to ``vargrad`` draw by draw.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Distribution, Loss, Score
from nasbench_snas.errors import ConfigError


class RLOO(Score):
    """Score function with leave-one-out baselines.

    Args:
        n: Architectures per draw, at least 2. Default 4.
    """

    name = "rloo"
    reference = "kool2019buy"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        if n < 2:
            raise ConfigError(f"rloo: leaving one out needs n of at least 2, got {n}.")
        self.n = n

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return ``n/(n-1) (L_i - mean L)``, shape ``(R, n)``; see :meth:`Score.advantage`."""
        return (losses - losses.mean(dim=1, keepdim=True)) * (self.n / (self.n - 1))
