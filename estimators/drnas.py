"""DrNAS: weights from a Dirichlet distribution, differentiated along the path.

``Z_e ~ Dirichlet(c_e)`` with ``c = ELU(alpha) + 1``, and the gradient of ``E[L(Z)]`` by implicit
reparameterisation: with ``g_k = -(dF/dc_k) / (dF/dx_k)``, F the distribution function of the
marginal, ``dZ_j/dc_k = g_k (1[j = k] - Z_j)``. Unbiased for its own objective ``E[L(Z)]``, biased
for the expected loss of discrete architectures.

Reference: Chen et al. 2021, arXiv:2006.10355, section 3; the derivative: Jankowiak and Obermeyer
2018, arXiv:1806.01851.
Deviations: the drawn ``Z`` itself is the noise (the derivative needs no more than ``Z``). The
discrete law, for marginals, entropy and hard samples, is the mean ``c / sum c``. The penalty
``anchor`` on the distance from ``Dirichlet(1)`` is ``kl``, ``l2`` (on alpha: weight decay, the
released default) or none, the default here, as decay is a setting of the optimiser. Partial
channels and progressive pruning are not part of the estimator.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from nasbench_snas.api import Categorical, Loss, Pathwise, Space
from nasbench_snas.errors import ConfigError


class DirichletWeights(Categorical):
    """Dirichlet with concentrations ``ELU(alpha) + 1``; discrete law: its mean."""

    @property
    def logits(self) -> Tensor:
        """``log c``, shape ``(R, E, K)``: ``alpha`` below zero, ``log(1 + alpha)`` above."""
        return torch.where(self.alpha > 0, self.alpha.relu().log1p(), self.alpha)

    @property
    def concentration(self) -> Tensor:
        """``c``, shape ``(R, E, K)``, differentiable with respect to ``alpha``."""
        return self.logits.exp()


class DrNAS(Pathwise):
    """Pathwise gradient of Dirichlet weights.

    Args:
        anchor: Penalty on the distance from ``Dirichlet(1)``: ``none``, ``kl`` or ``l2``. Default
            'none'.
        anchor_weight: Its weight, in nats of loss. Default 0.001.
        n: Architectures per draw. Default 1.
    """

    name = "drnas"
    reference = "chen2021drnas, jankowiak2018pathwise"
    dense = True
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "drnas", "noise": "drnas_noise"}
    penalties = {"anchor": "none"}
    conformance_variants = ({"anchor": "l2", "anchor_weight": 0.3},)
    search_view = "soft"
    derive_rule = "top2"

    def __init__(
        self,
        anchor: Literal["none", "kl", "l2"] = "none",
        anchor_weight: float = 1e-3,
        n: int = 1,
    ) -> None:
        super().__init__()
        if anchor not in ("none", "kl", "l2"):
            raise ConfigError(f"drnas: unknown anchor {anchor!r}.", "Known: none, kl, l2")
        self.anchor, self.anchor_weight, self.n = anchor, anchor_weight, n

    def make_distribution(self, space: Space, generator: torch.Generator) -> DirichletWeights:
        """Return concentrations about one: ``alpha ~ N(0, 1e-3)``."""
        shape = (space.num_edges, space.num_operations)
        return DirichletWeights(1e-3 * torch.randn(shape, generator=generator))

    def noise(self, dist: DirichletWeights, replicates: int, generator: torch.Generator) -> Tensor:
        """Return Dirichlet samples, shape ``(R, n, E, K)``."""
        shape = (replicates, self.n, dist.num_edges, dist.num_operations)
        concentration = dist.concentration.detach()[:, None].expand(shape).contiguous()
        return torch._sample_dirichlet(concentration, generator=generator)

    def relax(self, dist: DirichletWeights, noise: Tensor) -> Tensor:
        """Return ``noise`` with its implicit gradient, shape ``(R, n, E, K)``."""
        c = dist.concentration[:, None].expand_as(noise)
        total = c.detach().sum(dim=-1, keepdim=True).expand_as(noise)
        implicit = torch._dirichlet_grad(noise, c.detach().contiguous(), total.contiguous())
        step = implicit * (c - c.detach())
        return noise + step - noise * step.sum(dim=-1, keepdim=True)

    def surrogate(self, loss: Loss, dist: DirichletWeights, noise: Tensor) -> Tensor:
        """Return the mean loss plus the anchor's gradient; see :meth:`Estimator.surrogate`."""
        value = super().surrogate(loss, dist, noise)
        if self.anchor == "none":
            return value
        if self.anchor == "kl":
            c = dist.concentration
            distance = kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c))).sum(dim=-1)
        else:
            distance = dist.alpha.square().sum(dim=(-2, -1)) / 2
        return value + self.anchor_weight * (distance - distance.detach())
