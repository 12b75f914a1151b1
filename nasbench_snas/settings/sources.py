"""Settings of the data, given the images of the plug-in that they name. Imports no torch."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import resolve_parameters

_WHERE = "data.parameters"
_sources: WeakKeyDictionary[Registry, dict[str, Any]] = WeakKeyDictionary()
"""What a registry's plug-ins have read: once for all runs that one command plans."""


def bound(data: DataSettings, registry: Registry) -> DataSettings:
    """Return settings that know their images; those of a built-in data set always do.

    Args:
        data: The settings.
        registry: Where data sets come from.

    Raises:
        PluginError: The data set is neither built in nor among the plug-ins.
        ConfigError: Its settings are wrong.
    """
    if data.is_built_in:
        if data.parameters:
            raise ConfigError(
                f"data.parameters are for plug-ins; {data.dataset!r} is built in.",
                f"Got {', '.join(sorted(data.parameters))}.",
                "Leave them out.",
            )
        return data
    from nasbench_snas.data.source import OwnImages

    cls = registry.dataset(data.dataset)
    values = resolve_parameters(cls, data.parameters, _WHERE)
    own = data.source
    if isinstance(own, OwnImages) and type(own.plugin) is cls and own.values == values:
        return data
    known = _sources.setdefault(registry, {})
    key = f"{cls.__module__}.{cls.__qualname__} {sorted(values.items())!r}"
    if key not in known:
        known[key] = OwnImages(cls(**values), values)
    written = {name: value for name, value in values.items() if value is not None}
    return data.with_own(known[key], written)
