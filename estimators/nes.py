"""Natural evolution strategies: a Gaussian search distribution over the logits.

With ``eps ~ N(0, I)`` and ``J(a) = E_{Z ~ softmax(a)}[L(Z)]``, the smoothed objective is
``J_sigma(a) = E[J(a + sigma eps)]`` and its gradient ``E[(L(Z+) - L(Z-)) eps] / (2 sigma)``, where
``Z+-`` is drawn from ``softmax(a +- sigma eps)`` with common Gumbel noise (antithetic pairs).
Unbiased for ``J_sigma``; for the expected loss biased, by O(sigma^2).

Reference: Wierstra et al. 2014, arXiv:1106.4487, sections 2 and 3.1 (rank utilities);
antithetic pairs as in Salimans et al. 2017, arXiv:1703.03864.
Deviations: the papers' objective is a function of the Gaussian's draw itself; here a discrete
architecture is drawn in between, with Gumbel noise that both members of a pair share. The search
distribution's deviation is fixed, so that the natural gradient of its mean is ``sigma^2`` times the
plain one, which is used. ``rank_shaping`` replaces losses by the paper's utilities, times n since
their mean over the draws is taken (the paper sums them): then invariant to monotone maps of the
loss, and biased for ``J_sigma`` as well. Gradients are not centred: the estimate's sum over an edge
is zero in expectation only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss
from nasbench_snas.errors import ConfigError


class NES(Estimator):
    """Antithetic evolution strategies on the logits.

    Args:
        pairs: Antithetic pairs per draw: ``n = 2 pairs`` architectures. Default 1.
        sigma: Standard deviation of the perturbation of the logits. Default 0.5.
        rank_shaping: Whether utilities of ranks replace the losses. Default False.
    """

    name = "nes"
    family = "evolution strategies"
    reference = "wierstra2014nes, salimans2017evolution"
    evaluations = "n F forward, n F backward for theta"
    bias = "biased"
    claims = {"draw": "nes", "samples": "nes_samples", "noise": ("normal", "gumbel")}
    conformance_variants = ({"pairs": 3}, {"pairs": 3, "rank_shaping": True})
    expected_failed_checks = {
        "gradient_sums_to_zero_on_every_edge": "Gaussian noise shifts the logits of an edge, too"
    }

    def __init__(self, pairs: int = 1, sigma: float = 0.5, rank_shaping: bool = False) -> None:
        super().__init__()
        if pairs < 1 or sigma <= 0:
            raise ConfigError(
                f"nes: got pairs = {pairs} and sigma = {sigma}.",
                "Expected at least one pair and a positive sigma.",
            )
        self.n, self.sigma, self.rank_shaping = 2 * pairs, sigma, rank_shaping

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gaussian and Gumbel noise of the pairs, each ``(R, n / 2, E, K)``."""
        common: Tensor = dist.noise(replicates, self.n // 2, generator)
        eps = torch.randn(
            common.shape, generator=generator, device=common.device, dtype=common.dtype
        )
        return eps, common

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return mean losses with the search gradient; see :meth:`Estimator.surrogate`."""
        losses = loss(self.weights(dist, noise))
        fitness = self._utilities(losses.detach()) if self.rank_shaping else losses.detach()
        plus, minus = fitness.chunk(2, dim=1)
        gradient = (plus - minus)[..., None, None] * noise[0] / (2 * self.sigma)
        step = gradient.mean(dim=1) * (dist.logits - dist.logits.detach())
        return losses.mean(dim=1) + step.sum(dim=(-2, -1))

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the perturbed architectures, all ``+`` before all ``-``, ``(R, n, E, K)``."""
        shift = self.sigma * noise[0]
        return dist.hard(torch.cat([noise[1] + shift, noise[1] - shift], dim=1))

    def _utilities(self, losses: Tensor) -> Tensor:
        """Return utilities ``(R, n)`` of mean zero, smallest for the smallest loss."""
        rank = losses.argsort(dim=1).argsort(dim=1) + 1
        raw = (math.log(self.n / 2 + 1) - rank.to(losses.dtype).log()).clamp_min(0)
        return 1 - self.n * raw / raw.sum(dim=1, keepdim=True)
