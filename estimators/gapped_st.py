"""Gapped straight-through: logits moved just far enough for the drawn operation to win by a gap.

For a draw ``D ~ p``: ``m1`` lifts the drawn logit to the largest one, ``m2_k = max(0, alpha_k -
max alpha + gap)`` lowers every other one by what it lacks to lie ``gap`` below; ``Z = D`` in value
with the Jacobian of ``softmax((alpha + m1 D - m2) / tau)``, ``m1`` and ``m2`` constant. Biased for
the expected loss; no Gumbel noise remains given ``D``.

Reference: Fan et al. 2022, arXiv:2206.07235, section 4 (gap 1, detached moves, as released).
Deviations: none. Temperatures as for ``st-gumbel``.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import AnnealedPathwise, Categorical, ScheduleKind, straight_through
from nasbench_snas.errors import ConfigError


class GappedST(AnnealedPathwise):
    """Hard samples forward, deterministically perturbed logits backward.

    Args:
        gap: Distance of the drawn logit from the others, in nats, not negative. Default 1.0.
        tau_start: Temperature at the start. Default 1.0.
        tau_end: Temperature at the end. Default 0.1.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "gapped-st"
    reference = "fan2022gapped"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:gapped_st"}
    conformance_variants = ({"gap": 0.0},)
    needs_all_operations = True

    def __init__(
        self,
        gap: float = 1.0,
        tau_start: float = 1.0,
        tau_end: float = 0.1,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__(tau_start, tau_end, schedule, n)
        if gap < 0:
            raise ConfigError(f"gapped-st: gap must not be negative, got {gap}.")
        self.gap = gap

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples with the gradient of the moved logits, ``(R, n, E, K)``."""
        hard, logits = dist.hard(noise), dist.log_probs[:, None]
        fixed = logits.detach()
        top = fixed.amax(dim=-1, keepdim=True)
        move = (top - fixed) * hard - (fixed - top + self.gap).clamp_min(0) * (1 - hard)
        return straight_through(hard, ((logits + move) / self.tau).softmax(dim=-1))
