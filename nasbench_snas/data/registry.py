"""From a data set's name to its loader: one small table, imported when it is needed.

A loader is a function ``load(settings, part) -> ImageSet``. The table is the column ``loader`` of
`nasbench_snas.data.catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.fingerprint import check
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.selection import limit
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import ConfigError, suggest

Loader = Callable[[DataSettings, Part], ImageSet]


def get_loader(name: str) -> Loader:
    """Return the loader of data set `name`.

    Raises:
        ConfigError: No data set has that name.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"no data set is called {name!r}", suggest(name, CATALOGUE))
    module, function = CATALOGUE[name].loader.split(":")
    return cast(Loader, getattr(import_module(module), function))


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
    loaded = get_loader(settings.dataset)(settings, part)
    most = settings.max_train_images if part == "train" else settings.max_test_images
    loaded = limit(loaded, most)
    return loaded if settings.resolution is None else loaded.resized(settings.resolution)
