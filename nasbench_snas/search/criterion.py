"""The cost criterion of a search: found by name, its settings written out, its table made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench_snas.api import CostCriterion
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.own import OwnCost, own_cost
from nasbench_snas.cost.settings import CRITERIA_WORDS, CostSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import create, resolve_parameters

_WHERE = "cost.parameters"


def completed(registry: Registry, settings: CostSettings) -> CostSettings:
    """Return ``settings`` with the criterion's own settings and the fingerprint of its table.

    Raises:
        ConfigError: A setting is wrong, or the table is not the one that the settings speak of.
        PluginError: The criterion is unknown or broken.
    """
    if settings.criterion is None:
        if settings.parameters or settings.places:
            raise ConfigError("cost.parameters needs cost.criterion: they are the criterion's own.")
        return settings
    if settings.criterion in CRITERIA_WORDS:
        registry.entry("criterion", settings.criterion)  # refuses a plug-in of the same name
        if settings.parameters or settings.places:
            raise ConfigError(
                f"cost.parameters are for plug-ins; {settings.criterion!r} is built in.",
                f"Got {', '.join(sorted({**settings.places, **settings.parameters}))}.",
                "Leave them out.",
            )
        return settings
    cls = registry.criterion(settings.criterion)
    values = resolve_parameters(cls, {**settings.places, **settings.parameters}, _WHERE)
    content = cls(**values).fingerprint()
    if settings.content is not None and content != settings.content:
        raise ConfigError(
            f"the costs of criterion {settings.criterion!r} are not those of these settings.",
            f"They had the fingerprint {settings.content}; now it is {content}.",
            "Give the table that the run began with, or begin another run.",
        )
    places = {key: _whole_path(values.pop(key)) for key in cls.places}
    update = {"parameters": values, "places": places, "content": content}
    return settings.model_copy(update=update)


def _whole_path(value: Any) -> Any:
    """Return the whole path of a file, so that a run continues from any folder."""
    return str(Path(value).absolute()) if isinstance(value, str) and Path(value).exists() else value


def criterion_of(registry: Registry, settings: CostSettings) -> CostCriterion | None:
    """Return the criterion that is no built-in count, or None."""
    if settings.criterion is None or settings.criterion in CRITERIA_WORDS:
        return None
    cls = registry.criterion(settings.criterion)
    return create(cls, {**settings.places, **settings.parameters}, _WHERE)


def cost_of(registry: Registry, settings: CostSettings, space: Space) -> OwnCost | None:
    """Return the costs of ``space`` by a criterion of one's own, or None where there is none."""
    criterion = criterion_of(registry, settings)
    return None if criterion is None else own_cost(criterion, space)
