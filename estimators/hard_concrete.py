"""Hard concrete gates: every operation has a gate of its own that can be exactly zero or one.

``s = sigmoid((alpha + logit u) / beta)``, ``u`` uniform, ``Z = clip(s (zeta - gamma) + gamma, 0,
1)``, differentiated through ``s``. The penalty on the number of open gates has the closed form
``P(Z > 0) = sigmoid(alpha - beta log(-gamma / zeta))``. Unbiased for its own objective ``E[L(Z)] +
l0 sum P(Z > 0)``; biased for the expected loss of one-hot architectures, which it does not sample.

Reference: Louizos et al. 2018, arXiv:1712.01312, eqs. 10-12; beta, gamma and zeta are the paper's.
Cost: only open gates run.
Deviations: gates belong to operations, not to weights. The released code clamps ``log alpha`` after
each step; here it is free. An edge may have several open operations or
none; the discrete law, for marginals, entropy, hard samples and the derived child, takes one
operation an edge with probabilities proportional to ``P(Z > 0)``.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.api import Categorical, Loss, Pathwise, Space
from nasbench_snas.errors import ConfigError


class HardConcreteGates(Categorical):
    """Independent gates with location ``alpha``; discrete law: normalised ``P(Z > 0)``.

    Args:
        logits: ``alpha``, shape ``(E, K)`` or ``(R, E, K)``.
        shift: ``beta log(-gamma / zeta)``: the location at which a gate is open half of the time.
    """

    def __init__(self, logits: Tensor, shift: float) -> None:
        super().__init__(logits)
        self.shift = shift

    @property
    def logits(self) -> Tensor:
        """``log P(Z > 0)``, shape ``(R, E, K)``."""
        return functional.logsigmoid(self.alpha - self.shift)

    def strengths(self, generator: torch.Generator) -> Tensor:
        """Return ``P(Z > 0)``; see :meth:`Distribution.strengths`."""
        return self.logits.detach().exp()

    def replicate(self, replicates: int) -> Self:
        """Return ``R`` copies of the first replicate; see :meth:`Distribution.replicate`."""
        return type(self)(self.alpha.detach()[:1].expand(replicates, -1, -1), self.shift)


class HardConcrete(Pathwise):
    """Pathwise gradient of hard concrete gates.

    Args:
        beta: Temperature of the gates. Default 0.6666666666666666.
        gamma: Lower end of the stretched interval, below 0. Default -0.1.
        zeta: Upper end of the stretched interval, above 1. Default 1.1.
        l0: Weight of the expected number of open gates, in nats of loss a gate. Default 0.0.
        n: Architectures per draw. Default 1.
    """

    name = "hard-concrete"
    reference = "louizos2018l0"
    evaluations = "at most K F forward + backward"
    bias = "biased"
    claims = {"draw": "hard_concrete", "noise": "logistic"}
    penalties = {"l0": 0.0}
    conformance_variants = ({"l0": 0.3},)
    search_view = "soft"
    expected_failed_checks = {
        "weights_are_one_hot_or_on_the_simplex": "gates of an edge are independent of each other"
    }

    def __init__(
        self,
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        l0: float = 0.0,
        n: int = 1,
    ) -> None:
        super().__init__()
        if not (beta > 0 and gamma < 0 and zeta > 1):
            raise ConfigError(
                f"hard-concrete: got beta = {beta}, gamma = {gamma}, zeta = {zeta}.",
                "Expected beta > 0, gamma < 0 and zeta > 1.",
            )
        self.beta, self.gamma, self.zeta, self.l0, self.n = beta, gamma, zeta, l0, n

    def make_distribution(self, space: Space, generator: torch.Generator) -> HardConcreteGates:
        """Return gates with locations ``N(0, 1e-3)``."""
        shape = (space.num_edges, space.num_operations)
        logits = 1e-3 * torch.randn(shape, generator=generator)
        return HardConcreteGates(logits, self.beta * math.log(-self.gamma / self.zeta))

    def noise(self, dist: HardConcreteGates, replicates: int, generator: torch.Generator) -> Tensor:
        """Return logistic noise, a difference of two Gumbels, shape ``(R, n, E, K)``."""
        left: Tensor = dist.noise(replicates, self.n, generator)
        right: Tensor = dist.noise(replicates, self.n, generator)
        return left - right

    def relax(self, dist: HardConcreteGates, noise: Tensor) -> Tensor:
        """Return the gates, shape ``(R, n, E, K)``, in [0, 1]."""
        s = ((dist.alpha[:, None] + noise) / self.beta).sigmoid()
        return (s * (self.zeta - self.gamma) + self.gamma).clamp(0, 1)

    def surrogate(self, loss: Loss, dist: HardConcreteGates, noise: Tensor) -> Tensor:
        """Return the mean loss plus the penalty's gradient; see :meth:`Estimator.surrogate`."""
        opened = dist.logits.exp().sum(dim=(-2, -1))
        return super().surrogate(loss, dist, noise) + self.l0 * (opened - opened.detach())
