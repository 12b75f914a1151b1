"""ReDGE: a categorical reparameterised by a denoising diffusion, made hard at its last step.

From ``x_T ~ N(0, I)`` with ``a_0 = 1``, ``a_1 = 1 - t1, ..., a_T = 1e-4`` equally spaced and
``s = 1 - a``: the denoiser ``x0(x, t) = softmax(alpha + a_t x / s_t^2)`` is exact for a one-hot
``x_0``; ``x_{t-1} = a_{t-1} x0 + s_{t-1} (x_t - a_t x0) / s_t``; at ``t = 1`` the one-hot sample is
drawn from ``x0`` and gets its gradient (straight-through). Biased, and the
law of the sample is not ``p``: a step from a_T jumps to the mean, so that with few levels and a
small t1 the last step all but takes the mode. ``p = (0.645, 0.167, 0.188)`` is sampled as (0.659,
0.161, 0.181) at the defaults, and as (0.998, 0.001, 0.001) at t1 = 0.1 (quadrature of 65,536
nodes). Larger t1 and more levels come closer: (0.645, 0.167, 0.188) at t1 = 0.9.

Reference: Gourevitch et al. 2026, arXiv:2601.00781 (ReDGE, hard samples), schedule and last step as
in the released package.
Deviations: none. Defaults: those of the released sampler, t1 = 0.5 and 3 levels; the released
script for polynomial programming sets t1 = 0.1, where no operation but the likeliest is explored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, one_hot, straight_through
from nasbench_snas.errors import ConfigError


class ReDGE(Pathwise):
    """Diffusion-based straight-through.

    Args:
        t1: Noise level of the last step, in (0, 1): small is harder. Default 0.5.
        levels: Noise levels, the clean one included; at least 2. Default 3.
        n: Architectures per draw. Default 1.
    """

    name = "redge"
    reference = "gourevitch2026redge"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {
        "draw": "perturbed:redge",
        "samples": "perturbed:redge_samples",
        "noise": ("gumbel", "normal"),
    }
    conformance_variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"levels": 2},
        {"levels": 5},
        {"t1": 0.1},
        {"t1": 0.9, "levels": 12},
    )
    version = 2
    needs_all_operations = True

    def __init__(self, t1: float = 0.5, levels: int = 3, n: int = 1) -> None:
        super().__init__()
        if not 0 < t1 < 1 or levels < 2:
            raise ConfigError(
                f"{self.name}: t1 = {t1}, levels = {levels} is not possible.",
                "Expected t1 in (0, 1) and at least 2 levels.",
            )
        self.t1, self.levels, self.n = t1, levels, n

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel noise and standard normal noise, both ``(R, n, E, K)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        size, device = tuple(first.shape), generator.device
        return first, torch.randn(size, generator=generator, dtype=dist.dtype, device=device)

    def start(self, dist: Categorical, normal: Tensor) -> Tensor:
        """Return ``x_T`` for standard normal noise."""
        return normal

    def denoise(self, dist: Categorical, x: Tensor, a: float, s: float) -> Tensor:
        """Return the mean of the one-hot architecture given ``x``, shape ``(R, n, E, K)``."""
        return (dist.log_probs[:, None] + a * x / s**2).softmax(dim=-1)

    def soft_sample(self, dist: Categorical, normal: Tensor) -> Tensor:
        """Return the denoised mean of the last step, differentiable, ``(R, n, E, K)``."""
        a = [1.0, *torch.linspace(1 - self.t1, 1e-4, self.levels - 1, dtype=torch.double).tolist()]
        x = self.start(dist, normal)
        for t in range(self.levels - 1, 1, -1):
            clean = self.denoise(dist, x, a[t], 1 - a[t])
            x = a[t - 1] * clean + (1 - a[t - 1]) * (x - a[t] * clean) / (1 - a[t])
        return self.denoise(dist, x, a[1], 1 - a[1])

    def relax(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return one-hot samples with the gradient of the diffusion, ``(R, n, E, K)``."""
        soft = self.soft_sample(dist, noise[1])
        tiny = torch.finfo(soft.dtype).tiny
        index = (soft.detach().clamp_min(tiny).log() + noise[0]).argmax(dim=-1)
        return straight_through(one_hot(index, dist.num_operations, dist.dtype), soft)
