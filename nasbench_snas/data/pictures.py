"""Images from arrays and from torch data sets, in the one form that the suite holds them.

Pixels are uint8 from 0 to 255 and stay so: scaling, normalising and augmentation are the suite's.
Nothing is guessed that could be silently wrong: floating-point pixels, and axes that look
exchanged, are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Images
from nasbench_snas.data.images import resize
from nasbench_snas.errors import DataError

_MOST_CHANNELS = 4


def from_arrays(
    images: Any,
    labels: Any,
    class_names: Iterable[str] | None = None,
    *,
    channels: Literal["last", "first"] = "last",
) -> Images:
    """Return images and labels given as arrays.

    Args:
        images: uint8, shape ``(N, H, W)`` (grey), ``(N, H, W, C)``, or ``(N, C, H, W)`` with
            ``channels="first"``; a numpy array or a tensor.
        labels: Whole numbers from 0, shape ``(N,)``.
        class_names: One name a class; None: the numbers.
        channels: Which axis of four the channels are.

    Raises:
        DataError: They are of another type or shape.
    """
    pixels = _array(images)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"images are {pixels.dtype}",
            "expected uint8 from 0 (black) to 255 (white); scaling is the suite's",
            "of values from 0 to 1: (255 * images).round().astype('uint8')",
        )
    if pixels.ndim not in (3, 4):
        raise DataError(
            f"images have shape {pixels.shape}", "expected (N, H, W), or four axes with channels"
        )
    if pixels.ndim == 4:
        pixels = _channels_first(pixels, channels)
    else:
        pixels = pixels[:, None]
    return Images(
        images=torch.from_numpy(np.array(pixels, order="C")),
        labels=_labels(_array(labels), len(pixels)),
        classes=tuple(str(name) for name in class_names or ()),
    )


def from_torch(
    dataset: Any, class_names: Iterable[str] | None = None, *, size: int | None = None
) -> Images:
    """Return the items ``(image, label)`` of a ``torch.utils.data.Dataset``.

    Args:
        dataset: Has a length; an image is a PIL image, a uint8 tensor ``(C, H, W)`` or what
            ``ToTensor`` makes of one, or a uint8 array ``(H, W)`` or ``(H, W, C)``. Nothing may
            scale it otherwise, or vary it.
        class_names: One name a class; None: those of ``dataset.classes``, or the numbers.
        size: Side that every image is resized to; None: all have one size.

    Raises:
        DataError: An image is of another type or size.
    """
    items = [_pair(dataset[position], position) for position in range(len(dataset))]
    images = [_one(image, position) for position, (image, _) in enumerate(items)]
    names = getattr(dataset, "classes", None) if class_names is None else class_names
    return Images(
        images=stacked(images, size),
        labels=_labels(np.array([label for _, label in items]), len(items)),
        classes=tuple(str(name) for name in names or ()),
    )


def stacked(images: Sequence[Tensor], size: int | None) -> Tensor:
    """Return images ``(C, H, W)`` as one tensor ``(N, C, H, W)``, resized where ``size`` is given.

    Raises:
        DataError: There are none, or their shapes differ.
    """
    if not images:
        raise DataError("there are no images", "expected at least one")
    sized = images if size is None else [resize(image, size) for image in images]
    shapes = {tuple(image.shape): position for position, image in enumerate(sized)}
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise DataError(
            f"image {first} has shape {one}, image {second} {other}",
            "expected one shape (channels, height, width)",
            "resize them with size=32, and convert them to the same number of channels",
        )
    return torch.stack(list(sized))


def pil_pixels(image: Any) -> Tensor:
    """Return a PIL image as uint8 ``(C, H, W)``: grey where it is grey, else RGB.

    Raises:
        DataError: Its values have no range that is known.
    """
    mode = str(image.mode)
    if mode.startswith(("I", "F")):
        raise DataError(
            f"an image has the mode {mode}",
            "which of its values is white is not known; expected 8 bits a channel",
            "convert the images",
        )
    if mode not in ("L", "RGB"):
        image = image.convert("L" if mode == "1" else "RGB")
    pixels = np.array(image)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _one(image: Any, position: int) -> Tensor:
    if hasattr(image, "mode") and hasattr(image, "convert"):
        return pil_pixels(image)
    where = f"image {position} of the torch data set"
    if isinstance(image, Tensor) and image.is_floating_point():
        image = _whole(image, where)
    kind = getattr(image, "dtype", None)
    if kind not in (torch.uint8, np.dtype("uint8")):
        raise DataError(
            f"{where} is {kind if kind is not None else type(image).__name__}",
            "expected a PIL image, or uint8 pixels: scaling and normalising are the suite's",
            "leave out transforms such as Normalize",
        )
    if isinstance(image, Tensor):
        return image if image.ndim == 3 else image[None]
    made: Tensor = from_arrays(image[None], [0]).images[0]
    return made


def _pair(item: Any, position: int) -> tuple[Any, int]:
    """Return the image and the label of an item; a label is never rounded."""
    where = f"item {position} of the torch data set"
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{where} is no pair", "expected (image, label)")
    image, label = item
    plain = label.item() if getattr(label, "size", None) and _numel(label) == 1 else label
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise DataError(
            f"{where} has the label {str(label)[:40]}",
            "expected a whole number, one for each image",
            "number the classes from 0",
        )
    return image, plain


def _numel(value: Any) -> int:
    return int(np.asarray(value).size)


def _whole(image: Tensor, where: str) -> Tensor:
    """Return the uint8 pixels that ``ToTensor`` has divided by 255."""
    values = image.double() * 255
    if bool(((values.round() - values).abs() > 1e-3).any() | (values < 0).any()):
        raise DataError(
            f"{where} has floating-point values that are no pixels over 255",
            "expected a PIL image, uint8 pixels, or what ToTensor makes of them",
            "leave out transforms such as Normalize: normalising is the suite's",
        )
    return values.round().to(torch.uint8) if float(values.max()) < 255.5 else image


def _channels_first(pixels: np.ndarray[Any, Any], channels: str) -> np.ndarray[Any, Any]:
    last, first = pixels.shape[3], pixels.shape[1]
    said, other = (last, first) if channels == "last" else (first, last)
    if said > _MOST_CHANNELS >= other:
        raise DataError(
            f"images of shape {pixels.shape} have {said} channels where they are {channels}",
            f"the axes look exchanged: the other one is {other}",
            f"say channels={'first' if channels == 'last' else 'last'!r}",
        )
    return pixels.transpose(0, 3, 1, 2) if channels == "last" else pixels


def _labels(labels: np.ndarray[Any, Any], count: int) -> Tensor:
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or _too_large(labels):
        raise DataError(
            f"labels are {labels.dtype} of shape {labels.shape}",
            f"expected whole numbers of shape ({count},), one for each image",
            "number the classes from 0",
        )
    return torch.from_numpy(labels.astype(np.int64))


def _too_large(labels: np.ndarray[Any, Any]) -> bool:
    return labels.dtype.kind == "u" and bool((labels > np.iinfo(np.int64).max).any())


def _array(values: Any) -> np.ndarray[Any, Any]:
    try:
        return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"images or labels are no array: {error}",
            "expected arrays of one shape",
            "resize images that differ in size",
        ) from error
