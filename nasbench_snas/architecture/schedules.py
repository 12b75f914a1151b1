"""Schedules as functions of the run's progress, never of a hard-coded number of epochs."""

from __future__ import annotations

import math
from typing import Literal

from nasbench_snas.errors import ConfigError

ScheduleKind = Literal["constant", "linear", "geometric"]


def anneal(kind: ScheduleKind, start: float, end: float, t: float) -> float:
    """Return the value at progress ``t``, clamped to [0, 1], between ``start`` and ``end``.

    ``linear`` moves in equal steps, ``geometric`` in equal ratios, ``constant`` stays at
    ``start``. The value is monotone in ``t`` and positive whenever both ends are.

    Raises:
        ConfigError: The kind is unknown, or ``geometric`` has an end that is not positive.
    """
    t = min(max(t, 0.0), 1.0)
    if kind == "constant":
        return start
    if kind == "linear":
        return start + (end - start) * t
    if kind == "geometric":
        if start <= 0 or end <= 0:
            raise ConfigError(f"a geometric schedule needs positive ends, got {start} and {end}.")
        return math.exp(math.log(start) + (math.log(end) - math.log(start)) * t)
    raise ConfigError(f"unknown schedule {kind!r}.", "Known: constant, linear, geometric")
