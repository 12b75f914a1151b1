"""What data sets there are: names, sizes, licences, and where their loaders live.

This module imports neither torch nor numpy, so that ``nasbench data list``, ``--help`` and shell
completion stay fast. The loaders themselves are named as ``"module:function"`` and imported by
`nasbench_snas.data.registry` when a data set is read.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

ROOT_VARIABLE = "NASBENCH_DATA"
CACHE_VARIABLE = "NASBENCH_CACHE"

Part = Literal["train", "test"]
"""A part of a data set, fixed by its makers."""

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of a data set before it is read.

    Attributes:
        name: The name used in settings and on the command line.
        summary: One line for people.
        loader: ``"module:function"``; the function is called as ``load(settings, part)``.
        classes: Number of classes, or None when the files decide.
        train_images: Number of training images, or None when the files or settings decide.
        test_images: Number of test images, or None when the files or settings decide.
        shape: ``(channels, height, width)`` of the stored images, or None.
        flip: Whether a mirrored image keeps its class, so that flipping is a sound default.
        shuffled: Whether the stored order is independent of the class, so that "the first half"
            is a fair half (the protocol ``paper`` needs to know).
        download: Whether ``nasbench data prepare`` can fetch it.
        licence: Terms of use, as far as the source states them.
        source: Where it comes from.
        mean: Channel means of the training images in [0, 1] at the stored size, where well known.
        std: Channel standard deviations, as `mean`.
    """

    name: str
    summary: str
    loader: str
    flip: bool
    shuffled: bool
    licence: str
    source: str
    classes: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    shape: tuple[int, int, int] | None = None
    download: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


_PACKAGE = "nasbench_snas.data"
_CIFAR_LICENCE = (
    "no licence stated by the authors; cite Krizhevsky, Learning Multiple Layers of Features from "
    "Tiny Images, 2009"
)
_CIFAR_SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html, in torchvision's on-disk format"


def _cifar(classes: int, mean: tuple[float, ...], std: tuple[float, ...]) -> DatasetInfo:
    """Return what is known of CIFAR-10 or CIFAR-100: they differ in classes and statistics."""
    return DatasetInfo(
        name=f"cifar{classes}",
        summary=f"CIFAR-{classes}, 32x32 colour photographs in {classes} classes",
        loader=f"{_PACKAGE}.cifar:load",
        classes=classes,
        train_images=50_000,
        test_images=10_000,
        shape=(3, 32, 32),
        flip=True,
        shuffled=True,
        download=True,
        licence=_CIFAR_LICENCE,
        source=_CIFAR_SOURCE,
        mean=mean,
        std=std,
    )


_INFOS = (
    DatasetInfo(
        name="digits",
        summary="handwritten digits, 8x8 grey, embedded in scikit-learn: nothing to fetch",
        loader=f"{_PACKAGE}.digits:load",
        classes=10,
        train_images=1437,
        test_images=360,
        shape=(1, 8, 8),
        flip=False,
        shuffled=False,
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        source=(
            "sklearn.datasets.load_digits: test part of Optical Recognition of Handwritten "
            "Digits, doi:10.24432/C50P49"
        ),
    ),
    _cifar(
        10,
        mean=(0.49139968, 0.48215841, 0.44653091),
        std=(0.24703223, 0.24348513, 0.26158784),
    ),
    _cifar(
        100,
        mean=(0.50707516, 0.48654887, 0.44091784),
        std=(0.26733429, 0.25643846, 0.27615047),
    ),
    DatasetInfo(
        name="imagefolder",
        summary="any tree of train/<class>/<image> and, optionally, test/ or val/",
        loader=f"{_PACKAGE}.imagefolder:load",
        flip=True,
        shuffled=False,
        licence="that of the files in the tree",
        source="the folder given as root",
    ),
    DatasetInfo(
        name="fake",
        summary="made from a seed, with classes that can be learnt: for tests only",
        loader=f"{_PACKAGE}.fake:load",
        flip=False,
        shuffled=True,
        licence="none needed",
        source="computed",
    ),
)

CATALOGUE: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _INFOS})


def list_datasets() -> tuple[DatasetInfo, ...]:
    """Return what is known of every data set, in the order of the catalogue."""
    return tuple(CATALOGUE.values())


def default_root() -> Path:
    """Return the folder that holds data sets: ``$NASBENCH_DATA``, or ``./data``."""
    return Path(os.environ.get(ROOT_VARIABLE) or "data")


def default_cache_dir() -> Path:
    """Return the folder for decoded images.

    ``$NASBENCH_CACHE``, or else ``nasbench-snas`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nasbench-snas"


def prepare_command(name: str, root: Path) -> str:
    """Return the command that fetches data set `name` into `root`."""
    return f"nasbench data prepare {name} --root {shlex.quote(str(root))}"
