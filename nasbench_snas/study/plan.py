"""From a file, assignments and values to the checked settings of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from nasbench_snas.data.fingerprint import with_content
from nasbench_snas.registry import Registry
from nasbench_snas.settings.layers import Layers, flatten
from nasbench_snas.settings.parameters import config_error
from nasbench_snas.settings.sources import bound
from nasbench_snas.settings.toml import read_toml
from nasbench_snas.settings.values import check_values
from nasbench_snas.study.settings import StudySettings


def plan_study(
    registry: Registry,
    space: str | None = None,
    file: Path | None = None,
    assignments: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> StudySettings:
    """Return the settings of a study, its images included.

    Later layers override earlier ones: defaults, file, space, assignments, values.

    Args:
        registry: Where data sets of plug-ins come from.
        space: Name of the space; None: as in the file, else the default.
        file: Settings as TOML.
        assignments: ``KEY=VALUE``, as ``--set``.
        values: Top-level settings by name.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    given: dict[str, Any] = {} if file is None else read_toml(file)
    if isinstance(given.get("space"), str):
        given["space"] = {"name": given["space"]}
    if space is not None:
        given["space"] = given.get("space", {}) | {"name": space}
    layers = Layers(StudySettings)
    layers.add(given, "file")
    for text in assignments:
        layers.set(text)
    merged = layers.values | dict(values or {})
    check_values(flatten(merged))
    try:
        settings = StudySettings.model_validate(merged)
    except pydantic.ValidationError as error:
        raise config_error(error) from error
    _ = settings.reference_draws
    data = with_content(bound(settings.data, registry), ("train",))
    return settings.model_copy(update={"data": data})
