"""Frozen settings of the data: which images, how they are split, how they are augmented.

The defaults split the training images of any data set into a part for the network weights and a
part that only measures the search; the test images are outside every search. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from nasbench_snas.data.catalogue import CATALOGUE, DatasetInfo, default_cache_dir, default_root
from nasbench_snas.data.catalogue import Part as Part
from nasbench_snas.data.own import Source
from nasbench_snas.errors import PluginError, suggest

Protocol = Literal["standard", "paper"]


class AugmentSettings(BaseModel):
    """How training images are varied; evaluation only normalises."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pad: int | None = Field(
        default=None,
        ge=0,
        description="Zero pixels added to every side before a random crop back to the old size; "
        "unset: one eighth of the image side (4 at 32x32).",
    )
    flip: bool | None = Field(
        default=None,
        description="Mirror every second image left to right, at random; unset: only where a "
        "mirrored image keeps its class (not for digits).",
    )
    cutout: int = Field(
        default=0,
        ge=0,
        description="Side of the square set to zero after normalising, in pixels, at most half "
        "of the image side (16 at 32x32); 0: none.",
    )
    normalise: bool = Field(
        default=True,
        description="Subtract the channel means and divide by the standard deviations.",
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        description="Channel means in [0, 1]; unset: known constants, or computed from the "
        "training split.",
    )
    std: tuple[float, ...] | None = Field(
        default=None, description="Channel standard deviations; set together with mean."
    )

    @model_validator(mode="after")
    def _mean_goes_with_std(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ValueError("mean and std must have one number per channel each")
            if min(self.std, default=0.0) <= 0:
                raise ValueError("std must be positive")
        return self


_LARGEST_FAKE = 2**32


class FakeSettings(BaseModel):
    """Size and difficulty of the data set ``fake``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    train_images: int = Field(default=512, ge=1, description="Number of training images.")
    test_images: int = Field(default=128, ge=1, description="Number of test images.")
    classes: int = Field(default=10, ge=2, description="Number of classes.")
    channels: int = Field(default=3, ge=1, description="Number of colour channels.")
    size: int = Field(default=8, ge=4, description="Side of the square images, in pixels.")
    noise: float = Field(
        default=24.0, ge=0, description="Standard deviation of the pixel noise, of 255."
    )
    seed: int = Field(default=0, ge=0, description="Seed that the images are made from.")

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        size = max(self.train_images, self.test_images) * self.channels * self.size**2
        if size > _LARGEST_FAKE:
            raise ValueError(f"the images have {size:.3g} bytes, more than {_LARGEST_FAKE:.3g}")
        return self


class DataSettings(BaseModel):
    """Everything that decides which images a run sees.

    Of a data set that is a plug-in, settings that are read say the name alone; :meth:`with_own`
    gives them its images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str = Field(
        default="digits",
        min_length=1,
        description="Name of the data set, see `nasbench data list`, or of a plug-in.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a data set that is a plug-in."
    )
    root: Path | None = Field(
        default=None,
        description="Folder that holds the data; unset: $NASBENCH_DATA, or ./data. For "
        "imagefolder the folder that holds train/.",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Folder for decoded images of imagefolder; unset: $NASBENCH_CACHE, or the "
        "user's cache folder.",
    )
    resolution: int | None = Field(
        default=None,
        ge=4,
        description="Side that images are resized to when read, in pixels; unset: as stored.",
    )
    protocol: Protocol = Field(
        default="standard",
        description="standard: search_valid is held out of the training images. paper: validate "
        "where the released codes do, a labelled exception (joint search: on the test images; "
        "bi-level search: on the half that trains alpha).",
    )
    validation_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the training images held out as search_valid (protocol standard).",
    )
    train_fraction: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Bi-level search: share of the remaining images that trains the network "
        "weights theta; the rest trains alpha.",
    )
    max_train_images: int | None = Field(
        default=None,
        ge=1,
        description="Use at most so many training images, the same ones for every seed, "
        "balanced over the classes; unset: all.",
    )
    max_test_images: int | None = Field(
        default=None, ge=1, description="As max_train_images, for the test images."
    )
    lazy: bool = Field(
        default=False,
        description="imagefolder only: decode images when they are needed instead of holding "
        "them in memory, with the ImageNet augmentation; for retraining on large trees.",
    )
    workers: int = Field(
        default=2,
        ge=0,
        description="Processes of the lazy loader, and threads that decode an imagefolder.",
    )
    fingerprint: Literal["content", "listing"] = Field(
        default="content",
        description="imagefolder: what tells images apart. content: the bytes of every file, read "
        "once. listing: names, sizes and times only, weaker, for trees above 10 GB.",
    )
    checksums: Literal["known", "any"] = Field(
        default="known",
        description="CIFAR. known: the published files only, by their MD5 sums. any: files of the "
        "same format with other contents (pickled again, or fewer images); their fingerprint is "
        "part of the run.",
    )
    content: str | None = Field(
        default=None,
        description="Fingerprint of the images, filled in when a run is planned; unset: not "
        "recorded (runs of earlier versions).",
    )
    augment: AugmentSettings = Field(
        default_factory=AugmentSettings, description="How training images are varied."
    )
    fake: FakeSettings = Field(
        default_factory=FakeSettings, description="Size of the data set fake."
    )
    _own: Source | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _lazy_needs_files(self) -> Self:
        if self.checksums == "any" and self.dataset not in ("cifar10", "cifar100"):
            raise ValueError(f"checksums = 'any' is for cifar10 and cifar100, not {self.dataset!r}")
        if self.lazy and self.dataset != "imagefolder":
            raise ValueError(f"lazy = true needs dataset = 'imagefolder', not {self.dataset!r}")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the images, as plain JSON values: no paths, no number of workers.

        What was not recorded is left out, so that runs of earlier versions keep their names.
        """
        values = self.model_dump(mode="json", exclude={"root", "cache_dir", "workers"})
        if self.content is None:
            values.pop("content")
        if self.fingerprint == "content":
            values.pop("fingerprint")
        if self.checksums == "known":
            values.pop("checksums")
        if not self.parameters:
            values.pop("parameters")
        return values

    @property
    def is_built_in(self) -> bool:
        """Whether the data set comes with the suite."""
        return self.dataset in CATALOGUE

    def with_own(self, own: Source, parameters: dict[str, Any]) -> Self:
        """Return the settings with the images of a plug-in, and its settings written out."""
        bound = self.model_copy(update={"parameters": parameters})
        bound._own = own
        return bound

    @property
    def source(self) -> Source | None:
        """The images of a plug-in where :meth:`with_own` gave them."""
        return self._own

    @property
    def own(self) -> Source | None:
        """The images of a plug-in; None of a built-in data set.

        Raises:
            PluginError: The data set is neither built in nor was its plug-in given.
        """
        if self._own is None and not self.is_built_in:
            raise PluginError(
                f"data set {self.dataset!r} is not built in, and its plug-in was not given.",
                suggest(self.dataset, CATALOGUE),
                "Give it with --plugin FILE|MODULE or NASBENCH_PLUGINS, or install its package.",
            )
        return self._own

    @property
    def info(self) -> DatasetInfo:
        """What is known of the data set before it is read; raises as :attr:`own`."""
        return CATALOGUE[self.dataset] if self.own is None else self.own.info

    @property
    def declared_sizes(self) -> tuple[int, int, int] | None:
        """Channels, classes and side of the images; None where only files or plug-ins know."""
        if not self.is_built_in and self._own is None:
            return None
        if self.dataset == "fake":
            return self.fake.channels, self.fake.classes, self.resolution or self.fake.size
        if self.info.shape is None or self.info.classes is None:
            return None
        return self.info.shape[0], self.info.classes, self.resolution or self.info.shape[1]

    @property
    def declared_train_images(self) -> int | None:
        """Training images that are used; None where only files or plug-ins know."""
        count = self.fake.train_images if self.dataset == "fake" else self.info.train_images
        return None if count is None else min(count, self.max_train_images or count)

    @property
    def data_root(self) -> Path:
        """The folder to read from: `root`, or the default one."""
        return self.root if self.root is not None else default_root()

    @property
    def cache_folder(self) -> Path:
        """The folder for decoded images: `cache_dir`, or the default one."""
        return self.cache_dir if self.cache_dir is not None else default_cache_dir()
