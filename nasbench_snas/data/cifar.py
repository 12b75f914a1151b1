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


def _unreadable(name: str, root: Path) -> DataError:
    missing = [path for path, _ in files(name, root) if not path.exists()]
    if missing:
        what = f"{name} is not in {root}: {missing[0]} does not exist"
    else:
        what = f"{name} in {root} is damaged: a file differs from its known checksum"
    return DataError(
        what,
        "expected torchvision's on-disk format, every file with its known checksum",
        f"run: {prepare_command(name, root)}",
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
