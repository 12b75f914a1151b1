"""Two objective transformers: a perturbation of the weights, and a penalty on the logits.

``perturbed``: theta is trained at ``z + d``, ``d ~ U(-e, e)`` drawn once a step, one number for
each edge and operation, and ``e`` growing linearly over the run.

    Reference: Chen and Hsieh 2020, arXiv:2002.05283 (SDARTS-RS). Deviations: the weights that
    the estimator hands out are perturbed, soft or one-hot, not the softmax of the logits; ``z + d``
    is not put back on the simplex; in the level ``joint``, where one loss trains both, alpha sees
    the perturbation too.

``beta-decay``: ``w t mean_e logsumexp_k(alpha_ek)`` is added to the objective of alpha, ``t`` the
fraction of the run.

    Reference: Ye et al. 2022, arXiv:2203.01665 (beta-DARTS). Deviation: the mean over all edges of
    all cells.

    nasbench --plugin examples/plugins/perturbed.py run -e darts -s snas-unit --level bilevel \\
        --transform perturbed --transform beta-decay --set transformer.perturbed.size=0.05
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss, LossStep, LossTransformer, loss_at
from nasbench_snas.errors import ConfigError


class Perturbed(LossTransformer):
    """Random smoothing: theta is trained at perturbed weights.

    Args:
        size: ``e`` at the end of the run.
    """

    name = "perturbed"
    summary = "theta at weights with uniform noise (SDARTS-RS)"

    def __init__(self, size: float = 0.03) -> None:
        if size < 0:
            raise ConfigError(f"transformer.perturbed.size must not be negative, got {size}.")
        self.size = size

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return the loss at ``z + d``; alpha's own loss as it is."""
        if step.role == "alpha":
            return loss
        shape = (step.space.num_edges, step.space.num_operations)
        generator = step.generator
        noise = 2 * torch.rand(shape, generator=generator, device=generator.device) - 1
        change = self.size * step.progress * noise
        return loss_at(loss, lambda z: z + change.to(z))


class BetaDecay(LossTransformer):
    """A penalty that keeps the logits from growing apart.

    Args:
        weight: ``w``, the weight at the end of the run.
    """

    name = "beta-decay"
    summary = "mean logsumexp of the logits, growing over the run (beta-DARTS)"
    captures = True

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def penalty(self, dist: Distribution, step: LossStep) -> Tensor | None:
        """Return ``w t mean logsumexp(alpha)``, or None where there are no such logits."""
        alpha = getattr(dist, "alpha", None)
        if alpha is None:
            raise ConfigError(
                "the transformer beta-decay needs logits, and this method has none.",
                fix="Choose an estimator with a factorised distribution, such as darts or snas.",
            )
        return self.weight * step.progress * alpha.logsumexp(dim=-1).mean()
