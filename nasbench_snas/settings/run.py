"""Settings of a search: one frozen model, its layers (defaults, preset, file, ``--set``), its
identity.

Every value knows where it came from, and the resolved ``config.toml`` of a run says so behind each
line. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from nasbench_snas.cost.settings import CostSettings, refuse_ambiguous
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Kind
from nasbench_snas.settings.layers import Layers, check_known, flatten
from nasbench_snas.settings.parameters import PartOfPath, config_error
from nasbench_snas.settings.presets import load_constraint, load_preset
from nasbench_snas.settings.toml import parse_toml, read_toml
from nasbench_snas.settings.values import check_values

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_OF_SELECTION = ("candidates", "selection_fraction")
_RECORDS = {"preset", "checkpoint_seconds", "purpose", "settings_from"}
"""Settings that do not decide the result."""
THETA_RANDOM = 2
"""Uniform architectures of the theta policy ``sandwich``, by default (BigNAS: 2)."""
ThetaPolicyName = Literal["estimator", "uniform", "strict-fairness", "sandwich"]
Purpose = Literal["not recorded", "tuning", "exploratory", "confirmatory"]


class Choice(BaseModel):
    """A plug-in by name and its own settings (checked by the plug-in)."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: PartOfPath = Field(description="Key in the registry.")

    @property
    def parameters(self) -> dict[str, Any]:
        """The plug-in's settings."""
        return dict(self.model_extra or {})


class ThetaSettings(BaseModel):
    """Optimiser of the network weights: SGD with a cosine schedule."""

    model_config = _STRICT

    lr: float = Field(default=0.025, gt=0, description="Learning rate at the start.")
    lr_min: float = Field(
        default=0.0, ge=0, description="Learning rate at the end (released codes: 0.001)."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum.")
    nesterov: bool = Field(default=False, description="Nesterov momentum.")
    weight_decay: float = Field(default=3e-4, ge=0, description="L2 penalty.")
    clip: float = Field(default=5.0, ge=0, description="Largest gradient norm; 0: unlimited.")


class AlphaSettings(BaseModel):
    """Optimiser of the architecture distribution.

    An unset value is the estimator's own default where it has one (ENAS), else the paper's: Adam,
    3e-4, (0.5, 0.999), 1e-3.
    """

    model_config = _STRICT

    optimizer: Literal["adam", "sgd"] = Field(
        default="adam", description="adam (paper), or sgd (the released single-GPU code)."
    )
    lr: float | None = Field(default=None, gt=0, description="Learning rate.")
    betas: tuple[float, float] | None = Field(default=None, description="Adam's decay rates.")
    eps: float | None = Field(default=None, gt=0, description="Adam's epsilon.")
    weight_decay: float | None = Field(default=None, ge=0, description="L2 penalty.")
    clip: float = Field(
        default=0.0, ge=0, description="Largest gradient norm; 0: unlimited (released code: 10)."
    )


class SearchSettings(BaseModel):
    """The search loop."""

    model_config = _STRICT

    epochs: int = Field(default=150, ge=1, description="Passes over the training split.")
    batch_size: int = Field(default=64, ge=1, description="Images of a step.")
    eval_batch_size: int = Field(default=256, ge=1, description="Images of an evaluation pass.")
    level: Literal["joint", "bilevel", "unrolled"] = Field(
        default="joint", description="How theta and alpha alternate."
    )
    unrolled_hessian: Literal["exact", "finite-difference"] = Field(
        default="exact", description="Hessian-vector product of the level `unrolled`."
    )
    theta_policy: ThetaPolicyName = Field(
        default="estimator",
        description="What trains theta at the levels bilevel and unrolled: the estimator's draws, "
        "or uniform, strict-fairness, sandwich.",
    )
    theta_random: int = Field(
        default=THETA_RANDOM, ge=0, description="Uniform architectures of the policy sandwich."
    )
    drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Probability of dropping an edge for an image during the search "
        "(paper: not mentioned; released SNAS code: 0.3).",
    )
    alpha_from_epoch: int = Field(
        default=0, ge=0, description="Epochs of theta alone before alpha is trained."
    )
    validate_every: int = Field(
        default=1, ge=1, description="Epochs between search validations (the last always is)."
    )
    amp: Literal["off", "bf16"] = Field(
        default="off", description="Autocast of the network to bfloat16 (CUDA)."
    )
    sync_batchnorm: bool = Field(
        default=False,
        description="Several processes: batch norms use the statistics of the global batch "
        "(plain PyTorch parent), not of each process's share.",
    )
    track_gradients: int = Field(
        default=0, ge=0, description="Steps between gradient-quality measurements; 0: never."
    )
    track_truth: bool = Field(
        default=True,
        description="Where every architecture of the space is known: measure regret over the "
        "epochs, and how the parent ranks.",
    )
    theta: ThetaSettings = Field(default_factory=ThetaSettings, description="Network weights.")
    alpha: AlphaSettings = Field(default_factory=AlphaSettings, description="Architecture.")


class ChildSettings(BaseModel):
    """Derivation of children, and their validation without retraining."""

    model_config = _STRICT

    rule: str = Field(
        default="declared",
        description="How the child is derived: argmax, top2, sample, best-of-N, perturbation, "
        "shapley, or a plug-in; declared: as the estimator says.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the derive rule."
    )
    candidates: int = Field(
        default=100, ge=1, description="N of best-of-N: architectures drawn from the distribution."
    )
    selection_fraction: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of search_valid that rules which compare select by; all accuracies are "
        "measured on the rest. 0: all of it measures, nothing selects.",
    )
    samples: int = Field(default=8, ge=1, description="Architectures for each sampled view.")
    recalibration_images: int = Field(
        default=1024,
        ge=1,
        description="Training images for recalibrating batch-norm statistics.",
    )

    def identity(self) -> dict[str, Any]:
        """Return what decides the result; without a selection part, as runs of before had it."""
        values = self.model_dump(mode="json")
        if self.rule == "declared":
            values.pop("rule")
        if not self.parameters:
            values.pop("parameters")
        if self.selection_fraction == 0:
            values = {k: v for k, v in values.items() if k not in _OF_SELECTION}
        return values


def digest_of_identity(identity: Mapping[str, Any]) -> str:
    """Return the first eight hex digits of the blake2 hash of what decides a result."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


class RunConfig(BaseModel):
    """Everything that decides the result of one search."""

    model_config = _STRICT

    estimator: Choice = Field(description="The gradient estimator.")
    space: Choice = Field(description="The search space.")
    preset: PartOfPath = Field(
        default="smoke", description="Preset that the settings started from."
    )
    constraint: Literal["none", "mild", "moderate", "aggressive"] = Field(
        default="none", description="Level of resource constraint (calibrated eta)."
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything that is random.")
    data: DataSettings = Field(default_factory=DataSettings, description="Images.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="Search loop.")
    cost: CostSettings = Field(default_factory=CostSettings, description="Resource term.")
    child: ChildSettings = Field(default_factory=ChildSettings, description="Child validation.")
    transformers: tuple[str, ...] = Field(
        default=(), description="Objective transformers, the first innermost."
    )
    transformer: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Their settings, by name."
    )
    stops: tuple[str, ...] = Field(default=(), description="Early stops, in order.")
    stop: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Their settings, by name."
    )
    versions: dict[str, int] = Field(
        default_factory=dict,
        description="Versions of plug-ins (rule, criterion, transformers, stops, operations), "
        "filled in when a run is planned.",
    )
    checkpoint_seconds: float = Field(
        default=60.0, ge=0, description="Seconds between checkpoints within an epoch."
    )
    purpose: Purpose = Field(
        default="not recorded",
        description="What the run is for: tuning (it chooses settings), exploratory, or "
        "confirmatory (settings and comparison were fixed before).",
    )
    settings_from: str = Field(
        default="", description="How the settings were chosen, in words or as the runs that did."
    )

    def plugins(self) -> list[tuple[Kind, str]]:
        """Return kind and name of everything that may be a plug-in."""
        rule: list[tuple[Kind, str]] = [("rule", self.child.rule)]
        return [
            ("estimator", self.estimator.name),
            ("space", self.space.name),
            ("dataset", self.data.dataset),
            *(rule if self.child.rule != "declared" else []),
            *(("transformer", name) for name in self.transformers),
            *(("stop", name) for name in self.stops),
        ]

    def identity(self, estimator_version: int) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values."""
        values = self.model_dump(mode="json", exclude=_RECORDS)
        for plugin in ("estimator", "space"):  # unset is the same as absent, as in config.toml
            values[plugin] = {k: v for k, v in values[plugin].items() if v is not None}
        values["data"] = self.data.identity()
        values["child"] = self.child.identity()
        values["cost"] = self.cost.identity()
        for watching in ("track_gradients", "track_truth"):
            values["search"].pop(watching)
        if not self.search.sync_batchnorm:
            values["search"].pop("sync_batchnorm")
        if self.search.theta_policy == "estimator":
            values["search"].pop("theta_policy")
        if self.search.theta_policy != "sandwich":
            values["search"].pop("theta_random")
        for plugins in ("transformers", "transformer", "stops", "stop", "versions"):
            if not values[plugins]:
                values.pop(plugins)
        values["estimator_version"] = estimator_version
        return values

    def comparison(self) -> str:
        """Return a hash of what compared runs must share: all but estimator and seed."""
        values = self.identity(0)
        for key in ("estimator", "estimator_version", "seed"):
            values.pop(key)
        values["search"].pop("alpha")
        return digest_of_identity(values)

    def digest(self, estimator_version: int) -> str:
        """Return the first eight hex digits of the identity's blake2 hash."""
        return digest_of_identity(self.identity(estimator_version))

    def run_id(self, estimator_version: int) -> str:
        """Return the name of the run's folder."""
        stem = f"{self.estimator.name}-{self.space.name}-{self.preset}-s{self.seed}"
        return f"{stem}-{self.digest(estimator_version)}"


def resolve(
    estimator: str,
    space: str,
    *,
    preset: str = "smoke",
    constraint: str = "none",
    seed: int = 0,
    file: Path | None = None,
    assignments: Iterable[str] = (),
) -> tuple[RunConfig, dict[str, str]]:
    """Return the settings of a run and the source of each value.

    Later layers override earlier ones: defaults, preset, constraint, file, ``--set``.

    Raises:
        ConfigError: A name or a value is wrong, or a key is unknown.
    """
    layers = Layers(RunConfig)
    command = {
        "estimator": {"name": estimator},
        "space": {"name": space},
        "preset": preset,
        "constraint": constraint,
        "seed": seed,
    }
    layers.add(command, "command line")
    content = load_preset(preset)
    of_spaces = content.pop("spaces", {})
    content.pop("about", None)
    layers.add(content, f"preset {preset}")
    layers.add({"space": of_spaces.get(space, {})}, f"preset {preset}")
    chosen = Layers(RunConfig)
    if file is not None:
        chosen.add(read_toml(file), str(file.name))
    for assignment in assignments:
        chosen.set(assignment)
    if "cost.target" in chosen.sources:
        target = chosen.values["cost"]["target"]
        refuse_ambiguous(target)
        if constraint != "none":
            raise ConfigError(
                f"both the level {constraint!r} of constraint and the cost target {target!r} "
                "were given.",
                "A level is a fixed, calibrated eta; a target adapts eta. One would override the "
                "other.",
                "Give --constraint or --target-cost (cost.target).",
            )
    if not {"cost.eta", "cost.target"} & chosen.sources.keys():  # the level is given otherwise
        layers.add(load_constraint(constraint, space, preset), f"constraint {constraint}")
    layers.update(chosen)
    for key in flatten(command):
        if layers.sources[key] != "command line":
            option = key.removesuffix(".name")
            raise ConfigError(
                f"setting {key} was given by {layers.sources[key]}.",
                f"It is part of the run's name, so it is an option: --{option}.",
            )
    return validate(layers.values), layers.sources


def validate(values: Mapping[str, Any]) -> RunConfig:
    """Return checked settings; unknown keys are an error that suggests the nearest one."""
    check_known(flatten(values), RunConfig)
    check_values(flatten(values))
    try:
        return RunConfig(**values)
    except pydantic.ValidationError as error:
        raise config_error(error) from error


def from_toml(text: str) -> RunConfig:
    """Return the settings that :func:`to_toml` wrote; raises :class:`ConfigError`."""
    return recorded(parse_toml(text, "config.toml"))


def recorded(values: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run that has begun; earlier versions had no selection part."""
    child = {"selection_fraction": 0.0, **values.get("child", {})}
    return validate({**values, "child": child})
