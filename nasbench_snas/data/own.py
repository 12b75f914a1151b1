"""Data sets from outside the suite: what such a plug-in is, and what the suite makes of it.

A plug-in says where its images are (:meth:`Dataset.load`); what happens to them afterwards (splits,
limits, resizing, augmentation, statistics) is the suite's, as for every data set. The fingerprint
of what it hands out is part of the run's identity. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from nasbench_snas.data.catalogue import DatasetInfo, Part

if TYPE_CHECKING:
    from torch import Tensor

    from nasbench_snas.data.images import ImageSet


@dataclass(frozen=True)
class Pictures:
    """One part of a data set, as a plug-in hands it out.

    Made by :func:`~nasbench_snas.data.pictures.from_arrays`,
    :func:`~nasbench_snas.data.pictures.from_torch` or
    :func:`~nasbench_snas.data.parquet.from_parquet`.

    Attributes:
        images: uint8 pixels, shape ``(N, C, H, W)``.
        labels: int64 class numbers, shape ``(N,)``.
        class_names: One name a class; None: the numbers up to the largest training label.
        digest: Fingerprint of what the pixels were decoded from, so that another version of a
            decoder makes no other data set; None: the pixels are their own fingerprint.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] | None = None
    digest: str | None = None


class Dataset(ABC):
    """A data set: a plug-in of the kind ``dataset``.

    Its settings are the keyword arguments of its constructor (``--set data.parameters.NAME=…``).
    The class attributes must be literals: listings read them without importing anything.

    Attributes:
        name: Key in settings and on the command line (``--dataset NAME``).
        summary: One line for listings.
        licence: Terms of use.
        source: Where the images come from.
        flip: Whether a mirrored image keeps its class, so that flipping is a sound default.
        test_fraction: 0: :meth:`load` has test images. Else the share of the training images that
            are set apart as such: always the same ones, every class with its share.
        version: Of the plug-in, for records.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    licence: ClassVar[str] = "not stated"
    source: ClassVar[str] = "not stated"
    flip: ClassVar[bool] = False
    test_fraction: ClassVar[float] = 0.0
    version: ClassVar[int] = 1

    @abstractmethod
    def load(self, part: Part, root: Path) -> Pictures:
        """Return the images of one part.

        Equal files must give equal images: draw nothing at random, vary nothing.

        Args:
            part: ``train``, or ``test`` (never asked for with a ``test_fraction``).
            root: The folder of the data: ``--data-root``, ``$NASBENCH_DATA`` or ``./data``.
        """


class Source(Protocol):
    """Where settings get the images of a plug-in from; see ``nasbench_snas.data.source``."""

    @property
    def info(self) -> DatasetInfo:
        """What is known before it is read."""

    def images(self, root: Path, part: Part) -> ImageSet:
        """Return one part below the folder ``root``, as large as it is."""

    def digest(self, root: Path, part: Part) -> str:
        """Return the fingerprint of one part, 16 hex digits."""
