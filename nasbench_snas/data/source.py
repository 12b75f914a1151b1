"""The images of a data set that is a plug-in: read, checked, divided, fingerprinted.

Test images that a plug-in does not have are set apart from its training images by a fixed seed, so
that they are the same for every run. The fingerprint is of pixels (or of what they were decoded
from), labels, class names, and of what the plug-in declares that changes training: flipping, the
stored order, channel statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.api import ImageDataset, Images
from nasbench_snas.data.catalogue import DatasetInfo, Part
from nasbench_snas.data.digests import digest_of
from nasbench_snas.data.images import ImageSet, pixel_digest
from nasbench_snas.data.pictures import from_arrays, from_torch
from nasbench_snas.data.selection import choose_stratified
from nasbench_snas.errors import DataError, NasbenchError

SPLIT_SEED = 1797
"""Seed of the test images that are set apart; not the run's."""


class OwnImages:
    """The images of a plug-in, read at most once for each part and folder.

    Args:
        plugin: The plug-in.
        values: The settings that it was made with.
    """

    def __init__(self, plugin: ImageDataset, values: Mapping[str, Any] | None = None) -> None:
        self.plugin, self.values = plugin, dict(values or {})
        self._parts: dict[tuple[Path, str], tuple[ImageSet, str]] = {}

    @property
    def info(self) -> DatasetInfo:
        """What is known before it is read."""
        plugin = self.plugin
        return DatasetInfo(
            name=plugin.name,
            summary=plugin.summary,
            loader="",
            flip=plugin.flip,
            shuffled=plugin.shuffled,
            licence=plugin.licence,
            source=f"plug-in {type(plugin).__module__}.{type(plugin).__qualname__}",
            classes=plugin.classes,
            shape=plugin.shape,
            mean=plugin.mean,
            std=plugin.std,
        )

    def images(self, root: Path, part: Part) -> ImageSet:
        """Return one part, as large as it is.

        Args:
            root: The folder of the data.
            part: ``train`` or ``test``.

        Raises:
            DataError: The plug-in hands out what cannot be used.
        """
        return self._part(root, part)[0]

    def digest(self, root: Path, part: Part) -> str:
        """Return the fingerprint of one part, 16 hex digits; arguments as for :meth:`images`."""
        return self._part(root, part)[1]

    def _part(self, root: Path, part: Part) -> tuple[ImageSet, str]:
        if (root, part) not in self._parts:
            if self.plugin.test_fraction:
                self._divide(root)
            else:
                self._parts[root, part] = self._read(root, part)
        return self._parts[root, part]

    def _read(self, root: Path, part: Part) -> tuple[ImageSet, str]:
        """Return what the plug-in hands out for one part, and its fingerprint."""
        plugin, info = self.plugin, self.info
        where = f"data set {plugin.name!r}: load({part!r})"
        try:
            found = plugin.load(part, root)
        except NasbenchError:
            raise
        except Exception as error:
            raise DataError(
                f"{where} failed: {type(error).__name__}: {error}",
                f"its folder is {root}",
                "mend the plug-in, or point --data-root at its files",
            ) from error
        own = _as_images(found, where)
        names = own.classes
        if part == "test":
            train = self._part(root, "train")[0]
            names = names or train.class_names
            self._compare(train, own, names)
        elif not names:
            known = int(own.labels.max()) + 1 if len(own.labels) else 0
            if known > max(len(own.labels), info.classes or 0):
                raise DataError(
                    f"{where}: a label is {known - 1}, which makes {known} classes",
                    f"there are {len(own.labels)} images",
                    "number the classes 0, 1, 2, …",
                )
            names = tuple(str(number) for number in range(max(known, info.classes or 0)))
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{where}: two classes are called {twice!r}", "expected one name each")
        made = ImageSet(
            name=plugin.name,
            part=part,
            images=own.images,
            labels=own.labels,
            class_names=names,
            licence=plugin.licence,
            source=info.source,
        )
        self._check_declared(made)
        declared = [plugin.flip, plugin.shuffled, plugin.mean, plugin.std]
        content = own.digest or pixel_digest(made)
        return made, digest_of(["own", content, made.labels.tolist(), names, declared])

    def _compare(self, train: ImageSet, test: Images, names: tuple[str, ...]) -> None:
        pair = (train.images.shape[1], train.class_names), (test.images.shape[1], names)
        if pair[0] != pair[1]:
            raise DataError(
                f"data set {self.plugin.name!r}: test images have other channels or classes than "
                "training images",
                f"training: {_told(*pair[0])}; test: {_told(*pair[1])}",
                "give both parts the same channels, and the same names in the same order",
            )

    def _check_declared(self, made: ImageSet) -> None:
        info, shape = self.info, tuple(made.images.shape[1:])
        for what, said, found in (
            ("shape", info.shape, shape),
            ("classes", info.classes, made.num_classes),
        ):
            if said is not None and said != found:
                raise DataError(
                    f"data set {self.plugin.name!r} declares {what} = {said}",
                    f"its {made.part} images have {found}",
                    "declare what the files hold, or leave it out",
                )

    def _divide(self, root: Path) -> None:
        """Set test images apart from the training images: fixed, whatever the run's seed."""
        fraction = self.plugin.test_fraction
        if not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise DataError(
                f"data set {self.plugin.name!r}: test_fraction = {fraction!r}",
                "expected a share between 0 and 1, or 0 where load() has test images",
            )
        whole, digest = self._read(root, "train")
        count = round(fraction * len(whole))
        if not 0 < count < len(whole):
            raise DataError(
                f"data set {self.plugin.name!r}: {len(whole)} images cannot be divided",
                f"test_fraction = {fraction} makes {count} of them test images",
                "choose a share between 0 and 1 that leaves both parts images",
            )
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        test, train = choose_stratified(whole.labels, count, generator)
        for part, chosen in (("train", train), ("test", test)):
            taken = replace(whole.take(chosen), part=part)
            self._parts[root, part] = taken, digest_of([digest, part, fraction])


def _as_images(found: Any, where: str) -> Images:
    """Return what a plug-in handed out as uint8 ``(N, C, H, W)`` and int64 ``(N,)`` tensors."""
    if isinstance(found, Images):
        made = from_arrays(found.images, found.labels, found.classes, channels="first")
        return made._replace(digest=found.digest)
    if hasattr(found, "__len__") and hasattr(found, "__getitem__"):
        if not isinstance(found, tuple | list | dict | str):
            return from_torch(found)
    raise DataError(
        f"{where} returned {type(found).__name__}",
        "expected Images, what from_arrays, from_torch or from_parquet return, or a torch Dataset",
        "a data set without test images of its own has a test_fraction, such as 0.2",
    )


def _told(channels: int, names: tuple[str, ...]) -> str:
    more = f" … ({len(names)})" if len(names) > 3 else ""
    return f"{channels} channels, classes {', '.join(names[:3])}{more}"
