"""The contract of a data set: labelled images, in two parts. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple


class Images(NamedTuple):
    """One part of a data set in memory.

    :func:`nasbench_snas.data.from_arrays`, :func:`nasbench_snas.data.from_torch` and
    :func:`nasbench_snas.data.from_parquet` make it of other forms.

    Attributes:
        images: Shape ``(N, channels, height, width)``, ``uint8`` in 0..255: an array or a tensor.
        labels: Class of each image, ``(N,)``, whole numbers from 0 on.
        classes: Names of the classes, or empty: they are called by their numbers.
        digest: Text that changes with the images, where they were decoded from something (so that
            another version of a decoder makes no other data set); empty: the images are digested.
    """

    images: Any
    labels: Any
    classes: tuple[str, ...] = ()
    digest: str = ""


class ImageDataset(ABC):
    """A data set of one's own.

    A plug-in says where its images are; splits, limits, resizing, augmentation and normalising are
    the suite's. What it hands out is digested, and the digest is part of a run's identity. Settings
    are keyword arguments of ``__init__`` with defaults; a run keeps them
    (``--set data.parameters.NAME=…``), so that they should not say where files lie: that is
    ``root``.

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        licence: Terms of use, as far as the source states them.
        flip: Whether a mirrored image keeps its class, so that flipping is a sound default.
        shuffled: Whether the stored order is independent of the class.
        shape: ``(channels, height, width)`` of the images, or None: the files decide.
        classes: Number of classes, or None: the files decide.
        mean: Channel means of the training images in [0, 1], or None: computed from the images.
        std: Channel standard deviations; set together with ``mean``.
        test_fraction: 0: :meth:`load` has test images. Else the share of the training images that
            is set apart as such: always the same ones, every class with its share.
        version: Raised when a change alters results; a run records it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    licence: ClassVar[str] = "not stated"
    flip: ClassVar[bool] = False
    shuffled: ClassVar[bool] = False
    shape: ClassVar[tuple[int, int, int] | None] = None
    classes: ClassVar[int | None] = None
    mean: ClassVar[tuple[float, ...] | None] = None
    std: ClassVar[tuple[float, ...] | None] = None
    test_fraction: ClassVar[float] = 0.0
    version: ClassVar[int] = 1

    @abstractmethod
    def load(self, part: Literal["train", "test"], root: Path) -> Any:
        """Return one part of the data set; the other one is not read.

        Equal files must give equal images: nothing is varied or drawn without a fixed seed.

        Args:
            part: Which; ``test`` is never asked for with a ``test_fraction``.
            root: The folder of the data: ``--data-root``, ``$NASBENCH_DATA`` or ``./data``.

        Returns:
            :class:`Images`; or a ``torch.utils.data.Dataset`` of known length whose items are
            (image, label), the image as ``uint8`` tensor ``(channels, height, width)``, as PIL
            image, or as what ``ToTensor`` makes of it. All images of a data set have one size.

        Raises:
            DataError: Files are missing or damaged; the message says how to get them.
        """
