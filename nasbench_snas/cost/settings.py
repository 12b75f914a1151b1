"""Settings of the resource term ``eta E[C(Z)]`` of the objective (eqs. 9-11). Imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
_OF_CRITERION = ("criterion", "parameters", "content")
_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class CostTarget:
    """A wanted expected cost.

    Attributes:
        criterion: ``parameters``, ``flops`` or ``access`` of the whole network, a criterion of
            one's own by its name, or ``share``: the penalty ``C`` in multiples of its value for the
            uniform distribution.
        value: The wanted value.
    """

    criterion: str
    value: float

    @property
    def words(self) -> str:
        """What is steered, and to which value."""
        if self.criterion == "share":
            return f"the penalty to {self.value:g} of its value for a uniform choice"
        if self.criterion not in CRITERIA_WORDS:
            return f"the expected {self.criterion} of the whole network to {self.value:g}"
        words = f"the expected {CRITERIA_WORDS[self.criterion]} of the whole network"
        return f"{words} to {self.value:,.0f}"

    @classmethod
    def parse(cls, text: str, own: str | None = None) -> CostTarget:
        """Return the target written as ``params=2.8M``, ``macs=600M``, ``access=9M``,
        ``share=0.6``.

        Args:
            text: The text.
            own: Name of a criterion of one's own that may be steered, or None.

        Raises:
            ConfigError: The text is not of that form.
        """
        match = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\d*\.?\d+(?:e\d+)?)\s*([kMG]?)\s*", text)
        if match is None:
            raise ConfigError(
                f"cannot read the cost target {text!r}.",
                "Expected CRITERION=NUMBER with an optional k, M or G, for example params=2.8M.",
            )
        name, number, suffix = match.groups()
        names = _NAMES if own is None or own in _NAMES.values() else {**_NAMES, own: own}
        if name not in names:
            known = names.keys() - {"mac"}
            raise ConfigError(f"unknown cost criterion {name!r}.", suggest(name, known))
        value = float(number) * _SUFFIXES[suffix]
        if not 0 < value < math.inf:
            raise ConfigError(f"the cost target {text!r} must be positive and finite.")
        return cls(names[name], value)


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
    criterion: str | None = Field(
        default=None,
        description="What is counted: parameters, flops, access, or a plug-in by its name, such as "
        "table; unset: the three of the paper by their weights.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the criterion, checked by itself."
    )
    places: dict[str, Any] = Field(
        default_factory=dict,
        description="Those of them that say where files lie, filled in when a run is planned.",
    )
    content: str | None = Field(
        default=None,
        description="Fingerprint of the criterion's files, filled in when a run is planned.",
    )
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
    def relative(self) -> tuple[float, float, float]:
        """Weights of the paper's three criteria, in the order of a cost table's last axis."""
        if self.criterion in CRITERIA_WORDS:
            one = [1.0 if name == self.criterion else 0.0 for name in CRITERIA_WORDS]
            return (one[0], one[1], one[2])
        return self.weights.relative

    @property
    def wanted(self) -> CostTarget | None:
        """The target, if there is one."""
        return None if self.target is None else CostTarget.parse(self.target, self.criterion)

    @property
    def steered(self) -> str:
        """What the resource term does, in words; empty: there is none."""
        if self.wanted is not None:
            return f"eta is adapted to steer {self.wanted.words}"
        what = "" if self.criterion is None else f" ({self.criterion})"
        return f"eta {self.eta:g} times the expected cost{what}" if self.eta else ""

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values: no paths.

        Without a criterion by name as runs of before had it.
        """
        values = self.model_dump(mode="json", exclude={"places"})
        if self.criterion is None:
            values = {k: v for k, v in values.items() if k not in _OF_CRITERION}
        return values

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.criterion is not None and self.penalty != "normalised":
            raise ValueError(
                f"penalty = {self.penalty!r} is that of the paper's three criteria; a criterion by "
                "name is normalised"
            )
        try:
            _ = self.wanted
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self
