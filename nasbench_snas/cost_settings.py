"""Settings of the resource term ``eta E[C(Z)]`` of the objective (eqs. 9-11). Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CostWeights(BaseModel):
    """How the three criteria of Appendix F are added up (after normalisation)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: float = Field(default=1.0, ge=0, description="Weight of the parameter count.")
    flops: float = Field(default=1.0, ge=0, description="Weight of the multiply-adds.")
    mac: float = Field(default=1.0, ge=0, description="Weight of the memory access.")


class CostSettings(BaseModel):
    """The resource term of the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eta: float = Field(default=0.0, ge=0, description="Weight of the resource term; 0: none.")
    weights: CostWeights = Field(
        default_factory=CostWeights, description="Combination of the criteria."
    )
    penalty: Literal["normalised", "released-linear", "released-log"] = Field(
        default="normalised",
        description="normalised: linear in Z, each criterion divided by its largest value, "
        "so that eta carries over between networks; released-*: as in SNAS-Series.",
    )
    convention: Literal["sound", "paper", "released"] = Field(
        default="sound", description="How operations are counted where sources disagree."
    )
    gradient: Literal["exact", "pathwise", "score"] = Field(
        default="exact",
        description="Gradient of E[C]: in closed form, by a relaxed sample, by the score function.",
    )
    target: str | None = Field(
        default=None,
        description="Expected cost to steer to, for example params=2.8M or macs=600M; eta is then "
        "adapted during the search.",
    )
