"""The images of a data set that is a plug-in: read, checked, divided, fingerprinted.

Test images that a plug-in does not have are set apart from its training images by a fixed seed, so
that they are the same for every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.data.catalogue import DatasetInfo, Part
from nasbench_snas.data.digests import digest_of
from nasbench_snas.data.images import ImageSet, pixel_digest
from nasbench_snas.data.own import Dataset, Pictures
from nasbench_snas.data.selection import choose_stratified
from nasbench_snas.errors import DataError

SPLIT_SEED = 1797
"""Seed of the test images that are set apart; not the run's."""


class OwnImages:
    """The images of a plug-in, read at most once for each part and folder.

    Args:
        plugin: The plug-in.
        values: The settings that it was made with.
    """

    def __init__(self, plugin: Dataset, values: Mapping[str, Any] | None = None) -> None:
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
            shuffled=False,
            licence=plugin.licence,
            source=plugin.source,
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
        plugin, where = self.plugin, f"data set {self.plugin.name!r}"
        own = plugin.load(part, root)
        if not isinstance(own, Pictures):
            raise DataError(
                f"{where}: load({part!r}) returned {type(own).__name__}",
                "expected what from_arrays, from_torch or from_parquet return",
                "without test images of its own a data set has a test_fraction, such as 0.2",
            )
        names = own.class_names
        if part == "test":
            train = self._part(root, "train")[0]
            names = train.class_names if names is None else names
            pair = (train.images.shape[1], train.class_names), (own.images.shape[1], names)
            if pair[0] != pair[1]:
                raise DataError(
                    f"{where}: channels or classes of the test images are not the training images'",
                    f"training: {_told(*pair[0])}; test: {_told(*pair[1])}",
                    "give both parts the same channels, and the same names in the same order",
                )
        elif names is None:
            names = tuple(str(number) for number in range(int(own.labels.max()) + 1))
        made = ImageSet(
            name=plugin.name,
            part=part,
            images=own.images,
            labels=own.labels,
            class_names=names,
            licence=plugin.licence,
            source=plugin.source,
        )
        content = own.digest or pixel_digest(made)
        return made, digest_of(["own", content, own.labels.tolist(), names, plugin.flip])

    def _divide(self, root: Path) -> None:
        """Set test images apart from the training images: fixed, whatever the run's seed."""
        fraction = self.plugin.test_fraction
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


def _told(channels: int, names: tuple[str, ...]) -> str:
    more = f" … ({len(names)})" if len(names) > 3 else ""
    return f"{channels} channels, classes {', '.join(names[:3])}{more}"
