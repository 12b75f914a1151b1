"""From a data set's name to its loader: one small table, imported when it is needed.

A loader is a function ``load(settings, part) -> ImageSet``. The table is the column ``loader`` of
:mod:`nasbench_snas.data.catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import ConfigError, suggest

if TYPE_CHECKING:
    from nasbench_snas.data.images import ImageSet

Loader = Callable[[DataSettings, Part], "ImageSet"]


def read(settings: DataSettings, part: Part) -> ImageSet:
    """Return one part of a data set as it is stored.

    Raises:
        DataError: The data are missing or damaged.
        PluginError: The data set is neither built in nor was its plug-in given.
    """
    if settings.own is not None:
        return settings.own.images(settings.data_root, part)
    return get_loader(settings.dataset)(settings, part)


def get_loader(name: str) -> Loader:
    """Return the loader of data set `name`.

    Raises:
        ConfigError: No data set has that name.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"no data set is called {name!r}", suggest(name, CATALOGUE))
    module, function = CATALOGUE[name].loader.split(":")
    return cast(Loader, getattr(import_module(module), function))
