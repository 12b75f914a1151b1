"""Settings of a retraining: a derived network trained from scratch (Tables 2 and 3).

The defaults are those of section 3.2 of SNAS (arXiv:1812.09926), which are DARTS's: 20 cells, 36
channels, 600 epochs of SGD, batch 96, cosine from 0.025 to 0, cutout 16, path dropout growing to
0.2, an auxiliary head of weight 0.4. The preset ``imagenet`` has those of section 3.3. Imports no
torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.registry import Kind
from nasbench_snas.settings.layers import check_known, flatten
from nasbench_snas.settings.parameters import PartOfPath, config_error
from nasbench_snas.settings.run import Choice, digest_of_identity
from nasbench_snas.settings.toml import parse_toml
from nasbench_snas.settings.values import check_values

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_PREFIX = "retrain-"

_CHOSEN = (
    *("genotype", "seed", "space", "data.dataset", "data.parameters", "data.fake"),
    *("data.content", "data.fingerprint"),
    *("network.skeleton", "network.auxiliary_skip"),
    *("training.amp", "training.eval_batch_size", "training.sync_batchnorm"),
)
"""What a retraining chooses without leaving its preset."""

Selection = Literal["each seed", "best of n"]


class NetworkSettings(BaseModel):
    """How the network is built from the genotype."""

    model_config = _STRICT

    skeleton: Literal["auto", "cifar", "imagenet", "space"] = Field(
        default="auto",
        description="cifar and imagenet: the published evaluation networks; space: the search "
        "network's own skeleton, at the sizes under [space]; auto: cifar where the genotype has "
        "normal and reduce cells, else space.",
    )
    channels: int = Field(default=36, ge=1, description="Channels of the first cell's nodes.")
    cells: int = Field(default=20, ge=1, description="Cells (cifar and imagenet).")
    stem_multiplier: int = Field(
        default=3, ge=1, description="Channels of the cifar stem, in multiples of channels."
    )
    auxiliary: float = Field(
        default=0.4,
        ge=0,
        description="Weight of the auxiliary head behind the second reduction; 0: no head.",
    )
    auxiliary_norm: bool = Field(
        default=True,
        description="ImageNet: batch norm behind the head's last convolution (SNAS code).",
    )
    pool_norm: bool = Field(
        default=False, description="Batch norm behind pooling (the released SNAS code)."
    )
    dropped_nodes: Literal["keep", "remove"] = Field(
        default="keep", description="Nodes without input stay as zero maps, or are removed."
    )
    auxiliary_skip: bool = Field(
        default=False,
        description="Auxiliary skip connection beside every edge; from the search, where its space "
        "has them.",
    )
    max_macs: float | None = Field(
        default=None,
        gt=0,
        description="Largest number of multiply-adds (600e6: the mobile setting); unset: any.",
    )


class TrainingSettings(BaseModel):
    """How the network is trained."""

    model_config = _STRICT

    epochs: int = Field(default=600, ge=1, description="Passes over the training images.")
    batch_size: int = Field(default=96, ge=1, description="Images of a step, over all processes.")
    eval_batch_size: int = Field(default=256, ge=1, description="Images of an evaluation pass.")
    lr: float = Field(default=0.025, gt=0, description="Learning rate at the start.")
    lr_min: float = Field(default=0.0, ge=0, description="Learning rate at the end (cosine).")
    schedule: Literal["cosine", "exponential"] = Field(
        default="cosine", description="How the learning rate falls, epoch by epoch."
    )
    decay: float = Field(
        default=0.97, gt=0, le=1, description="Factor of every epoch (exponential)."
    )
    warmup_epochs: int = Field(
        default=0, ge=0, description="Epochs in which the learning rate grows linearly to lr."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum.")
    nesterov: bool = Field(default=False, description="Nesterov momentum.")
    weight_decay: float = Field(default=3e-4, ge=0, description="L2 penalty.")
    clip: float = Field(default=5.0, ge=0, description="Largest gradient norm; 0: unlimited.")
    drop_path: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Probability of dropping an edge for an image at the end; grows from 0.",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing.")
    sync_batchnorm: bool = Field(
        default=False,
        description="Several processes: batch norms use the statistics of the global batch.",
    )
    amp: Literal["off", "bf16", "fp16"] = Field(
        default="off", description="Autocast of the network; fp16 scales the gradients."
    )
    test_every: int = Field(
        default=0,
        ge=0,
        description="Epochs between looks at the test images, for curves only (the result is the "
        "last epoch's in any case); 0: at the end only.",
    )


class SpeedSettings(BaseModel):
    """What changes the speed, and results by no more than rounding."""

    model_config = _STRICT

    channels_last: bool = Field(default=False, description="Memory layout of images and weights.")
    compile: str = Field(
        default="off", description="torch.compile's backend, for example inductor; off: none."
    )
    placement: Literal["auto", "device", "host"] = Field(
        default="auto",
        description="Where the images are held; auto: on the device if they fit.",
    )
    prefetch: bool = Field(
        default=True, description="Prepare the next batch while the device is busy (host, lazy)."
    )


class RetrainConfig(BaseModel):
    """Everything that decides the result of one retraining."""

    model_config = _STRICT

    name: PartOfPath = Field(description="Run or genotype that is retrained.")
    parent: str = Field(default="", description="Id of the search it comes from; empty: none.")
    genotype: str = Field(description="The cells, as JSON text.")
    space: Choice | None = Field(
        default=None, description="The search space (skeleton space only)."
    )
    preset: PartOfPath = Field(
        default="smoke", description="Preset that the settings started from."
    )
    stage: Literal["retrain", "transfer"] = Field(
        default="retrain",
        description="transfer: on other images than the search's, or by the ImageNet recipe.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of this training.")
    selection: Selection = Field(
        default="each seed",
        description="best of n: the search was chosen among several seeds by search validation.",
    )
    candidates: tuple[str, ...] = Field(
        default=(), description="The searches it was chosen among, with their search accuracy."
    )
    data: DataSettings = Field(default_factory=DataSettings, description="Images.")
    network: NetworkSettings = Field(default_factory=NetworkSettings, description="Network.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="Training.")
    speed: SpeedSettings = Field(default_factory=SpeedSettings, description="Speed.")
    checkpoint_seconds: float = Field(
        default=120.0, ge=0, description="Seconds between checkpoints within an epoch."
    )

    def plugins(self) -> list[tuple[Kind, str]]:
        """Return kind and name of everything that may be a plug-in."""
        space: list[tuple[Kind, str]] = [] if self.space is None else [("space", self.space.name)]
        return [*space, ("dataset", self.data.dataset)]

    def training_identity(self) -> dict[str, Any]:
        """Return what decides the trained weights, as plain JSON values."""
        outside = {"name", "parent", "preset", "stage", "selection", "candidates", "speed"}
        values = self.model_dump(mode="json", exclude={*outside, "checkpoint_seconds"})
        values["data"] = self.data.identity()
        values["training"].pop("test_every")
        values["network"].pop("max_macs")
        if not self.network.auxiliary_skip:
            values["network"].pop("auxiliary_skip")
        if not self.training.sync_batchnorm:
            values["training"].pop("sync_batchnorm")
        return values

    def identity(self) -> dict[str, Any]:
        """Return the training's identity, whose network it is, and how it was chosen."""
        own = {"name": self.name, "parent": self.parent, "selection": self.selection}
        chosen = {"candidates": list(self.candidates)} if self.candidates else {}
        return {**self.training_identity(), **own, **chosen}

    def training_digest(self) -> str:
        """Return a hash of the training's identity: equal for equal weights."""
        return digest_of_identity(self.training_identity())

    def setting(self) -> str:
        """Return a hash of what compared retrainings must share: all but cells and seed."""
        values = self.training_identity()
        for key in ("genotype", "seed"):
            values.pop(key)
        return digest_of_identity(values)

    def digest(self) -> str:
        """Return the first eight hex digits of the identity's blake2 hash."""
        return digest_of_identity(self.identity())

    def run_id(self) -> str:
        """Return the name of the run's folder."""
        return f"{self.name}-r{self.seed}-{self.digest()}"


def retrain_presets() -> list[str]:
    """Return the names of the retraining presets, from least to most work."""
    folder = resources.files("nasbench_snas.settings.presets")
    names = [f.name for f in folder.iterdir() if f.name.startswith(_PREFIX)]
    found = {name.removeprefix(_PREFIX).removesuffix(".toml") for name in names}
    order = ("smoke", "small", "paper", "imagenet")
    return [name for name in order if name in found] + sorted(found - set(order))


def load_retrain_preset(name: str) -> dict[str, Any]:
    """Return the retraining preset ``name`` as nested settings; its ``about`` is kept.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in retrain_presets():
        raise ConfigError(f"unknown retraining preset {name!r}.", suggest(name, retrain_presets()))
    file = resources.files("nasbench_snas.settings.presets").joinpath(f"{_PREFIX}{name}.toml")
    return tomllib.loads(file.read_text("utf-8"))


def validate_retraining(values: Mapping[str, Any]) -> RetrainConfig:
    """Return checked settings; unknown keys are an error that suggests the nearest one.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type.
    """
    check_known(flatten(values), RetrainConfig)
    check_values(flatten(values))
    try:
        return RetrainConfig(**values)
    except pydantic.ValidationError as error:
        raise config_error(error) from error


def changed_settings(config: RetrainConfig) -> list[str]:
    """Return the settings that decide the weights and are not those of the preset, by dotted key.

    Cells, seed, data set and precision are chosen, and so are the channels of the ImageNet recipe,
    which the mobile limit decides.
    """
    content = load_retrain_preset(config.preset)
    content.pop("about", None)
    plain = validate_retraining({**content, "name": "preset", "genotype": ""})
    own, preset = (flatten(c.training_identity()) for c in (config, plain))
    chosen = _CHOSEN + (("network.channels",) if config.network.skeleton == "imagenet" else ())
    return [
        key
        for key in sorted({*own, *preset})
        if own.get(key) != preset.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in chosen)
    ]


def retraining_from_toml(text: str) -> RetrainConfig:
    """Return the settings in a retraining's ``config.toml``.

    Raises:
        ConfigError: The text is damaged.
    """
    return validate_retraining(parse_toml(text, "config.toml"))
