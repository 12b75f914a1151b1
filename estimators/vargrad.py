"""VarGrad: the gradient of the log-variance loss, a score function with a free baseline.

For n architectures from ``p`` with ``f = L + kappa log p`` (detached) the estimate is the gradient
of the sample covariance ``1/(n-1) sum_i (f_i - mean f) (log p(Z_i) - mean log p)``. Unbiased for
``E[L] - kappa H(p)``: with ``kappa = 0`` for the expected loss, where it is identical to the
leave-one-out baseline of ``rloo``, draw by draw.

Reference: Richter et al. 2020, arXiv:2010.10436, section 3 (there ``L = -log p(x, z)`` and
``kappa = 1``, the negative evidence lower bound).
Deviations: the weight of ``log p`` is free, and 0 by default.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Loss
from nasbench_snas.errors import ConfigError


class VarGrad(Estimator):
    """Covariance of losses and log-probabilities.

    Args:
        n: Architectures per draw, at least 2. Default 4.
        kappa: Weight of the entropy bonus, in nats of loss a nat of entropy. Default 0.0.
    """

    name = "vargrad"
    family = "score"
    reference = "richter2020vargrad"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"objective": "entropy_regularised"}
    penalties = {"kappa": 0.0}
    conformance_variants = ({"kappa": 0.5},)
    needs_factorised = False

    def __init__(self, n: int = 4, kappa: float = 0.0) -> None:
        super().__init__()
        if n < 2:
            raise ConfigError(f"vargrad: a variance needs n of at least 2, got {n}.")
        self.n, self.kappa = n, kappa

    def surrogate(self, loss: Loss, dist: Distribution, noise: Any) -> Tensor:
        """Return mean losses plus the covariance's gradient; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise)
        losses, log_prob = loss(z), dist.log_prob(z).sum(dim=-1)
        f = losses.detach() + self.kappa * log_prob.detach()
        centred = log_prob - log_prob.mean(dim=1, keepdim=True)
        covariance = ((f - f.mean(dim=1, keepdim=True)) * centred).sum(dim=1) / (self.n - 1)
        return losses.mean(dim=1) + covariance - covariance.detach()
