"""Which training images do what in a search, and the test images apart from it.

Protocol ``standard``, n training images, validation share v, theta share t:

    search_valid   v n images that only measure the search, the same for every level
    joint          train = the other (1 - v) n images, for theta and alpha
    bi-level       train = t (1 - v) n images for theta, arch = the rest, for alpha

The sets are disjoint and keep the share of every class; they are drawn from the seed and the name
of the data set. A search is handed a `Splits`, which has no test images; `load_test` reads them.

:func:`divide` parts search_valid once more: images that derive rules which compare select by, and
images that every accuracy of the search is reported on.

Protocol ``paper`` validates where the released codes do: a joint search (SNAS) trains on all
training images and validates on the *test* images; a bi-level search (DARTS) validates on the very
half that trains alpha. Both overstate the search accuracy, so the object says it in `label`, which
reports print. Halves are the first and second in stored order, as released, where that order is
independent of the class (CIFAR); elsewhere they are drawn like any other split (a deviation that
matters for trees of class folders only).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.registry import load_part
from nasbench_snas.data.selection import choose_stratified
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.statistics import Statistics, statistics_for
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.seeding import stream

LABEL_STANDARD = "validated on training images held out of the search"
LABEL_PAPER_JOINT = (
    "EXCEPTION, protocol paper: validated on the test images, as the released SNAS code does"
)
LABEL_PAPER_BILEVEL = (
    "EXCEPTION, protocol paper: validated on the images that train alpha, as the released DARTS "
    "code does"
)


@dataclass(frozen=True)
class Split:
    """Some images of a part, by index.

    Attributes:
        name: What they are for: ``train``, ``arch``, ``search_valid`` or ``test``.
        part: The part of the data set that `images` are: ``train`` or ``test``.
        images: uint8 pixels of the whole part, shape `(N, C, H, W)`, shared between splits.
        labels: int64 class numbers of the whole part, shape `(N,)`.
        indices: The images of this split, int64, shape `(M,)`, ascending, on the CPU.
    """

    name: str
    part: str
    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        """Return the number of images in the split."""
        return len(self.indices)

    def gather(self) -> tuple[Tensor, Tensor]:
        """Return images, shape `(M, C, H, W)`, and labels, shape `(M,)`, of this split alone."""
        indices = self.indices.to(self.images.device)
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class Splits:
    """The images of one search; there are no test images in it.

    Attributes:
        dataset: Name of the data set.
        class_names: One name per class.
        protocol: ``standard`` or ``paper``.
        label: What the search accuracy was measured on, for reports to print.
        train: The images that train theta (joint: alpha too).
        arch: The images that train alpha in a bi-level search; None in a joint one.
        search_valid: The images that measure the search.
        statistics: Channel statistics to normalise with.

    Raises:
        DataError: Splits overlap that must not.
    """

    dataset: str
    class_names: tuple[str, ...]
    protocol: str
    label: str
    train: Split
    arch: Split | None
    search_valid: Split
    statistics: Statistics

    def __post_init__(self) -> None:
        """Refuse overlapping splits."""
        pairs = [] if self.arch is None else [(self.train, self.arch)]
        pairs.append((self.train, self.search_valid))
        if self.arch is not None and self.protocol == "standard":
            pairs.append((self.arch, self.search_valid))
        for one, other in pairs:
            if one.part == other.part and bool(torch.isin(one.indices, other.indices).any()):
                raise DataError(
                    f"splits {one.name!r} and {other.name!r} of {self.dataset!r} share images",
                    "expected disjoint sets of images",
                )
        if self.protocol == "standard" and self.search_valid.part != "train":
            raise DataError(
                f"search_valid of {self.dataset!r} is made of {self.search_valid.part} images",
                "protocol standard validates on training images only",
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def is_exception(self) -> bool:
        """Whether the search accuracy is not comparable with that of other runs."""
        return self.protocol != "standard"

    @property
    def fingerprint(self) -> str:
        """Hash of the index sets, their labels, the image size and the class names."""
        content = hashlib.blake2b(digest_size=16)
        head = [self.dataset, self.protocol, self.class_names, self.image_shape]
        content.update(json.dumps(head).encode())
        for split in (self.train, self.arch, self.search_valid):
            if split is None:
                content.update(b"none")
                continue
            indices = split.indices
            content.update(f"{split.name}/{split.part}/{len(split)}".encode())
            content.update(indices.numpy().tobytes())
            content.update(split.labels.cpu()[indices].numpy().tobytes())
        return content.hexdigest()

    def to(self, device: torch.device | str) -> Self:
        """Return the same splits with images and labels on `device`, moved once per part."""
        moved: dict[int, Tensor] = {}

        def move(tensor: Tensor) -> Tensor:
            if id(tensor) not in moved:
                moved[id(tensor)] = tensor.to(device)
            return moved[id(tensor)]

        def place(split: Split) -> Split:
            return replace(split, images=move(split.images), labels=move(split.labels))

        arch = None if self.arch is None else place(self.arch)
        return replace(
            self, train=place(self.train), arch=arch, search_valid=place(self.search_valid)
        )


def load_splits(settings: DataSettings, seed: int, *, bilevel: bool = False) -> Splits:
    """Read the training images and split them for one search.

    Args:
        settings: Which data set, and how to split it.
        seed: Seed of the split; equal seeds give equal splits.
        bilevel: Whether alpha is trained on images of its own.

    Raises:
        DataError: The data are missing or damaged.
        ConfigError: A split would be empty.
    """
    data = load_part(settings, "train")
    if settings.protocol == "paper":
        return _paper_splits(settings, data, seed, bilevel)
    everything = torch.arange(len(data))
    count = round(settings.validation_fraction * len(data))
    valid, rest = choose_stratified(
        data.labels, count, stream(seed, f"data/{data.name}/search_valid")
    )
    train, arch = _theta_and_alpha(settings, data, seed, rest) if bilevel else (rest, None)
    _refuse_empty(settings, train=train, arch=arch, search_valid=valid)
    return _assemble(settings, data, train, arch, _split("search_valid", data, everything[valid]))


def _theta_and_alpha(
    settings: DataSettings, data: ImageSet, seed: int, rest: Tensor
) -> tuple[Tensor, Tensor]:
    count = round(settings.train_fraction * len(rest))
    chosen, others = choose_stratified(
        data.labels[rest], count, stream(seed, f"data/{data.name}/theta")
    )
    return rest[chosen], rest[others]


def _paper_splits(settings: DataSettings, data: ImageSet, seed: int, bilevel: bool) -> Splits:
    everything = torch.arange(len(data))
    if not bilevel:
        test = load_test(settings)
        return _assemble(settings, data, everything, None, replace(test, name="search_valid"))
    if settings.info.shuffled:
        count = int(settings.train_fraction * len(data))
        train, arch = everything[:count], everything[count:]
    else:
        train, arch = _theta_and_alpha(settings, data, seed, everything)
    _refuse_empty(settings, train=train, arch=arch)
    return _assemble(settings, data, train, arch, _split("search_valid", data, arch))


def _refuse_empty(settings: DataSettings, **parts: Tensor | None) -> None:
    for name, indices in parts.items():
        if indices is not None and len(indices) == 0:
            raise ConfigError(
                f"split {name!r} of {settings.dataset!r} would be empty",
                f"validation_fraction is {settings.validation_fraction}, train_fraction "
                f"{settings.train_fraction}, max_train_images {settings.max_train_images}",
                "change them so that every split gets an image",
            )


def _split(name: str, data: ImageSet, indices: Tensor) -> Split:
    return Split(name, data.part, data.images, data.labels, indices)


def _assemble(
    settings: DataSettings, data: ImageSet, train: Tensor, arch: Tensor | None, valid: Split
) -> Splits:
    labels = {
        ("standard", False): LABEL_STANDARD,
        ("standard", True): LABEL_STANDARD,
        ("paper", False): LABEL_PAPER_JOINT,
        ("paper", True): LABEL_PAPER_BILEVEL,
    }
    if valid.images.shape[1:] != data.images.shape[1:]:
        raise DataError(
            f"{settings.dataset!r}: training images have shape {tuple(data.images.shape[1:])}, "
            f"validation images {tuple(valid.images.shape[1:])}",
            "expected one shape",
            "set data.resolution",
        )
    return Splits(
        dataset=settings.dataset,
        class_names=data.class_names,
        protocol=settings.protocol,
        label=labels[settings.protocol, arch is not None],
        train=_split("train", data, train),
        arch=None if arch is None else _split("arch", data, arch),
        search_valid=valid,
        statistics=statistics_for(settings, data.images, train),
    )


def divide(split: Split, fraction: float, seed: int, dataset: str) -> tuple[Split | None, Split]:
    """Divide the search validation images into a part to select by and a part to report on.

    The parts keep the share of every class and depend on seed and data set alone, so that every
    estimator and derive rule is reported on the same images.

    Args:
        split: The search validation images.
        fraction: Share of the selection part; 0: there is none.
        seed: The run's seed.
        dataset: Name of the data set.

    Raises:
        ConfigError: A part would be empty.
    """
    count = round(fraction * len(split))
    if count == 0 and fraction == 0:
        return None, split
    if not 0 < count < len(split):
        raise ConfigError(
            f"child.selection_fraction = {fraction:g} leaves a part of {split.name!r} empty",
            f"it has {len(split)} images",
            "take a larger data.validation_fraction, or child.selection_fraction = 0",
        )
    generator = stream(seed, f"data/{dataset}/selection")
    chosen, rest = choose_stratified(split.labels.cpu()[split.indices], count, generator)
    parts = (("selection", chosen), ("reporting", rest))
    selection, reporting = (
        replace(split, name=name, indices=split.indices[part]) for name, part in parts
    )
    return selection, reporting


def load_test(settings: DataSettings) -> Split:
    """Read the test images: for a finished network, never for a search.

    Raises:
        DataError: The data are missing or damaged, or there are no test images.
    """
    data = load_part(settings, "test")
    return _split("test", data, torch.arange(len(data)))


def load_training(settings: DataSettings) -> tuple[Split, Statistics, int]:
    """Read all training images, to train a derived network from scratch.

    Returns:
        The images, their statistics, and the number of classes of the data set.
    """
    data = load_part(settings, "train")
    everything = torch.arange(len(data))
    statistics = statistics_for(settings, data.images, everything)
    return _split("train", data, everything), statistics, len(data.class_names)
