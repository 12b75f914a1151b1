"""Which temperatures a number type can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from nasbench_snas.errors import ConfigError


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
