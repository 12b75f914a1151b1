"""Settings of a search: one frozen model, its layers (defaults, preset, file, ``--set``), its
identity.

Every value knows where it came from, and the resolved ``config.toml`` of a run says so behind each
line. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from nasbench_snas.cost.settings import CostSettings
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.settings.parameters import config_error

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Choice(BaseModel):
    """A plug-in by name and its own settings (checked by the plug-in)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="Key in the registry.")

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
    theta: ThetaSettings = Field(default_factory=ThetaSettings, description="Network weights.")
    alpha: AlphaSettings = Field(default_factory=AlphaSettings, description="Architecture.")


class ChildSettings(BaseModel):
    """Validation of derived children without retraining."""

    model_config = _STRICT

    samples: int = Field(default=8, ge=1, description="Architectures for each sampled view.")
    recalibration_images: int = Field(
        default=1024,
        ge=1,
        description="Training images for recalibrating batch-norm statistics.",
    )


class RunConfig(BaseModel):
    """Everything that decides the result of one search."""

    model_config = _STRICT

    estimator: Choice = Field(description="The gradient estimator.")
    space: Choice = Field(description="The search space.")
    preset: str = Field(default="smoke", description="Preset that the settings started from.")
    constraint: Literal["none", "mild", "moderate", "aggressive"] = Field(
        default="none", description="Level of resource constraint (calibrated eta)."
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything that is random.")
    data: DataSettings = Field(default_factory=DataSettings, description="Images.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="Search loop.")
    cost: CostSettings = Field(default_factory=CostSettings, description="Resource term.")
    child: ChildSettings = Field(default_factory=ChildSettings, description="Child validation.")
    checkpoint_seconds: float = Field(
        default=60.0, ge=0, description="Seconds between checkpoints within an epoch."
    )

    def identity(self, estimator_version: int) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values."""
        values = self.model_dump(mode="json", exclude={"preset", "checkpoint_seconds"})
        for plugin in ("estimator", "space"):  # unset is the same as absent, as in config.toml
            values[plugin] = {k: v for k, v in values[plugin].items() if v is not None}
        values["data"] = self.data.identity()
        values["search"].pop("track_gradients", None)
        if not self.search.sync_batchnorm:
            values["search"].pop("sync_batchnorm")
        values["estimator_version"] = estimator_version
        return values

    def comparison(self) -> str:
        """Return a hash of what compared runs must share: all but estimator and seed."""
        values = self.identity(0)
        for key in ("estimator", "estimator_version", "seed"):
            values.pop(key)
        values["search"].pop("alpha")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def digest(self, estimator_version: int) -> str:
        """Return the first eight hex digits of the identity's blake2 hash."""
        text = json.dumps(self.identity(estimator_version), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def run_id(self, estimator_version: int) -> str:
        """Return the name of the run's folder."""
        stem = f"{self.estimator.name}-{self.space.name}-{self.preset}-s{self.seed}"
        return f"{stem}-{self.digest(estimator_version)}"


class Layers:
    """Nested settings merged from several sources, remembering where each value came from.

    Args:
        model: The settings whose keys are known; None: those of a search.

    Attributes:
        values: The merged nested dictionary.
        sources: Source of each dotted key.
    """

    def __init__(self, model: type[BaseModel] | None = None) -> None:
        self._model = model or RunConfig
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], source: str) -> None:
        """Let ``values`` (nested) override what is there.

        Raises:
            ConfigError: A key is unknown, or belongs on the command line.
        """
        check_known(flatten(values), self._model)
        for key, value in flatten(values).items():
            target = self.values
            *parents, last = key.split(".")
            for parent in parents:
                target = target.setdefault(parent, {})
                if not isinstance(target, dict):
                    raise ConfigError(f"setting {key}: {parent!r} is a value, not a group.")
            target[last] = value
            self.sources[key] = source

    def set(self, assignment: str) -> None:
        """Apply ``KEY=VALUE``, the value in TOML syntax or bare text.

        Raises:
            ConfigError: There is no ``=``.
        """
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {assignment!r} is not KEY=VALUE.", fix="Example: --set search.epochs=5"
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        nested: dict[str, Any] = {}
        target = nested
        *parents, last = key.strip().split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        self.add(nested, "--set")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested ``values`` by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file; :class:`ConfigError` if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def preset_names() -> list[str]:
    """Return the names of the presets, from least to most work."""
    folder = resources.files("nasbench_snas.settings.presets")
    found = {f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")}
    found = {name for name in found if not name.startswith("retrain-")} - {"constraints"}
    order = ("smoke", "small", "paper")
    return [name for name in order if name in found] + sorted(found - set(order))


def load_preset(name: str) -> dict[str, Any]:
    """Return the preset ``name`` as nested settings; its ``spaces`` and ``about`` are kept."""
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}.", suggest(name, preset_names()))
    text = (
        resources.files("nasbench_snas.settings.presets")
        .joinpath(f"{name}.toml")
        .read_text("utf-8")
    )
    return tomllib.loads(text)


def load_constraint(constraint: str, space: str, preset: str) -> dict[str, Any]:
    """Return the cost settings of a calibrated level; empty for ``none``.

    Raises:
        ConfigError: The level has not been calibrated for this space and preset.
    """
    if constraint == "none":
        return {}
    file = resources.files("nasbench_snas.settings.presets").joinpath("constraints.toml")
    table = tomllib.loads(file.read_text("utf-8"))
    values = table.get(space, {}).get(preset, {}).get(constraint)
    if values is None:
        known = [f"{s}/{p}/{c}" for s, ps in table.items() for p, cs in ps.items() for c in cs]
        raise ConfigError(
            f"constraint {constraint!r} is not calibrated for {space!r} with preset {preset!r}.",
            f"Known: {', '.join(known)}",
            "Find eta with `nasbench calibrate`, then pass --set cost.eta=…",
        )
    return {"cost": values}


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
    layers = Layers()
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
    layers.add(load_constraint(constraint, space, preset), f"constraint {constraint}")
    if file is not None:
        layers.add(read_toml(file), str(file.name))
    for assignment in assignments:
        layers.set(assignment)
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
    check_known(flatten(values))
    try:
        return RunConfig(**values)
    except pydantic.ValidationError as error:
        raise config_error(error) from error


def check_known(keys: Iterable[str], model: type[BaseModel] = RunConfig) -> None:
    """Raise a :class:`ConfigError` with a suggestion for the first unknown dotted key.

    The settings of estimator and space are checked by the plug-ins themselves.
    """
    known = set(flatten_fields(model))
    for key in keys:
        if key not in known and not key.startswith(("estimator.", "space.")):
            raise ConfigError(f"unknown setting {key!r}.", suggest(key, known))


def flatten_fields(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return the description of every setting of ``model`` by dotted key."""
    fields: dict[str, str] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields.update(flatten_fields(annotation, f"{prefix}{name}."))
        else:
            fields[f"{prefix}{name}"] = field.description or ""
    return fields


def to_toml(config: BaseModel, sources: Mapping[str, str]) -> str:
    """Return TOML text of all settings, a comment behind each line naming its source.

    Unset (None) values are written as comments.
    """
    lines: list[str] = []
    _write_table(config.model_dump(mode="json"), sources, "", lines)
    return "\n".join(lines) + "\n"


def _write_table(
    values: Mapping[str, Any], sources: Mapping[str, str], prefix: str, lines: list[str]
) -> None:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if key in tables:
            continue
        source = sources.get(f"{prefix}{key}", "default")
        if value is None:
            lines.append(f"# {key} is unset  # {source}")
        else:
            text = tomli_w.dumps({key: value}).strip()
            parts = " ".join(part.strip() for part in text.splitlines())
            lines.append(f"{parts}  # {source}")
    for key, table in tables.items():
        lines.append(f"\n[{prefix}{key}]")
        _write_table(table, sources, f"{prefix}{key}.", lines)


def from_toml(text: str) -> RunConfig:
    """Return the settings that :func:`to_toml` wrote; raises :class:`ConfigError`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config.toml is damaged: {error}") from error
    return validate(values)
