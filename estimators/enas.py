"""ENAS: REINFORCE on an autoregressive LSTM controller, with a moving-average baseline.

``g = mean_i (C_i - b) grad log p(Z_i)``, ``p(Z) = prod_e pi(Z_e | Z_<e)`` (SNAS eqs. 13-15), with
the cost ``C = L + w log p(Z)``: the mean of ``log p`` is minus the entropy, and the score times it
is its unbiased gradient. So the objective is ``E[L] - w H(p)``, of which this is unbiased; at
``w = 1e-4`` that is E[L] for all practical purposes. Theta gets ``dL/dtheta`` at the draws.

Reference: Pham et al. 2018, arXiv:1802.03268, section 2.2, and the released micro search: decay
0.99, entropy weight 1e-4, Adam(3.5e-3, betas (0, 0.999), eps 1e-3), no weight decay.
Deviations: (1) The released reward adds the entropy along the path, as a constant: the score times
it is not an entropy gradient. ``entropy="official"`` does that. (2) The released baseline appears
to be updated before it is used (gradient times 0.99); here it is used first, see ``reinforce`` also
for the first call. (3) The released reward is the accuracy of a validation batch: choose
``reward="accuracy"`` and the level ``bilevel``; the default is the loss, as in SNAS eq. (4). (4)
Theta trains with each batch's one draw, as released; the controller then takes 10 draws a step, 30
steps an epoch; here it is trained once a step with ``n`` draws. (5) The child is the best of N
draws by all selection images, not by one minibatch. (6) See the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss, Score, Space
from nasbench_snas.architecture.controller import LSTMController
from nasbench_snas.errors import ConfigError

from .reinforce import MovingAverage, loss_of_mode


class ENAS(Score):
    """LSTM controller with REINFORCE.

    Args:
        n: Architectures per draw. Default 1.
        reward: ``loss``, or ``accuracy`` of the minibatch. Default 'loss'.
        decay: Weight of the past in the baseline. Default 0.99.
        entropy_weight: ``w``, in nats of loss (or accuracy) a nat of entropy. Default 0.0001.
        entropy: ``unbiased`` or ``official``; see the module's docstring. Default 'unbiased'.
        hidden: Units of the controller. Default 64.
        tanh_constant: Bound of an operation's logits, before the reduction. Default 1.1.
        tanh_reduce: What it is divided by for operations. Default 2.5.
    """

    name = "enas"
    version = 2
    derive_rule = "best-of-N"
    reference = "pham2018enas"
    conformance_settings = {"hidden": 8}
    evaluations = "n F forward, n F backward for theta"
    bias: ClassVar[Literal["unbiased", "biased"]] = "unbiased"
    single_path = True
    claims = {"objective": "entropy_regularised", "state": "score:moving_average"}
    penalties = {"entropy_weight": 0.0}
    conformance_variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"entropy_weight": 0.5},
        {"reward": "accuracy"},
    )
    optimizer_defaults = {"lr": 3.5e-3, "betas": (0.0, 0.999), "eps": 1e-3, "weight_decay": 0.0}

    def __init__(
        self,
        n: int = 1,
        reward: Literal["loss", "accuracy"] = "loss",
        decay: float = 0.99,
        entropy_weight: float = 1e-4,
        entropy: Literal["unbiased", "official"] = "unbiased",
        hidden: int = 64,
        tanh_constant: float = 1.10,
        tanh_reduce: float = 2.5,
    ) -> None:
        super().__init__()
        if reward not in ("loss", "accuracy") or entropy not in ("unbiased", "official"):
            raise ConfigError(
                f"enas: reward = {reward!r}, entropy = {entropy!r} is not possible.",
                "Known: reward loss or accuracy; entropy unbiased or official.",
            )
        self.n, self.reward, self.hidden = n, reward, hidden
        self.entropy_weight, self.entropy = entropy_weight, entropy
        self.tanh_constant = tanh_constant / tanh_reduce
        self.baseline = MovingAverage(decay)

    def make_distribution(self, space: Space, generator: torch.Generator) -> Distribution:
        """Return the controller; see :meth:`Estimator.make_distribution`."""
        return LSTMController(
            space.num_edges,
            space.num_operations,
            generator,
            hidden=self.hidden,
            tanh_constant=self.tanh_constant,
        )

    def cost(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return what is minimised for each draw, ``(R, n)``, without a graph."""
        cost = loss.error(z) if self.reward == "accuracy" else losses
        if self.entropy_weight == 0:
            return cost
        with torch.no_grad():
            if self.entropy == "unbiased":
                return cost + self.entropy_weight * dist.log_prob(z).sum(dim=-1)
            if not isinstance(dist, LSTMController):
                raise ConfigError("enas: entropy = 'official' needs its own controller.")
            return cost - self.entropy_weight * dist.path_entropy(z).sum(dim=-1)

    def cost_of_mode(self, loss: Loss, dist: Distribution) -> Tensor:
        """Return loss or error of the greedy architecture, shape ``(R, 1)``, without a graph."""
        return loss_of_mode(loss.error if self.reward == "accuracy" else loss, dist)

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return cost minus baseline, shape ``(R, n)``; see :meth:`Score.advantage`."""
        cost = self.cost(losses, loss, dist, z)
        advantage = cost - self.baseline.before(lambda: self.cost_of_mode(loss, dist))
        self.baseline.update(cost)
        return advantage

    def progress_values(self) -> dict[str, float]:
        """Return the baseline."""
        return {"baseline": float(self.baseline.value)}
