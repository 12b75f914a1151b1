"""GRPO: advantages standardised within the group of draws.

``g = 1/n sum_i (L_i - mean L) / (std L + eps) grad log p(Z_i)``. Dividing by the group's standard
deviation gives every batch the same length of step, and a bias that no number of draws per update
removes: the divisor depends on the draws it divides. Without it (``scale=False``, "Dr. GRPO") the
estimate is ``(1 - 1/n)`` times ``rloo``: unbiased but for that factor. Theta gets the mean of
``dL/dtheta`` at the draws.

Reference: Shao et al. 2024, arXiv:2402.03300, section 4.1 (advantages); without the deviation: Liu
et al. 2025, arXiv:2503.20783.
Deviations: one update per group, at which the ratio of policies is 1 and the clip is idle; no
penalty for leaving a reference policy; losses instead of rewards. ``std`` divides by ``n - 1``.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Distribution, Loss, Score
from nasbench_snas.errors import ConfigError


class GRPO(Score):
    """Score function with group-standardised advantages.

    Args:
        n: Architectures per draw (the group), at least 2. Default 4.
        scale: Whether the group's standard deviation divides. Default True.
        eps: Added to the standard deviation, in units of the loss. Default 0.0001.
    """

    name = "grpo"
    reference = "shao2024deepseekmath"
    evaluations = "n F forward, n F backward for theta"
    bias = "biased"
    single_path = True
    claims = {"draw": "perturbed:grpo"}
    conformance_variants = ({"scale": False},)

    def __init__(self, n: int = 4, scale: bool = True, eps: float = 1e-4) -> None:
        super().__init__()
        if n < 2 or eps <= 0:
            raise ConfigError(f"grpo: n = {n}, eps = {eps}; n >= 2 and eps > 0 are needed.")
        self.n, self.scale, self.eps = n, scale, eps

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return the standardised losses, shape ``(R, n)``; see :meth:`Score.advantage`."""
        centred = losses - losses.mean(dim=1, keepdim=True)
        if not self.scale:
            return centred
        return centred / (losses.std(dim=1, keepdim=True) + self.eps)
