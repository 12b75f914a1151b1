"""What to do about a search that diverged, by the numbers that it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasbench_snas.search.search import Search

_LOW = 1e-3
"""A temperature below which differences of logits are multiplied by more than a thousand."""


def divergence_advice(search: Search) -> str:
    """Return what to change, by the numbers that the diverged search holds."""
    weights = _largest(search.parent.parameters())
    logits = _largest(search.dist.parameters())
    tau = search.estimator.progress_values().get("temperature")
    settings = search.settings
    if not math.isfinite(weights):
        return f"The weights are not finite: lower search.theta.lr ({settings.theta.lr:g})."
    if tau is not None and tau < _LOW:
        return (
            f"The weights are finite, the temperature is {tau:.3g}: raise estimator.tau_end and "
            "estimator.tau_start."
        )
    if not math.isfinite(logits):
        rate = settings.alpha.lr
        return f"The weights are finite, alpha is not: lower search.alpha.lr ({rate})."
    return (
        f"The largest weight is {weights:.3g}, the largest entry of alpha {logits:.3g}: lower "
        f"search.theta.lr ({settings.theta.lr:g}) or search.alpha.lr ({settings.alpha.lr}), or "
        "change the seed."
    )


def _largest(tensors: Any) -> float:
    """Return the largest absolute value; NaN or infinity where one is."""
    found = [float(tensor.detach().abs().max()) for tensor in tensors if tensor.numel()]
    return math.nan if any(math.isnan(value) for value in found) else max(found, default=0.0)
