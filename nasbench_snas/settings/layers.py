"""Nested settings by dotted keys: merged from several sources, checked against a model.

Imports no torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.settings.values import check_values

OF_PLUGINS = (
    *("estimator.", "space.", "cost.parameters.", "cost.places."),
    *("data.parameters.", "child.parameters.", "transformer.", "stop.", "versions."),
)
"""Beginnings of the keys that plug-ins check."""


class Layers:
    """Nested settings merged from several sources, remembering where each value came from.

    Args:
        model: The settings whose keys are known.

    Attributes:
        values: The merged nested dictionary.
        sources: Source of each dotted key.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], source: str) -> None:
        """Let ``values`` (nested) override what is there.

        Raises:
            ConfigError: A key is unknown, or belongs on the command line.
        """
        check_known(flatten(values), self._model)
        check_values(flatten(values))
        for key, value in flatten(values).items():
            target = self.values
            *parents, last = key.split(".")
            for parent in parents:
                target = target.setdefault(parent, {})
                if not isinstance(target, dict):
                    raise ConfigError(f"setting {key}: {parent!r} is a value, not a group.")
            target[last] = value
            self.sources[key] = source

    def update(self, other: Layers) -> None:
        """Let the values of ``other`` override what is there, each with its own source."""
        for key, value in flatten(other.values).items():
            self.add(_nested(key, value), other.sources[key])

    def drop(self, prefix: str, source: str) -> None:
        """Forget the values whose keys begin with ``prefix`` and that came from ``source``."""
        for key in [k for k, s in self.sources.items() if k.startswith(prefix) and s == source]:
            *parents, last = key.split(".")
            target = self.values
            for parent in parents:
                target = target[parent]
            del target[last], self.sources[key]

    def set(self, assignment: str) -> None:
        """Apply ``KEY=VALUE``, the value in TOML syntax or bare text.

        Raises:
            ConfigError: There is no ``=``.
        """
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {assignment!r} is not KEY=VALUE.", fix="Example: --set search.epochs=5"
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        except RecursionError:
            raise ConfigError(f"--set {key[:80]}: the value is nested too deeply.") from None
        self.add(_nested(key.strip(), value), "--set")


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Return the nested dictionary with one value at a dotted key."""
    nested: dict[str, Any] = {}
    target = nested
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value
    return nested


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested ``values`` by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def check_known(keys: Iterable[str], model: type[BaseModel]) -> None:
    """Raise a :class:`ConfigError` with a suggestion for the first unknown dotted key.

    The settings of plug-ins are checked by the plug-ins themselves.
    """
    known = set(flatten_fields(model))
    for key in keys:
        if key not in known and not key.startswith(OF_PLUGINS):
            raise ConfigError(f"unknown setting {key!r}.", suggest(key, known))


def flatten_fields(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return the description of every setting of ``model`` by dotted key."""
    fields: dict[str, str] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields.update(flatten_fields(annotation, f"{prefix}{name}."))
        else:
            fields[f"{prefix}{name}"] = field.description or ""
    return fields
