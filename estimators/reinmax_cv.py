"""ReinMax-CV: ReinMax plus a Gumbel-softmax control variate at its midpoint.

With ``q = (p + D) / 2``: ``2 J(q) h - J(p) h / 2 + c (1/M sum_m J(y_m) h - J(y) h) / tau``, where
``y = softmax((log q + G) / tau)`` for fresh Gumbel noise and the ``y_m`` are the draws of
``reinmax-rao`` given that their argmax is ``D``. Biased. ``c = 0`` is ``reinmax`` at ``tau = 1``.

Reference: Wang and Bui 2026, arXiv:2603.08257, eq. (18).
Deviations: the printed equation lacks the factor 2 of ReinMax's first term; it is kept here, as in
the derivation. Defaults of ``tau``, ``coefficient`` and ``samples`` are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, gumbel, straight_through

from .reinmax_rao import ReinMaxRao, middle_log, rao_softmax


class ReinMaxCV(ReinMaxRao):
    """Second-order straight-through with a control variate.

    Args:
        tau: Temperature of the control variate. Default 1.0.
        coefficient: ``c``, its weight. Default 1.0.
        samples: ``M``, conditional draws. Default 32.
        n: Architectures per draw. Default 1.
    """

    name = "reinmax-cv"
    family = "pathwise"
    reference = "wang2026beyond"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:reinmax_cv", "noise": ("gumbel", "exponential", "gumbel")}
    conformance_variants = ({"tau": 0.5, "coefficient": 0.5},)
    needs_all_operations = True

    def __init__(
        self, tau: float = 1.0, coefficient: float = 1.0, samples: int = 32, n: int = 1
    ) -> None:
        super().__init__(tau, samples, n)
        self.coefficient = coefficient

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Return :class:`ReinMaxRao`'s noise and fresh Gumbel noise, ``(R, n, E, K)``."""
        first, second = super().noise(dist, replicates, generator)
        return first, second, gumbel(tuple(first.shape), generator, dist.dtype)

    def relax(self, dist: Categorical, noise: tuple[Tensor, ...]) -> Tensor:
        """Return one-hot samples with the estimator's gradient, shape ``(R, n, E, K)``."""
        hard, probs = dist.hard(noise[0]), dist.probs[:, None]
        logits = dist.log_probs[:, None]
        middle = middle_log(dist, hard) + (logits - logits.detach())
        single = ((middle + noise[2]) / self.tau).softmax(dim=-1)
        control = rao_softmax(dist, hard, noise[1], self.tau) - single
        soft = 2 * middle.softmax(dim=-1) - 0.5 * probs + self.coefficient * control
        return straight_through(hard, soft)

    def weights(self, dist: Categorical, noise: tuple[Tensor, ...]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])
