"""ReinMax: straight-through of second order (Heun's method instead of Euler's).

With ``J(q) h = q * (h - <q, h>)``, ``h = dL/dZ`` at the hard sample ``D ~ p``:
``dL/d log alpha = 2 J((p_tau + D) / 2) h - J(p) h / 2``, ``p_tau = softmax(log alpha / tau)``. For
``tau = 1`` it is unbiased for the expected loss wherever L is quadratic in each row of Z; otherwise
biased. It is the limit of the mean of ST-Gumbel-softmax for a vanishing temperature, and it is
neither always less biased than straight-through nor always cheap in variance.

Reference: Liu et al. 2023, arXiv:2304.08612, section 4 and Algorithm 2.
Known elsewhere as: ZGR (Shekhovtsov 2023), the limit of ``gumbel-rao`` at temperature zero, is this
estimate at ``tau = 1``, draw by draw.
Deviations: none. A ``tau`` below one is refused, as in the authors' repository: the method's
approximation order is lost there. (The only release on PyPI takes any ``tau``.)
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, straight_through
from nasbench_snas.errors import ConfigError


class ReinMax(Pathwise):
    """Second-order straight-through.

    Args:
        tau: Temperature of the backward pass, at least 1. Default 1.0.
        n: Architectures per draw. Default 1.
    """

    name = "reinmax"
    reference = "liu2023reinmax"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "reinmax", "exact_on": "quadratic"}
    conformance_variants = ({"tau": 1.5},)
    needs_all_operations = True

    def __init__(self, tau: float = 1.0, n: int = 1) -> None:
        super().__init__()
        if tau < 1:
            raise ConfigError(
                f"reinmax: tau must be at least 1, got {tau}.",
                "Below 1 the estimate is no longer of second order.",
                "Use st-gumbel for temperatures below 1.",
            )
        self.tau, self.n = tau, n

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples with ReinMax's gradient, shape ``(R, n, E, K)``."""
        hard, logits = dist.hard(noise), dist.log_probs[:, None]
        middle = ((logits.detach() / self.tau).softmax(dim=-1) + hard) / 2
        # The softmax of log(middle) plus a term of value zero: its Jacobian is J(middle).
        heun = (middle.log() + (logits - logits.detach())).softmax(dim=-1)
        return straight_through(hard, 2 * heun - 0.5 * dist.probs[:, None])
