"""Any tree of image files in torchvision's ImageFolder layout, held in memory.

``root/train/<class>/<image>`` and, optionally, ``root/test/…`` or ``root/val/…`` (``test`` wins
where both exist). Every file is decoded once, as RGB, to the wanted resolution, and kept as uint8;
the result is cached on disk under a hash of the content listing. For trees that do not fit into
memory see `nasbench_snas.data.lazy`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.data import cache
from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.digests import file_state, listing_digest
from nasbench_snas.data.images import ImageSet, resize
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import ConfigError, DataError

# What Pillow raises on damaged files, by format: OSError (most; also unidentified images),
# SyntaxError (PNG), the others from headers that make no sense.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)

_PARTS: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}


@dataclass(frozen=True)
class Listing:
    """The files of one part of a tree.

    Attributes:
        folder: The folder of the part.
        files: Every image file, ordered by class and name.
        labels: The class number of every file.
        class_names: The names of the class folders, sorted.
    """

    folder: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def part_folder(root: Path, part: Part) -> Path:
    """Return the folder of `part` below `root`.

    Raises:
        DataError: There is none.
    """
    for name in _PARTS[part]:
        if (root / name).is_dir():
            return root / name
    wanted = " or ".join(f"{name}/" for name in _PARTS[part])
    raise DataError(
        f"imagefolder: {root} has no {wanted} folder",
        f"expected {root / _PARTS[part][0]}/<class>/<image>",
        "point data.root (--data-root) at the folder that holds train/"
        if part == "train"
        else f"add a folder {_PARTS[part][0]}/ with the same classes as train/",
    )


def list_part(root: Path, part: Part) -> Listing:
    """List the image files of one part, without opening them.

    Raises:
        DataError: No such folder, no classes, a class without images, or test classes that are
            not the training classes.
    """
    from torchvision.datasets import ImageFolder

    folder = part_folder(root, part)
    _check_links(folder)
    try:
        tree = ImageFolder(str(folder))
    except (FileNotFoundError, RuntimeError) as error:
        raise DataError(
            f"imagefolder: {folder} cannot be used: {error}",
            "expected one folder per class, each with at least one image file",
        ) from error
    classes = tuple(tree.classes)
    _check_files(path for path, _ in tree.samples)
    if part == "test":
        _check_classes(root, folder, classes)
    return Listing(
        folder=folder,
        files=tuple(Path(path) for path, _ in tree.samples),
        labels=tuple(label for _, label in tree.samples),
        class_names=classes,
    )


def _check_links(folder: Path) -> None:
    """Refuse links to folders that would count images twice, with other labels even."""
    seen: dict[str, str] = {}
    for current, names, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        inside = next((p for p in (real, *map(str, Path(real).parents)) if p in seen), None)
        if real in seen or (os.path.islink(current) and inside is not None):
            names.clear()
            raise DataError(
                f"imagefolder: {current} leads to {real}, whose images are counted already",
                "expected every folder of images once, under one class",
                "remove the link",
            )
        seen[real] = current


def _check_files(files: Iterable[str]) -> None:
    """Refuse what looks like an image by its name and cannot be read as a file."""
    for file in files:
        if not os.path.isfile(file):
            kind = "leads nowhere" if os.path.islink(file) else "is no regular file"
            raise DataError(
                f"imagefolder: {file} {kind}", "expected image files", "replace or remove it"
            )


def _check_classes(root: Path, folder: Path, classes: tuple[str, ...]) -> None:
    train = tuple(
        sorted(path.name for path in part_folder(root, "train").iterdir() if path.is_dir())
    )
    if train != classes:
        only = sorted(set(train) ^ set(classes))
        raise DataError(
            f"imagefolder: the classes of {folder} are not those of train/",
            f"found in one of the two only: {', '.join(only[:5])}",
            "give both folders the same class folders, so that class numbers agree",
        )


def decode(path: Path, resolution: int | None) -> Tensor:
    """Decode one file as RGB.

    Args:
        path: An image file.
        resolution: Side to resize to, or None to keep the size.

    Returns:
        uint8 pixels, shape `(3, H, W)`.

    Raises:
        DataError: The file is damaged; the message names it.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            pixels = rgb(file, path)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(
            f"imagefolder: {path} cannot be decoded: {error}",
            "expected a whole image file",
            "replace or remove the file",
        ) from error
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return image if resolution is None else resize(image, resolution)


def rgb(file: Any, path: Path) -> np.ndarray[Any, Any]:
    """Return 8-bit RGB pixels; 16-bit grey values are divided by 257, so that 65535 is 255.

    Raises:
        DataError: The values have no range that is known.
    """
    mode = str(file.mode)
    sixteen = mode.startswith("I;16") or (mode == "I" and file.format == "PNG")
    if sixteen:
        grey = np.rint(np.array(file, dtype=np.float64) / 257.0).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode.startswith(("I", "F")):
        raise DataError(
            f"imagefolder: {path} has {'float' if mode[0] == 'F' else '32-bit integer'} values",
            "which of them is black and which white is not known; expected 8 or 16 bits",
            "convert the files, for example to 16-bit PNG with the range that you mean",
        )
    return np.array(file.convert("RGB"))


def decode_all(files: Sequence[Path], resolution: int | None, threads: int) -> Tensor:
    """Decode files in order.

    Args:
        files: Image files.
        resolution: Side to resize to, or None: all files must then have one size.
        threads: Number of threads; the result does not depend on it.

    Returns:
        uint8 pixels, shape `(N, 3, H, W)`.

    Raises:
        DataError: A file is damaged.
        ConfigError: The files differ in size and no resolution is set.
    """
    first = decode(files[0], resolution)
    if first.shape[1] != first.shape[2]:
        raise ConfigError(
            f"imagefolder: {files[0]} has {_size(first)} pixels",
            "networks here take square images",
            "set data.resolution, for example data.resolution = 32",
        )
    images = torch.empty(len(files), *first.shape, dtype=torch.uint8)

    def place(position: int) -> None:
        image = decode(files[position], resolution)
        if image.shape != first.shape:
            raise ConfigError(
                f"imagefolder: {files[position]} has {_size(image)} pixels, "
                f"{files[0]} {_size(first)}",
                "images of different sizes need a common one",
                "set data.resolution, for example data.resolution = 32",
            )
        images[position] = image

    with ThreadPoolExecutor(max(1, threads)) as pool:
        futures = [pool.submit(place, position) for position in range(len(files))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return images


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def cache_file(settings: DataSettings, listing: Listing) -> tuple[Path, str]:
    """Return where the decoded images of `listing` are kept, and the key they are kept under."""
    content: list[object] = [listing_digest(settings, listing)]
    if settings.fingerprint == "listing":  # here a copy that kept its times is told apart
        content += [file_state(file) for file in listing.files]
    key = cache.content_key(settings.resolution, content)
    return settings.cache_folder / "imagefolder" / f"{key}.pt", key


def load(settings: DataSettings, part: Part) -> ImageSet:
    """Return the images of one part, shape `(N, 3, H, W)`, from the cache where there is one.

    Raises:
        DataError: The tree does not fit, or a file is damaged.
        ConfigError: The files differ in size and no resolution is set.
    """
    listing = list_part(settings.data_root, part)
    path, key = cache_file(settings, listing)
    cached = cache.read(path, key)
    if cached is None:
        images = decode_all(listing.files, settings.resolution, settings.workers)
        labels = torch.tensor(listing.labels, dtype=torch.int64)
        cache.write(path, key, images, labels)
    else:
        images, labels = cached
    return ImageSet(
        name="imagefolder",
        part=part,
        images=images,
        labels=labels,
        class_names=listing.class_names,
        licence=CATALOGUE["imagefolder"].licence,
        source=str(listing.folder),
    )
