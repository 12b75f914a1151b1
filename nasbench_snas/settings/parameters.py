"""Settings of estimators and spaces, read from the signature of their constructors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

import pydantic

from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.outside import visible
from nasbench_snas.settings.values import check_values

T = TypeVar("T")


def _part_of_path(text: str) -> str:
    if text.startswith(".") or not text or set(text) & set("/\\") or visible(text) != text:
        raise ValueError("expected a name that can be part of a folder's name (no /, no leading .)")
    return text


PartOfPath = Annotated[str, pydantic.AfterValidator(_part_of_path)]
"""A text that becomes part of a folder's name and cannot lead to another folder."""


def parameter_model(cls: type) -> type[pydantic.BaseModel]:
    """Return a strict-keyed model of the keyword arguments that ``cls`` is constructed with."""
    initialiser = inspect.unwrap(cls.__init__)  # type: ignore[misc]
    hints = get_type_hints(initialiser)
    fields: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(cls).parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    model: type[pydantic.BaseModel] = pydantic.create_model(
        cls.__name__, __config__=config, **fields
    )
    return model


def resolve_parameters(cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return all settings of ``cls``: ``given`` checked and converted, defaults filled in.

    Args:
        cls: Estimator class or space family.
        given: Settings by name.
        where: Prefix for messages, for example ``estimator``.

    Raises:
        ConfigError: A name is unknown (with a suggestion), or a value has the wrong type.
    """
    model = parameter_model(cls)
    check_values({f"{where}.{key}": value for key, value in given.items()})
    for key in given:
        if key not in model.model_fields:
            raise ConfigError(f"unknown setting {where}.{key}.", suggest(key, model.model_fields))
    try:
        values = model(**given)
    except pydantic.ValidationError as error:
        raise config_error(error, where) from error
    return {name: getattr(values, name) for name in model.model_fields}


def config_error(error: pydantic.ValidationError, where: str = "") -> ConfigError:
    """Return the first problem of a pydantic error as a :class:`ConfigError`."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in ((where,) if where else ()) + tuple(first["loc"]))
    return ConfigError(f"setting {path}: {first['msg']}.", f"Got {first.get('input')!r}.")


def create(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """Construct ``cls`` from checked settings; raises as :func:`resolve_parameters`."""
    return cls(**resolve_parameters(cls, given, where))
