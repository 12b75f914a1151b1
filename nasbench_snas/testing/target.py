"""Finds what ``nasbench check`` is asked to check, and makes its test class."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasbench_snas.api import Estimator
from nasbench_snas.architecture.space import SpaceFamily
from nasbench_snas.errors import PluginError, suggest
from nasbench_snas.registry import Entry, Registry
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.estimator_conformance import EstimatorConformance
from nasbench_snas.testing.space_conformance import SpaceConformance


def find_targets(
    text: str, plugins: Sequence[str] = (), environment_plugins: Sequence[str] = ()
) -> list[type]:
    """Return the estimator classes and space families that ``text`` names.

    Args:
        text: A name in the registry, a file ``path.py`` (all that it defines), or ``pkg:Class``.
        plugins: Files or modules from ``--plugin``.
        environment_plugins: Files or modules from ``NASBENCH_PLUGINS``.

    Raises:
        PluginError: There is no such thing, or it is neither an estimator nor a space.
    """
    if ":" in text:
        return [_by_path(text)]
    registry = Registry(plugins, environment_plugins)
    if text.endswith(".py"):
        return _in_file(text, registry, plugins, environment_plugins)
    estimators, spaces = registry.estimators(), registry.spaces()
    found: list[type] = []
    if any(entry.name == text for entry in estimators):
        found.append(registry.estimator(text))
    if any(entry.name == text for entry in spaces):
        found.append(registry.space(text))
    if not found:
        raise PluginError(
            f"there is no estimator and no space called {text!r}.",
            suggest(text, {entry.name for entry in [*estimators, *spaces]}),
            "A file ends in .py; a class in a package is written package.module:Class.",
        )
    return found


def test_class(target: type, *, device: str = "cpu") -> type[Conformance]:
    """Return the kit's test class for an estimator class or a space family.

    Raises:
        PluginError: It is neither.
    """
    kits: tuple[tuple[type, type[Conformance]], ...] = (
        (Estimator, EstimatorConformance),
        (SpaceFamily, SpaceConformance),
    )
    for base, kit in kits:
        if issubclass(target, base):
            members: dict[str, Any] = {kit.subject_attribute: target, "device": device}
            members["__doc__"] = f"Conformance checks of {target.__module__}.{target.__name__}."
            return type(f"Test{target.__name__}", (kit,), members)
    raise PluginError(
        f"{target.__module__}.{target.__qualname__} cannot be checked.",
        "Expected a subclass of nasbench_snas.api.Estimator or nasbench_snas.api.SpaceFamily.",
    )


test_class.__test__ = False  # type: ignore[attr-defined]  # its name would make pytest collect it


def _by_path(text: str) -> type:
    module_name, _, class_name = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(
            f"{text!r}: {module_name!r} cannot be imported.",
            f"{type(error).__name__}: {error}",
            "Write package.module:Class, of a module that Python finds from here.",
        ) from error
    target = getattr(module, class_name, None)
    if not isinstance(target, type):
        names = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise PluginError(
            f"{module_name!r} has no class {class_name!r}.", suggest(class_name, names)
        )
    return target


def _in_file(
    text: str, registry: Registry, plugins: Sequence[str], environment_plugins: Sequence[str]
) -> list[type]:
    file = Path(text).resolve()
    if not file.is_file():
        raise PluginError(f"there is no file {text!r}.")

    def here(source: Registry) -> list[Entry]:
        entries = [*source.estimators(), *source.spaces()]
        return [entry for entry in entries if entry.file is not None and entry.file == file]

    entries = here(registry)
    if not entries:  # not known yet: for this command it is a plug-in
        registry = Registry((*plugins, str(file)), environment_plugins)
        entries = here(registry)
    if not entries:
        raise PluginError(
            f"{text} defines no estimator and no space.",
            "Expected a subclass of Estimator or SpaceFamily with a literal `name`.",
        )
    load = {"estimator": registry.estimator, "space": registry.space}
    return [load[entry.kind](entry.name) for entry in entries]
