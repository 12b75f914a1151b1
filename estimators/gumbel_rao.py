"""Gumbel-Rao: the straight-through Gumbel-softmax gradient, averaged over the noise given the draw.

``dL/d alpha_e = 1/M sum_m y_m * (h_e - <y_m, h_e>) / tau`` with ``y_m = softmax(z_m / tau)`` and
``z_m`` perturbed logits drawn given their argmax ``D``; ``h = dL/dZ`` at ``D``. The same mean as
``st-gumbel`` (and its bias), and never more variance, by Rao and Blackwell; no further evaluation
of the network. Theta gets ``dL/dtheta`` of the drawn architecture.

Reference: Paulus et al. 2021, arXiv:2010.04838, section 3.
Deviations: only the softmax is differentiated, not the conditional noise as a function of alpha:
that would change the mean. The paper's text takes a total derivative there; no public code does.
Temperatures as for ``st-gumbel``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import (
    AnnealedPathwise,
    Categorical,
    ScheduleKind,
    gumbel,
    straight_through,
)
from nasbench_snas.errors import ConfigError


class GumbelRao(AnnealedPathwise):
    """Rao-Blackwellised straight-through Gumbel-softmax.

    Args:
        samples: ``M``, conditional draws of the noise. Default 10.
        tau_start: Temperature at the start. Default 1.0.
        tau_end: Temperature at the end. Default 0.1.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "gumbel-rao"
    reference = "paulus2021rao"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "gumbel_rao", "noise": ("gumbel", "exponential")}
    conformance_variants = ({"samples": 1},)
    needs_all_operations = True

    def __init__(
        self,
        samples: int = 10,
        tau_start: float = 1.0,
        tau_end: float = 0.1,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__(tau_start, tau_end, schedule, n)
        if samples < 1:
            raise ConfigError(f"gumbel-rao: samples must be at least 1, got {samples}.")
        self.samples = samples

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel noise ``(R, n, E, K)`` and ``M`` exponentials ``(R, n M, E, K)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        shape = (replicates, self.n * self.samples, dist.num_edges, dist.num_operations)
        return first, (-gumbel(shape, generator, dist.dtype)).exp()

    def relax(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return one-hot samples with the averaged gradient, shape ``(R, n, E, K)``."""
        hard, logits = dist.hard(noise[0]), dist.log_probs[:, None]
        repeated = hard.repeat_interleave(self.samples, dim=1)
        perturbed = dist.conditional(repeated, noise[1])
        shifted = logits + (perturbed - logits).detach()
        soft = (shifted / self.tau).softmax(dim=-1)
        mean = soft.view(len(hard), self.n, self.samples, *hard.shape[2:]).mean(dim=2)
        return straight_through(hard, mean)

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])
