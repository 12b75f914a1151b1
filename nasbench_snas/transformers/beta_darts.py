"""beta-DARTS: a penalty on the logits that keeps their softmax from growing apart.

    L_beta = mean_e log sum_k exp(alpha_ek),

added to the objective of alpha with a weight that grows linearly from 0 to ``weight`` over the run.
Its gradient is ``softmax(alpha) / E``: each operation decays by its own probability. It depends on
no architecture and so is a penalty, exact with every estimator.

Reference: Ye et al. 2022, arXiv:2203.01665, eqs. 9 and 15; the mean over edges and the end of 50 as
in the released code. Deviations: the mean is over the edges of all cell types; the weight grows
with every step (there: with every epoch). The paper uses it in the place of L2 decay, which stays
on here: ``--set search.alpha.weight_decay=0`` switches it off.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Categorical, Distribution, LossStep, LossTransformer
from nasbench_snas.errors import ConfigError


class BetaDarts(LossTransformer):
    """A decay of each logit by its own probability.

    Args:
        weight: Weight at the end of the run. Default 50.

    Raises:
        ConfigError: The weight is negative.
    """

    name = "beta-darts"
    summary = "mean logsumexp of the logits, its weight growing over the run (beta-DARTS)"
    reference = "ye2022beta"
    captures = True

    def __init__(self, weight: float = 50.0) -> None:
        if weight < 0:
            raise ConfigError(f"transformer.{self.name}.weight must not be negative, got {weight}.")
        self.weight = weight

    def penalty(self, dist: Distribution, step: LossStep) -> Tensor | None:
        """Return ``weight t L_beta`` of the logits, a scalar.

        Raises:
            ConfigError: The distribution has no logits.
        """
        if not isinstance(dist, Categorical) or type(dist).logits is not Categorical.logits:
            raise ConfigError(
                f"transformer {self.name} decays logits alpha whose softmax the weights are.",
                f"This estimator's distribution is a {type(dist).__name__}, which is another.",
                "Choose an estimator with a plain categorical, such as darts or snas.",
            )
        return self.weight * step.progress * dist.logits.logsumexp(dim=-1).mean()
