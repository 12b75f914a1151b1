"""Temperatures that a number type can hold, and what to do about a search that diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from nasbench_snas.errors import ConfigError

if TYPE_CHECKING:
    from nasbench_snas.search.search import Search

_LOW = 1e-3
"""A temperature below which differences of logits are multiplied by more than a thousand."""


def lowest_temperature(dtype: torch.dtype) -> float:
    """Return the floor of a temperature: ``1 / tau^2``, of second derivatives, must be finite."""
    return math.sqrt(torch.finfo(dtype).tiny)


def check_temperatures(parameters: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Check the temperatures among an estimator's settings.

    Raises:
        ConfigError: One is below the floor for ``dtype``.
    """
    floor = lowest_temperature(dtype)
    for name, value in parameters.items():
        is_temperature = name.startswith(("tau", "temperature")) and isinstance(value, float)
        if is_temperature and 0 < value < floor:
            raise ConfigError(
                f"estimator.{name} is {value:g}: too low a temperature.",
                f"Below {floor:.2g} what is divided by it overflows in {str(dtype)[6:]}.",
                f"Raise estimator.{name}; published searches end between 0.03 and 1.",
            )


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
