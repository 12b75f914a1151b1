"""ReDGE-cov: ReDGE with noise of the architecture's own mean and variance.

As ``redge``, but ``x_T = p + v^(1/2) N(0, I)`` with ``v = max(p (1 - p), 0.1)``, so that the first
step already knows the marginals, and ``x0(x, t) = softmax(alpha + (a_t x - a_t s_t p - a_t^2 / 2)
/ (v s_t^2))``, the exact denoiser under that noise. Both are differentiated with respect to alpha.
Biased.

Reference: Gourevitch et al. 2026, arXiv:2601.00781 (covariance-matched ReDGE), as in the released
package, its floor 0.1 of the variance included.
Deviations: none. Defaults: those of the released sampler, t1 = 0.5 and 5 levels. At t1 = 0.2, which
the released script for polynomial programming sets, single draws can carry half of the second
moment: the Jacobian is like ``1 / (v t1^2)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from nasbench_snas.api import Categorical

from .redge import ReDGE

FLOOR = 0.1  # of the noise's variance


class ReDGECov(ReDGE):
    """Diffusion-based straight-through with matched moments.

    Args:
        t1: Noise level of the last step, in (0, 1): small is harder. Default 0.5.
        levels: Noise levels, the clean one included; at least 2. Default 5.
        n: Architectures per draw. Default 1.
    """

    name = "redge-cov"
    family = "pathwise"
    reference = "gourevitch2026redge"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {
        "draw": "perturbed:redge_cov",
        "samples": "perturbed:redge_cov_samples",
        "noise": ("gumbel", "normal"),
    }
    conformance_variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"levels": 2},
        {"levels": 3},
        {"t1": 0.2},
    )
    needs_all_operations = True

    def __init__(self, t1: float = 0.5, levels: int = 5, n: int = 1) -> None:
        super().__init__(t1, levels, n)

    def start(self, dist: Categorical, normal: Tensor) -> Tensor:
        """Return ``p + v^(1/2) x`` for standard normal noise ``x``."""
        probs = dist.probs[:, None]
        return probs + (probs * (1 - probs)).clamp_min(FLOOR).sqrt() * normal

    def denoise(self, dist: Categorical, x: Tensor, a: float, s: float) -> Tensor:
        """Return the mean of the one-hot architecture given ``x``, shape ``(R, n, E, K)``."""
        probs = dist.probs[:, None]
        variance = (probs * (1 - probs)).clamp_min(FLOOR)
        evidence = (a * x - a * s * probs - a**2 / 2) / (variance * s**2)
        return (dist.log_probs[:, None] + evidence).softmax(dim=-1)
