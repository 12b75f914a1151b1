"""One part of a data set in memory, checked, resized and limited as the settings say."""

from __future__ import annotations

from nasbench_snas.data.fingerprint import check
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.loaders import read
from nasbench_snas.data.selection import limit
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import ConfigError


def load_part(settings: DataSettings, part: Part) -> ImageSet:
    """Read one part of a data set, resized and limited as the settings say.

    Args:
        settings: Which data set, from where, at which resolution.
        part: ``train`` or ``test``; the other part is not read.

    Raises:
        DataError: The data are missing or damaged.
        ConfigError: The settings ask for a lazy data set, which has no tensors.
    """
    if settings.lazy:
        raise ConfigError(
            "data.lazy = true holds no images in memory, and this step needs them there",
            "a lazy data set serves retraining only, through load_lazy",
            "set data.lazy = false and a data.resolution that fits into memory",
        )
    check(settings, part)
    loaded = read(settings, part)
    most = settings.max_train_images if part == "train" else settings.max_test_images
    loaded = limit(loaded, most)
    height, width = loaded.images.shape[2:]
    if settings.resolution is None and height != width:
        raise ConfigError(
            f"the images of {settings.dataset!r} have {width}x{height} pixels",
            "networks here take square images",
            "set data.resolution, for example data.resolution = 32",
        )
    return loaded if settings.resolution is None else loaded.resized(settings.resolution)
