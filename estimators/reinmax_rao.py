"""ReinMax-Rao: ReinMax whose high-variance half is a Gumbel-Rao average.

With ``q = (p + D) / 2`` for the hard sample ``D`` and ``J(q) h = q * (h - <q, h>)``, ReinMax is ``2
J(q) h - J(p) h / 2``. Here its first term becomes ``2/M sum_m J(y_m) h / tau`` with ``y_m =
softmax(z_m / tau)``, ``z_m`` drawn as perturbed ``log q`` given that their argmax is ``D``. Biased;
the draws given ``D`` cost no evaluation of the network.

Reference: Wang and Bui 2026, arXiv:2603.08257, eq. (17).
Deviations: the printed equation puts the second term at ``q``; the decomposition of ReinMax it
starts from has it at ``p``, as here. ``tau`` and ``samples`` have no default in the paper's text
that we could read: ours are 1 and 32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, gumbel, straight_through
from nasbench_snas.errors import ConfigError


class ReinMaxRao(Pathwise):
    """Second-order straight-through, Rao-Blackwellised.

    Args:
        tau: Temperature of the conditional relaxations. Default 1.0.
        samples: ``M``, conditional draws. Default 32.
        n: Architectures per draw. Default 1.
    """

    name = "reinmax-rao"
    reference = "wang2026beyond"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:reinmax_rao", "noise": ("gumbel", "exponential")}
    conformance_variants = ({"tau": 0.5, "samples": 2},)
    needs_all_operations = True

    def __init__(self, tau: float = 1.0, samples: int = 32, n: int = 1) -> None:
        super().__init__()
        if tau <= 0 or samples < 1:
            raise ConfigError(f"{self.name}: tau = {tau}, samples = {samples} must be positive.")
        self.tau, self.samples, self.n = tau, samples, n

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Return Gumbel noise ``(R, n, E, K)`` and ``M`` exponentials ``(R, n, M, E, K)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        shape = (replicates, self.n, self.samples, dist.num_edges, dist.num_operations)
        return first, (-gumbel(shape, generator, dist.dtype)).exp()

    def relax(self, dist: Categorical, noise: tuple[Tensor, ...]) -> Tensor:
        """Return one-hot samples with the estimator's gradient, shape ``(R, n, E, K)``."""
        hard, probs = dist.hard(noise[0]), dist.probs[:, None]
        averaged = rao_softmax(dist, hard, noise[1], self.tau)
        return straight_through(hard, 2 * averaged - 0.5 * probs)

    def weights(self, dist: Categorical, noise: tuple[Tensor, ...]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])


def middle_log(dist: Categorical, hard: Tensor) -> Tensor:
    """Return ``log((p + D) / 2)``, detached, shape ``(R, n, E, K)``."""
    return ((dist.probs[:, None].detach() + hard) / 2).log()


def rao_softmax(dist: Categorical, hard: Tensor, exponential: Tensor, tau: float) -> Tensor:
    """Return the mean of ``softmax(z_m / tau)`` with the Jacobian for alpha of each of them.

    Args:
        dist: The distribution.
        hard: The hard samples ``D``, shape ``(R, n, E, K)``.
        exponential: Standard exponentials, shape ``(R, n, M, E, K)``.
        tau: Temperature.

    Returns:
        Shape ``(R, n, E, K)``.
    """
    winner = hard[:, :, None]
    first = (exponential * winner).sum(dim=-1, keepdim=True).log()
    rest = torch.logaddexp(exponential.log() - middle_log(dist, hard)[:, :, None], first)
    perturbed = torch.where(winner > 0, -first, -rest)
    logits = dist.log_probs[:, None, None]
    return ((perturbed + (logits - logits.detach())) / tau).softmax(dim=-1).mean(dim=2)
