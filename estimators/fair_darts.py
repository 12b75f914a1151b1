"""FairDARTS: independent sigmoid weights, pushed towards zero or one.

``Z = sigmoid(alpha)`` without noise, and the zero-one penalty ``-w mean((sigmoid(alpha) - 1/2)^2)``
over all edges and operations. Operations of an edge do not compete. Biased for the expected loss of
discrete architectures, which it does not sample.

Reference: Chu et al. 2020, arXiv:1911.12126, section 4; w = 10 is the released code's.
Deviations: the discrete law, for marginals, entropy and hard samples, is the normalised sigmoid.
The child keeps the two strongest edges of each node by ``sigmoid(alpha)``, as DARTS does, without
the paper's further threshold of 0.85. At initialisation the penalty outweighs the loss by an order
of magnitude: gradient studies measure both apart. Theta is not trained on the penalty, on which it
has no influence.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.api import Categorical, Loss, Pathwise, Space


class SigmoidWeights(Categorical):
    """Independent weights ``sigmoid(alpha)``; discrete law: these, normalised on each edge."""

    @property
    def logits(self) -> Tensor:
        """``log sigmoid(alpha)``, shape ``(R, E, K)``."""
        return functional.logsigmoid(self.alpha)

    def strengths(self, generator: torch.Generator) -> Tensor:
        """Return ``sigmoid(alpha)``; see :meth:`Distribution.strengths`."""
        return self.alpha.detach().sigmoid()


class FairDARTS(Pathwise):
    """Deterministic sigmoid weights.

    Args:
        zero_one: ``w``, weight of the zero-one penalty, in nats of loss. Default 10.0.
    """

    name = "fair-darts"
    reference = "chu2020fairdarts"
    dense = True
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "fair_darts"}
    penalties = {"zero_one": 0.0}
    conformance_variants = ({"zero_one": 0.0},)
    search_view = "soft"
    expected_failed_checks = {
        "weights_are_one_hot_or_on_the_simplex": "sigmoids of an edge are independent of each other"
    }
    derive_rule = "top2"

    def __init__(self, zero_one: float = 10.0) -> None:
        super().__init__()
        self.zero_one = zero_one

    def make_distribution(self, space: Space, generator: torch.Generator) -> SigmoidWeights:
        """Return weights about one half: ``alpha ~ N(0, 1e-3)``."""
        shape = (space.num_edges, space.num_operations)
        return SigmoidWeights(1e-3 * torch.randn(shape, generator=generator))

    def noise(self, dist: SigmoidWeights, replicates: int, generator: torch.Generator) -> None:
        """Return None: nothing is drawn."""

    def relax(self, dist: SigmoidWeights, noise: None) -> Tensor:
        """Return ``sigmoid(alpha)``, shape ``(R, 1, E, K)``."""
        return dist.alpha.sigmoid()[:, None]

    def surrogate(self, loss: Loss, dist: SigmoidWeights, noise: None) -> Tensor:
        """Return the loss plus the penalty's gradient; see :meth:`Estimator.surrogate`."""
        spread = (dist.alpha.sigmoid() - 0.5).square().mean(dim=(-2, -1))
        return super().surrogate(loss, dist, noise) - self.zero_one * (spread - spread.detach())
