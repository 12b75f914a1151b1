"""CIFAR-10 and CIFAR-100 in torchvision's own on-disk format.

Reading never downloads. `prepare` does, when it is asked to. The archives are the ones that
torchvision names, and torchvision's MD5 sums decide whether they are whole.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasbench_snas.data.catalogue import CATALOGUE, prepare_command
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.plain_pickle import read_plain
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import DataError

_TIMEOUT_SECONDS = 60.0


def reader(name: str) -> Any:
    """Return torchvision's class that reads `name` (``cifar10`` or ``cifar100``)."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def files(name: str, root: Path) -> list[tuple[Path, str]]:
    """Return every file that torchvision needs under `root`, with its MD5 sum."""
    source = reader(name)
    folder = root / source.base_folder
    listed = [*source.train_list, *source.test_list]
    listed.append((source.meta["filename"], source.meta["md5"]))
    return [(folder / file, md5) for file, md5 in listed]


def load(settings: DataSettings, part: Part) -> ImageSet:
    """Return the training (50,000) or test (10,000) images, shape `(N, 3, 32, 32)`.

    Raises:
        DataError: The files are missing or damaged; the message names the command that fetches
            them.
    """
    name, root = settings.dataset, settings.data_root
    if settings.checksums == "any":
        return _load_any(name, root, part)
    try:
        source = reader(name)(str(root), train=part == "train", download=False)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(name, root) from error
    info = CATALOGUE[name]
    pixels = torch.from_numpy(np.ascontiguousarray(source.data.transpose(0, 3, 1, 2)))
    return ImageSet(
        name=name,
        part=part,
        images=pixels,
        labels=torch.tensor(source.targets, dtype=torch.int64),
        class_names=tuple(source.classes),
        licence=info.licence,
        source=info.source,
    )


def _load_any(name: str, root: Path, part: Part) -> ImageSet:
    """Return the images of files in the format of `name`, whatever they hold."""
    source, info = reader(name), CATALOGUE[name]
    folder = root / source.base_folder
    names = read_plain(folder / source.meta["filename"]).get(source.meta["key"], [])
    names = [text.decode() if isinstance(text, bytes) else str(text) for text in names]
    pixels, labels = [], []
    for file, _ in source.train_list if part == "train" else source.test_list:
        content = read_plain(folder / file)
        data = np.asarray(content.get("data"))
        found = np.asarray(content.get("labels", content.get("fine_labels", [])), dtype=np.int64)
        good = data.dtype == np.uint8 and data.shape == (len(found), 3072)
        if not good or not all(0 <= label < len(names) for label in found):
            raise DataError(
                f"{folder / file} is not in the format of {name}: data {data.dtype} "
                f"{data.shape}, {len(found)} labels of {len(names)} classes",
                "expected data as uint8 of shape (n, 3072), and n labels that number the classes",
            )
        pixels.append(data.reshape(-1, 3, 32, 32))
        labels.append(found)
    return ImageSet(
        name=name,
        part=part,
        images=torch.from_numpy(np.concatenate(pixels)),
        labels=torch.from_numpy(np.concatenate(labels)),
        class_names=tuple(names),
        licence=info.licence,
        source=f"files in {name}'s format, not verified",
    )


def _unreadable(name: str, root: Path) -> DataError:
    missing = [path for path, _ in files(name, root) if not path.exists()]
    if missing:
        what = f"{name} is not in {root}: {missing[0]} does not exist"
    else:
        what = f"{name} in {root} is damaged: a file differs from its known checksum"
    other = "" if missing else ", or take the files as they are: --set data.checksums=any"
    return DataError(
        what,
        "expected torchvision's on-disk format, every file with its known checksum",
        f"run: {prepare_command(name, root)}{other}",
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound every wait for the network, so that a dead link cannot hang the command."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def prepare(name: str, root: Path) -> None:
    """Download `name` into `root` through torchvision, unless it is there and whole.

    Raises:
        DataError: The download failed, or `root` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(_TIMEOUT_SECONDS):
            reader(name)(str(root), train=True, download=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"{name} could not be fetched into {root}: {type(error).__name__}: {error}",
            f"expected to download {reader(name).url} and to write to {root}",
            "connect to the internet and repeat the command, or put the archive "
            f"{reader(name).filename} into {root} by hand and repeat it; without the "
            "internet, --dataset digits needs no download",
        ) from error
