"""The one form in which every data set is held: uint8 images and int64 labels.

Also resizing to a wanted resolution, done once when images are read (bilinear with antialiasing,
on the uint8 values).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nasbench_snas.errors import DataError

_CHUNK = 4096


@dataclass(frozen=True)
class ImageSet:
    """Images of one part of a data set.

    Attributes:
        name: Name of the data set.
        part: ``train`` or ``test``.
        images: uint8 pixels, shape `(N, C, H, W)`.
        labels: int64 class numbers, shape `(N,)`, from 0 to ``num_classes - 1``.
        class_names: One name per class.
        licence: Terms of use.
        source: Where the images come from.

    Raises:
        DataError: The tensors do not fit each other.
    """

    name: str
    part: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    licence: str
    source: str

    def __post_init__(self) -> None:
        """Refuse tensors that do not fit each other."""
        where = f"{self.part} images of {self.name!r}"
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{where}: {self.images.dtype} of shape {tuple(self.images.shape)}",
                "expected uint8 of shape (N, C, H, W)",
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{where}: labels are {self.labels.dtype} of shape {tuple(self.labels.shape)}",
                f"expected int64 of shape ({len(self.images)},)",
            )
        if len(self.images) == 0:
            raise DataError(f"{where}: there are none", "expected at least one image")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.num_classes:
            raise DataError(
                f"{where}: labels run from {low} to {high}",
                f"expected 0 to {self.num_classes - 1}, one per class name",
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, indices: Tensor) -> ImageSet:
        """Return the images at `indices`, shape `(M,)`."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def resized(self, resolution: int) -> ImageSet:
        """Return the images at `resolution` x `resolution` pixels."""
        return replace(self, images=resize(self.images, resolution))


def pixel_digest(data: ImageSet) -> str:
    """Return the digest of pixels, labels and class names, 16 hex digits."""
    content = hashlib.blake2b(digest_size=8)
    content.update(json.dumps([list(data.images.shape), data.class_names]).encode())
    content.update(data.images.contiguous().numpy().data)
    content.update(data.labels.contiguous().numpy().data)
    return content.hexdigest()


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images to a square.

    The shorter side becomes `resolution` (bilinear, antialiased, rounded to uint8), then the
    middle of the longer side is kept: proportions stay, nothing is stretched.

    Args:
        images: uint8 pixels, shape `(N, C, H, W)` or `(C, H, W)`.
        resolution: Wanted side in pixels.

    Returns:
        uint8 pixels, shape `(N, C, resolution, resolution)` or `(C, resolution, resolution)`.
    """
    if images.shape[-2:] == (resolution, resolution):
        return images
    if images.ndim == 4 and len(images) > _CHUNK:
        return torch.cat([resize(part, resolution) for part in torch.split(images, _CHUNK)])
    # Imported here: it takes a second or two, and most searches resize nothing.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as vision

    small = vision.resize(images, [resolution], InterpolationMode.BILINEAR, antialias=True)
    middle: Tensor = vision.center_crop(small, [resolution, resolution])
    return middle.contiguous()
