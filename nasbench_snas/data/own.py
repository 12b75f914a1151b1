"""Where settings get the images of a plug-in from: an interface, so that they import no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nasbench_snas.data.catalogue import DatasetInfo, Part

if TYPE_CHECKING:
    from nasbench_snas.data.images import ImageSet


class Source(Protocol):
    """The images of a plug-in; :class:`nasbench_snas.data.source.OwnImages` is one."""

    @property
    def info(self) -> DatasetInfo:
        """What is known before it is read."""

    def images(self, root: Path, part: Part) -> ImageSet:
        """Return one part below the folder ``root``, as large as it is."""

    def digest(self, root: Path, part: Part) -> str:
        """Return the fingerprint of one part, 16 hex digits."""
