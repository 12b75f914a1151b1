"""Settings of the resource term ``eta E[C(Z)]`` of the objective (eqs. 9-11). Imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nasbench_snas.errors import ConfigError, suggest

CostGradient = Literal["exact", "pathwise", "score"]
Normalisation = Literal["mean", "maximum", "none"]
Penalty = Literal["normalised", "released-linear", "released-log"]
Convention = Literal["sound", "released", "paper"]

_NAMES = {"params": "parameters", "parameters": "parameters", "macs": "flops", "flops": "flops"}
_NAMES |= {"access": "access", "mac": "access", "share": "share"}
CRITERIA_WORDS = {
    "parameters": "parameters",
    "flops": "multiply-adds",
    "access": "memory access (elements moved)",
}
"""The built-in criteria by name, in words."""
_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class CostTarget:
    """A wanted expected cost.

    Attributes:
        criterion: ``parameters``, ``flops`` or ``access`` of the whole network, or ``share``: the
            penalty ``C`` in multiples of its value for the uniform distribution.
        value: The wanted value.
    """

    criterion: str
    value: float

    @property
    def words(self) -> str:
        """What is steered, and to which value."""
        if self.criterion == "share":
            return f"the penalty to {self.value:g} of its value for a uniform choice"
        words = f"the expected {CRITERIA_WORDS[self.criterion]} of the whole network"
        return f"{words} to {self.value:,.0f}"

    @classmethod
    def parse(cls, text: str) -> CostTarget:
        """Return the target written as ``params=2.8M``, ``macs=600M``, ``access=9M``,
        ``share=0.6``.

        Raises:
            ConfigError: The text is not of that form.
        """
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d*\.?\d+(?:e\d+)?)\s*([kMG]?)\s*", text)
        if match is None:
            raise ConfigError(
                f"cannot read the cost target {text!r}.",
                "Expected CRITERION=NUMBER with an optional k, M or G, for example params=2.8M.",
            )
        name, number, suffix = match.groups()
        if name not in _NAMES:
            known = _NAMES.keys() - {"mac"}
            raise ConfigError(f"unknown cost criterion {name!r}.", suggest(name, known))
        value = float(number) * _SUFFIXES[suffix]
        if not 0 < value < math.inf:
            raise ConfigError(f"the cost target {text!r} must be positive and finite.")
        return cls(_NAMES[name], value)


def refuse_ambiguous(target: object) -> None:
    """Raise a :class:`ConfigError` for a target ``mac=…``, which nobody reads in one way.

    Runs of before that were told so steer memory access, as they did.
    """
    name, _, number = str(target).partition("=")
    if name.strip() == "mac":
        raise ConfigError(
            f"the cost target {str(target)!r} has two readings.",
            "`mac` is memory access in the paper (Appendix F), a multiply-add elsewhere.",
            f"Write access={number.strip()} (elements moved), or macs={number.strip()} "
            "(multiply-adds).",
        )


class CostWeights(BaseModel):
    """How the three criteria of Appendix F are added up (after normalisation)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    params: float = Field(default=1.0, ge=0, description="Weight of the parameter count.")
    flops: float = Field(default=1.0, ge=0, description="Weight of the multiply-adds.")
    mac: float = Field(default=1.0, ge=0, description="Weight of the memory access.")

    @property
    def relative(self) -> tuple[float, float, float]:
        """The weights in the order of a cost table's last axis."""
        return (self.params, self.flops, self.mac)


class CostSettings(BaseModel):
    """The resource term of the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eta: float = Field(default=0.0, ge=0, description="Weight of the resource term; 0: none.")
    weights: CostWeights = Field(
        default_factory=CostWeights, description="Combination of the criteria, scaled to sum to 1."
    )
    penalty: Penalty = Field(
        default="normalised",
        description="normalised: linear in Z, each criterion normalised, so that eta carries over "
        "between networks; released-*: as in SNAS-Series.",
    )
    normalise: Normalisation = Field(
        default="mean",
        description="What a criterion is divided by: its value for a uniform choice (an undecided "
        "search then costs 1), that of the most expensive architecture, or nothing.",
    )
    convention: Convention = Field(
        default="sound", description="How operations are counted where sources disagree."
    )
    gradient: CostGradient = Field(
        default="exact",
        description="Gradient of E[C]: in closed form, by a relaxed sample, by the score function.",
    )
    target: str | None = Field(
        default=None,
        description="Expected cost to steer to, for example params=2.8M, macs=600M or share=0.5; "
        "eta is then adapted during the search.",
    )

    @property
    def steered(self) -> str:
        """What the resource term does, in words; empty: there is none."""
        if self.target is not None:
            return f"eta is adapted to steer {CostTarget.parse(self.target).words}"
        return f"eta {self.eta:g} times the expected cost" if self.eta else ""

    @field_validator("target")
    @classmethod
    def _target_is_readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                CostTarget.parse(value)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return value
