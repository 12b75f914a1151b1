"""The contract of a data set: labelled images, in two parts. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple


class Images(NamedTuple):
    """One part of a data set in memory.

    Attributes:
        images: Shape ``(N, channels, height, width)``, ``uint8`` in 0..255: an array or a tensor.
        labels: Class of each image, ``(N,)``, whole numbers from 0 on.
        classes: Names of the classes, or empty: they are called by their numbers.
    """

    images: Any
    labels: Any
    classes: tuple[str, ...] = ()


class ImageDataset(ABC):
    """A data set of one's own.

    Settings are keyword arguments of ``__init__`` with defaults; a run keeps them
    (``data.parameters``), except those that only say where files lie (:attr:`places`).

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
        places: Settings that say where files lie and decide no result.
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
    places: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    @abstractmethod
    def load(self, part: Literal["train", "test"]) -> Any:
        """Return one part of the data set; the other one is not read.

        Returns:
            :class:`Images`; or a ``torch.utils.data.Dataset`` of known length whose items are
            (image, label), the image as ``uint8`` tensor ``(channels, height, width)``, as PIL
            image or as float tensor in [0, 1]. All images of a data set have one size.

        Raises:
            DataError: Files are missing or damaged; the message says how to get them.
        """

    def fingerprint(self, part: Literal["train", "test"]) -> str | None:
        """Return a text that changes with the images, found without decoding them, or None.

        None: the loaded images themselves are digested.
        """
        return None
