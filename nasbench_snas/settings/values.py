"""What no setting may be, whatever it means: said at once, where it is read. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nasbench_snas.errors import ConfigError

LARGEST = 2**53
"""Whole numbers beyond it are not exact in JSON and floating point."""


def check_values(settings: Mapping[str, Any]) -> None:
    """Check the values of settings by dotted key.

    Raises:
        ConfigError: A number is infinite, not a number or beyond :data:`LARGEST`, or a text has a
            NUL character.
    """
    for key, value in settings.items():
        for part in value if isinstance(value, list | tuple) else [value]:
            if why := _impossible(part):
                raise ConfigError(f"setting {key}: {why}.", f"Got {repr(value)[:60]}.")


def _impossible(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a finite number"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"expected a number up to 2^{LARGEST.bit_length() - 1}"
    if isinstance(value, str) and "\0" in value:
        return "a text cannot have a NUL character"
    return ""
