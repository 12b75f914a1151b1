"""Random variation of a whole batch of images at once, on the device that holds them.

Per image b, with offsets (u_b, v_b), a mirror flag f_b and a square Q_b, all drawn uniformly:

    x'_b[c, i, j] = pad(x_b)[c, i + u_b, j' + v_b],   j' = W - 1 - j if f_b else j
    y_b[c, i, j]  = 1[(i, j) not in Q_b] (x'_b[c, i, j] / 255 - mean_c) / std_c

that is pad-and-crop, flip, normalise, cutout, in the order of the published CIFAR recipe (Cutout:
arXiv:1708.04552; its square is centred on a pixel and clipped at the border, so it may be smaller
inside). Crop and flip are one gather of the uint8 pixels.

All randomness is in `Draw`, and `Augmenter.apply` is a pure function of it. The draw is made on
the generator's device and moved: a CPU generator gives the same images on every device.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_zeros

from nasbench_snas.data.settings import AugmentSettings, DataSettings
from nasbench_snas.data.statistics import Statistics
from nasbench_snas.errors import ConfigError

logger = logging.getLogger("nasbench_snas")


@dataclass(frozen=True)
class Draw:
    """All randomness of one augmented batch.

    Attributes:
        rows: Offset of the crop from the top of the padded image, int64, shape `(B,)`.
        columns: Offset of the crop from its left, int64, shape `(B,)`.
        mirror: Whether the image is mirrored, bool, shape `(B,)`.
        centres: Row and column of the cutout's centre, int64, shape `(B, 2)`.
    """

    rows: Tensor
    columns: Tensor
    mirror: Tensor
    centres: Tensor

    def to(self, device: torch.device) -> Draw:
        """Return the same draw on `device`; to a GPU in one copy that nothing waits for."""
        if self.rows.device == device:
            return self
        packed = torch.stack([self.rows, self.columns, self.mirror.long(), *self.centres.T])
        if device.type == "cuda":
            packed = packed.pin_memory()
        rows, columns, mirror, *centres = packed.to(device, non_blocking=True)
        return Draw(rows, columns, mirror.bool(), torch.stack(centres, dim=1))


class Augmenter:
    """Turns uint8 batches into floating-point ones, varied for training or plain for evaluation.

    Args:
        statistics: Channel statistics to normalise with; None scales to [0, 1] only.
        pad: Zero pixels on every side before the random crop.
        flip: Whether to mirror every second image, at random.
        cutout: Side of the square set to zero after normalising, in pixels; 0: none.
        dtype: Floating-point type of the result. Arithmetic is in at least float32.
        channels_last: Whether the result has the memory format `torch.channels_last`.
    """

    def __init__(
        self,
        statistics: Statistics | None,
        *,
        pad: int = 0,
        flip: bool = False,
        cutout: int = 0,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        if not dtype.is_floating_point:
            raise ConfigError(f"augmentation to {dtype}", "expected a floating-point type")
        self.statistics = statistics
        self.pad, self.flip, self.cutout = pad, flip, cutout
        self.dtype, self.channels_last = dtype, channels_last
        self._affine: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw the randomness for `batch` images of `height` x `width` pixels.

        The same numbers are drawn whatever is switched on, so that runs that differ in one
        augmentation share all others.
        """
        device = generator.device
        uniform = torch.rand(5, batch, generator=generator, device=device, dtype=torch.float64)
        offsets = (uniform[:2] * (2 * self.pad + 1)).to(torch.int64)
        centres = torch.stack([uniform[3] * height, uniform[4] * width], dim=1)
        return Draw(
            rows=offsets[0],
            columns=offsets[1],
            mirror=(uniform[2] < 0.5) & self.flip,
            centres=centres.to(torch.int64),
        )

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Vary and normalise a batch.

        Args:
            images: uint8 pixels, shape `(B, C, H, W)`.
            draw: The randomness, for B images of this size.

        Returns:
            Floating-point images, shape `(B, C, H, W)`.
        """
        draw = draw.to(images.device)
        result = self._normalised(self._cropped(images, draw))
        if self.cutout > 0:
            result.mul_(self._kept(images, draw).to(result.dtype))
        return self._finished(result)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Vary and normalise `images`, uint8 `(B, C, H, W)`, with randomness from `generator`."""
        batch, _, height, width = images.shape
        return self.apply(images, self.draw(batch, height, width, generator))

    def plain(self, images: Tensor) -> Tensor:
        """Normalise `images`, uint8 `(B, C, H, W)`, without varying them."""
        return self._finished(self._normalised(images))

    def _cropped(self, images: Tensor, draw: Draw) -> Tensor:
        batch, channels, height, width = images.shape
        if self.pad == 0 and not self.flip:
            return images
        padded = pad_zeros(images, (self.pad,) * 4)
        wide = width + 2 * self.pad
        row = torch.arange(height, device=images.device) + draw.rows[:, None]
        column = torch.arange(width, device=images.device).expand(batch, width)
        column = torch.where(draw.mirror[:, None], width - 1 - column, column)
        column = column + draw.columns[:, None]
        pixel = (row[:, :, None] * wide + column[:, None, :]).view(batch, 1, height * width)
        flat = padded.reshape(batch, channels, -1)
        return flat.gather(2, pixel.expand(-1, channels, -1)).view(images.shape)

    def _normalised(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            raise ConfigError(f"augmentation of {images.dtype}", "expected uint8 pixels")
        working = torch.float64 if self.dtype == torch.float64 else torch.float32
        result = images.to(working)
        if self.statistics is None:
            return result.div_(255)
        scale, shift = self._factors(self.statistics, images.device, working)
        return result.mul_(scale).add_(shift)

    def _factors(
        self, statistics: Statistics, device: torch.device, working: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return scale and shift of the pixels on a device; they are copied there once."""
        key = (device, working)
        if key not in self._affine:
            shape = (1, -1, 1, 1)
            mean = torch.tensor(statistics.mean, dtype=torch.float64).view(shape)
            std = torch.tensor(statistics.std, dtype=torch.float64).view(shape)
            scale = (1 / (255 * std)).to(device, working)
            self._affine[key] = scale, (-mean / std).to(device, working)
        return self._affine[key]

    def _kept(self, images: Tensor, draw: Draw) -> Tensor:
        """Return False inside the cutout and True elsewhere, shape `(B, 1, H, W)`."""
        height, width = images.shape[2:]
        start = draw.centres - self.cutout // 2
        row = torch.arange(height, device=images.device)
        column = torch.arange(width, device=images.device)
        inside_row = (row >= start[:, :1]) & (row < start[:, :1] + self.cutout)
        inside_column = (column >= start[:, 1:]) & (column < start[:, 1:] + self.cutout)
        return ~(inside_row[:, None, :, None] & inside_column[:, None, None, :])

    def _finished(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(self.dtype).contiguous(memory_format=layout)


def resolved_pad(settings: AugmentSettings, size: int) -> int:
    """Return the padding in pixels: the chosen one, or one eighth of the image side `size`."""
    return size // 8 if settings.pad is None else settings.pad


def resolved_cutout(settings: AugmentSettings, size: int) -> int:
    """Return the side of the cutout: the chosen one, at most half of the image side `size`."""
    side = min(settings.cutout, size // 2)
    if side < settings.cutout:
        logger.warning(
            "cutout of %d pixels instead of %d: half of the image side", side, settings.cutout
        )
    return side


def make_augmenter(
    settings: DataSettings,
    statistics: Statistics,
    image_shape: tuple[int, int, int],
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Augmenter:
    """Return the augmenter that the settings ask for.

    Args:
        settings: The data settings; what they leave unset depends on the data set.
        statistics: Channel statistics, from `Splits.statistics`.
        image_shape: Channels, height and width of the images.
        dtype: Floating-point type of the result.
        channels_last: Whether the result is channels_last.
    """
    chosen = settings.augment
    return Augmenter(
        statistics if chosen.normalise else None,
        pad=resolved_pad(chosen, min(image_shape[1:])),
        flip=settings.info.flip if chosen.flip is None else chosen.flip,
        cutout=resolved_cutout(chosen, min(image_shape[1:])),
        dtype=dtype,
        channels_last=channels_last,
    )
