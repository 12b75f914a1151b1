"""Settings of a gradient study, and its identity. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.settings.run import Choice

FRACTIONS = {"init": 0.0, "mid": 1 / 3, "late": 1.0}
"""Named points, as fractions of the recipe's steps."""

Trajectory = Literal["snas", "uniform"]


_LOWEST_TEMPERATURE = math.sqrt(sys.float_info.min)
"""What is divided by the square of a lower one overflows in float64."""


class Recipe(BaseModel):
    """The short joint training that leads to the points.

    One Adam for theta, one for alpha, one minibatch a step. Trajectory ``snas``: both follow one
    concrete sample, temperature linear from ``tau_start`` to ``tau_end``. ``uniform``: theta
    follows one uniformly drawn path, alpha a leave-one-out score gradient of four paths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=240, ge=1, description="Steps to the point `late`.")
    batch_size: int = Field(default=64, ge=2, description="Images of a step.")
    theta_lr: float = Field(default=3e-3, gt=0, description="Adam's rate for theta.")
    alpha_lr: float = Field(default=1e-2, gt=0, description="Adam's rate for alpha.")
    tau_start: float = Field(default=1.0, gt=0, description="Temperature at the first step.")
    tau_end: float = Field(default=0.1, gt=0, description="Temperature at the last step.")


class StudySettings(BaseModel):
    """What is measured, on which network, how precisely."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    space: Choice = Field(default=Choice(name="snas-unit"), description="The space.")
    data: DataSettings = Field(default_factory=DataSettings, description="Images.")
    seed: int = Field(default=0, ge=0, description="Seed of weights, batches and noise.")
    batch_size: int = Field(default=16, ge=2, description="Images of the frozen batch.")
    points: tuple[str, ...] = Field(
        default=("init", "mid", "late"),
        description="init, mid, late, a fraction of the recipe such as 0.1, or a run's id.",
    )
    trajectories: tuple[Trajectory, ...] = Field(
        default=("snas",), description="Recipes that train theta and alpha."
    )
    estimators: tuple[str, ...] = Field(default=("all",), description="Names, or all.")
    temperatures: tuple[float, ...] = Field(
        default=(5.0, 1.0, 0.5, 0.1),
        description="Temperatures of estimators that anneal one; others keep their own.",
    )
    sweep: tuple[str, ...] = Field(
        default=(), description="Estimators that run at further `sweep_temperatures`."
    )
    sweep_temperatures: tuple[float, ...] = Field(
        default=(2.0, 0.2, 0.05, 0.03), description="Those temperatures."
    )
    samples: int = Field(default=2048, ge=128, description="Draws of the alpha-gradient at most.")
    replicates: int = Field(default=64, ge=2, description="Draws of a batched pass.")
    theta_samples: int = Field(
        default=128, ge=0, description="Draws of the theta-gradient; 0: it is not measured."
    )
    until_se: float = Field(
        default=0.0,
        ge=0,
        description="Stop an estimator when sqrt(trace / n) / |g| is below this; 0: never.",
    )
    max_time: float = Field(default=0.0, ge=0, description="Seconds in all; 0: no limit.")
    batches: int = Field(
        default=0, ge=0, description="Minibatches of the variance decomposition; 0: none."
    )
    draws_per_batch: int = Field(default=8, ge=2, description="Draws on each of them.")
    budget: float = Field(default=100.0, gt=0, description="Forward equivalents of `mse_budget`.")
    reference: str = Field(
        default="exact", description="exact, or mc:N for a reference of N unbiased draws."
    )
    memory: int = Field(default=128 * 2**20, ge=2**20, description="Bytes of a block.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Nominal coverage.")
    claims: bool = Field(default=False, description="Whether the paper's claims are measured.")
    recipe: Recipe = Field(default_factory=Recipe, description="How the points are reached.")

    @field_validator("temperatures", "sweep_temperatures")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(value < _LOWEST_TEMPERATURE for value in values):
            raise ValueError(f"temperatures must be positive, at least {_LOWEST_TEMPERATURE:.2g}")
        return values

    @field_validator("theta_samples")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < 20:
            raise ValueError("0 (none) or at least 20: an interval needs two draws in ten blocks")
        return value

    @field_validator("batches")
    @classmethod
    def _several(cls, value: int) -> int:
        if 0 < value < 3:
            raise ValueError("0 (none) or at least 3: a variance between minibatches needs them")
        return value

    @property
    def reference_draws(self) -> int:
        """Draws of a sampled reference; 0 for the exact one.

        Raises:
            ConfigError: ``reference`` is neither ``exact`` nor ``mc:N``.
        """
        if self.reference == "exact":
            return 0
        kind, _, number = self.reference.partition(":")
        try:
            draws = int(float(number))
        except ValueError:
            draws = 0
        if kind != "mc" or draws < 128:
            raise ConfigError(
                f"reference {self.reference!r} is unknown.", "Expected exact, or mc:N, N >= 128."
            )
        return draws

    def digest(self) -> str:
        """Return the hash that names the study's folder: of all that decides a draw.

        How many draws are made, and for how long, is left out: a study can be continued.
        """
        values: dict[str, Any] = self.model_dump(mode="json")
        for key in ("samples", "theta_samples", "until_se", "max_time", "memory", "claims"):
            values.pop(key)
        for key in ("confidence", "budget"):
            values.pop(key)
        values["data"] = self.data.identity()
        text = json.dumps(values, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def fraction_of(point: str) -> float | None:
    """Return the fraction of the recipe that ``point`` names, or None for a run's id.

    Raises:
        ConfigError: A number outside [0, 1].
    """
    if point in FRACTIONS:
        return FRACTIONS[point]
    try:
        value = float(point)
    except ValueError:
        return None
    if not 0 <= value <= 1:
        raise ConfigError(f"point {point!r} must lie between 0 and 1.")
    return value
