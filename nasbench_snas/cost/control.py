"""Finding eta: from a ratio at the start, from a target by short searches, or during the search.

No value of eta for the paper's mild, moderate and aggressive constraints was ever published, so
eta is calibrated. :func:`eta_for_ratio` is a closed form; :func:`calibrate_eta` brackets and
bisects on a measurement (for example the share of the uniform cost that is left after a short
search); :class:`TargetController` is dual ascent on ``E[C] <= target`` while the search runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nasbench_snas.cost.settings import CostTarget
from nasbench_snas.errors import ConfigError


def eta_for_ratio(loss: float, cost: float, ratio: float) -> float:
    """Return the eta with which the penalty is ``ratio`` times the loss at the start.

    Args:
        loss: Cross-entropy at the start in nats, for example ``log(classes)``.
        cost: ``E[C]`` at the start.
        ratio: Wanted penalty over loss.

    Raises:
        ConfigError: A value is not positive.
    """
    if min(loss, cost, ratio) <= 0:
        raise ConfigError(f"loss, cost and ratio must be positive: {loss}, {cost}, {ratio}.")
    return ratio * loss / cost


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        eta: The value with the measurement nearest to the target.
        value: That measurement.
        target: What was wanted.
        trials: Every (eta, measurement), in the order of measuring.
        reached: Whether the measurement is within the tolerance.
    """

    eta: float
    value: float
    target: float
    trials: tuple[tuple[float, float], ...]
    reached: bool


def calibrate_eta(
    measure: Callable[[float], float],
    target: float,
    *,
    start: float = 1.0,
    tolerance: float = 0.05,
    max_trials: int = 12,
) -> Calibration:
    """Return the eta for which ``measure(eta)``, falling in eta, is ``target``.

    From ``start`` eta is multiplied or divided by four until the target is bracketed, then the
    logarithm of eta is bisected.

    Args:
        measure: Runs a (short) search with this eta and returns, for example, its share of the
            uniform expected cost.
        target: Wanted measurement.
        start: First eta.
        tolerance: Relative distance from the target that is good enough.
        max_trials: Largest number of measurements.

    Raises:
        ConfigError: Target, start or tolerance is not positive.
    """
    if min(target, start, tolerance) <= 0 or max_trials < 1:
        raise ConfigError("target, start, tolerance and max_trials must be positive.")
    trials: list[tuple[float, float]] = []
    below: float | None = None  # largest eta known to be too weak
    above: float | None = None  # smallest eta known to be too strong
    eta = start
    while len(trials) < max_trials:
        value = measure(eta)
        trials.append((eta, value))
        if abs(value - target) <= tolerance * target:
            break
        if value > target:
            below = eta if below is None else max(below, eta)
        else:
            above = eta if above is None else min(above, eta)
        if below is not None and above is not None:
            eta = math.sqrt(below * above)
        else:
            eta = eta * 4 if above is None else eta / 4
    best = min(trials, key=lambda trial: abs(trial[1] - target))
    reached = abs(best[1] - target) <= tolerance * target
    return Calibration(best[0], best[1], target, tuple(trials), reached)


class TargetController:
    """Drives eta so that the expected cost meets a target.

    ``multiplicative`` moves ``log(eta)`` by ``rate`` times the relative excess of the cost
    (clipped to [-1, 1]); ``additive`` is plain dual ascent on eta, which may reach zero.

    Args:
        target: The wanted cost.
        eta: First value.
        rate: Step for each update.
        kind: ``multiplicative`` or ``additive``.
        limits: Smallest and largest eta.
    """

    def __init__(
        self,
        target: CostTarget,
        eta: float,
        *,
        rate: float = 0.1,
        kind: Literal["multiplicative", "additive"] = "multiplicative",
        limits: tuple[float, float] = (1e-6, 1e3),
    ) -> None:
        if kind not in ("multiplicative", "additive"):
            raise ConfigError(f"unknown controller {kind!r}.", "Known: additive, multiplicative")
        if rate <= 0 or not 0 < limits[0] <= limits[1] or eta < 0:
            raise ConfigError(
                f"rate ({rate}) and limits ({limits}) must be positive, eta ({eta}) not negative."
            )
        self.target, self.rate, self.kind, self.limits = target, rate, kind, limits
        self.eta = self._clipped(eta)
        self.updates = 0

    def update(self, cost: float) -> float:
        """Return the next eta after the expected cost was measured as ``cost``."""
        excess = max(-1.0, min(1.0, cost / self.target.value - 1.0))
        if self.kind == "multiplicative":
            self.eta = self._clipped(self.eta * math.exp(self.rate * excess))
        else:
            self.eta = self._clipped(self.eta + self.rate * excess)
        self.updates += 1
        return self.eta

    def state_dict(self) -> dict[str, float]:
        """Return everything that changes."""
        return {"eta": self.eta, "updates": self.updates}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.eta, self.updates = float(state["eta"]), int(state["updates"])

    def _clipped(self, eta: float) -> float:
        floor = self.limits[0] if self.kind == "multiplicative" else 0.0
        return min(max(eta, floor), self.limits[1])
