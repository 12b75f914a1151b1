"""The three gradients of the expected cost (eqs. 9-11) against the exact one, at one point.

``E[C]`` is linear in Z, so its gradient is known in closed form; draws of the pathwise and of the
score form are compared with it. No network is evaluated.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch

from nasbench_snas.api import Distribution
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.settings import CostGradient, CostSettings
from nasbench_snas.search.resource import ResourceTerm
from nasbench_snas.stats.gradient_summary import Reference, summarise_gradient
from nasbench_snas.stats.moments import GradientMoments


def cost_gradients(
    space: Space,
    dist: Distribution,
    draws: int,
    generator: torch.Generator,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Return bias and variance of each kind of cost gradient, relative to the exact one.

    Args:
        space: The space.
        dist: Factorised architectures; its parameters are the coordinates.
        draws: Draws of each kind, at least two for every block of the statistics.
        generator: Source of the draws.
        confidence: Of the intervals.
    """
    exact = _draws(space, dist, "exact", 1, generator)[0]
    rows = []
    for kind in get_args(CostGradient):
        moments = GradientMoments(len(exact))
        moments.update(_draws(space, dist, kind, draws, generator))
        found = summarise_gradient(moments, Reference.exact(exact), confidence=confidence)
        rows.append(
            {
                "kind": kind,
                "draws": draws,
                "relative_bias_sq": found.relative_bias_sq.estimate,
                "low": found.relative_bias_sq.low,
                "high": found.relative_bias_sq.high,
                "relative_variance": found.relative_trace.estimate,
                "cosine": found.cosine.estimate,
            }
        )
    return rows


def _draws(
    space: Space, dist: Distribution, kind: CostGradient, draws: int, generator: torch.Generator
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return independent gradients, shape ``(draws, d)``."""
    resource, rows = ResourceTerm(space, CostSettings(eta=1.0, gradient=kind), generator), []
    parameters = list(dist.parameters())
    for _ in range(draws):
        term = resource.term(dist)
        if term is not None:  # always, with eta = 1
            found = torch.autograd.grad(term, parameters)
            rows.append(torch.cat([part.flatten() for part in found]))
    return torch.stack(rows).double().numpy()
