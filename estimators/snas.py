"""SNAS: the concrete relaxation, differentiated through its reparameterisation.

Eq. (5): ``Z_k = softmax_k((log alpha + G) / lambda)``, ``G`` Gumbel; eq. (6): the loss is
differentiated through ``Z``, so that ``dL/d log alpha = Z * (h - <Z, h>) / lambda`` with ``h =
dL/dZ``. Unbiased for ``E[L(Z_lambda)]``, biased for the expected loss of discrete architectures by
O(lambda); the variance grows like 1/lambda.

Reference: Xie et al. 2019, arXiv:1812.09926; Maddison et al. 2017, arXiv:1611.00712; Jang et al.
2017, arXiv:1611.01144.
Deviations: gradients are taken with respect to ``log alpha`` (the paper's divided by ``alpha`` is
the same by the chain rule, and cannot leave the domain). The paper anneals lambda "close to zero"
without numbers; 1 -> 0.03 is the released code's, over the run's own length instead of a fixed 150
epochs.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import AnnealedPathwise, Categorical, ScheduleKind


class SNAS(AnnealedPathwise):
    """Concrete relaxation with an annealed temperature.

    Args:
        tau_start: Temperature (the paper's lambda) at the start. Default 1.0.
        tau_end: Temperature at the end. Default 0.03.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "snas"
    reference = "xie2019snas"
    dense = True
    evaluations = "K F forward + backward"
    bias = "consistent"
    claims = {"draw": "snas"}
    conformance_variants = ({"schedule": "geometric"},)
    search_view = "soft"

    def __init__(
        self,
        tau_start: float = 1.0,
        tau_end: float = 0.03,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__(tau_start, tau_end, schedule, n)

    # Implements SNAS (5, 22).
    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return ``softmax((log alpha + G) / tau)``, shape ``(R, n, E, K)``."""
        return (dist.perturb(noise) / self.tau).softmax(dim=-1)
