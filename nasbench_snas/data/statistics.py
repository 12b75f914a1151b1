"""Channel means and standard deviations of training images.

    mean_c = (1/255) sum_v v h_c(v) / sum_v h_c(v),   std_c^2 = E[(x_c/255)^2] - mean_c^2

from the histograms h_c of the 256 pixel values, so that the result is exact whatever the number
of images. Well-known constants are used for CIFAR at its stored size; resizing changes the
standard deviations, so at any other resolution they are computed, and always from the images that
train the network weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError

_CHUNK = 4096


@dataclass(frozen=True)
class Statistics:
    """Channel statistics of images scaled to [0, 1].

    Attributes:
        mean: One mean per channel.
        std: One standard deviation per channel, positive.
        origin: Where they come from: ``settings``, ``known`` or ``training split``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


def measure(images: Tensor, indices: Tensor) -> Statistics:
    """Compute the statistics of some images.

    A channel that never varies gets standard deviation 1, so that it becomes all zeros.

    Args:
        images: uint8 pixels, shape `(N, C, H, W)`.
        indices: Which of them, shape `(M,)`.
    """
    channels = images.shape[1]
    histogram = torch.zeros(channels, 256, dtype=torch.int64, device=images.device)
    for some in torch.split(indices, _CHUNK):
        pixels = images[some]
        for channel in range(channels):
            flat = pixels[:, channel].reshape(-1).to(torch.int64)
            histogram[channel] += torch.bincount(flat, minlength=256)
    weight = histogram.double() / histogram.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    mean = weight @ value
    variance = (weight * (value - mean[:, None]) ** 2).sum(1)
    std = variance.sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()), "training split")


def statistics_for(settings: DataSettings, images: Tensor, train: Tensor) -> Statistics:
    """Return the statistics to normalise with: chosen, known, or measured on the training split.

    Args:
        settings: May carry mean and std, and names the data set.
        images: All training images, uint8, shape `(N, C, H, W)`.
        train: The ones that train the network weights, shape `(M,)`.

    Raises:
        ConfigError: The settings carry another number of channels than the images have.
    """
    chosen, info = settings.augment, settings.info
    if chosen.mean is not None and chosen.std is not None:
        if len(chosen.mean) != images.shape[1]:
            raise ConfigError(
                f"data.augment.mean has {len(chosen.mean)} numbers",
                f"the images of {settings.dataset!r} have {images.shape[1]} channels",
                "give one number per channel, or leave mean and std unset",
            )
        return Statistics(chosen.mean, chosen.std, "settings")
    if info.mean is not None and info.std is not None and tuple(images.shape[1:]) == info.shape:
        return Statistics(info.mean, info.std, "known")
    return measure(images, train)
