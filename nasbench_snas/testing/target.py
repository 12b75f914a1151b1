"""Finds what ``nasbench check`` is asked to check, and makes its test class."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasbench_snas import api
from nasbench_snas.errors import PluginError, suggest
from nasbench_snas.registry import INFO, KINDS, Entry, Kind, Registry
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.criterion_conformance import CriterionConformance
from nasbench_snas.testing.dataset_conformance import DatasetConformance
from nasbench_snas.testing.estimator_conformance import EstimatorConformance
from nasbench_snas.testing.operation_conformance import OperationConformance
from nasbench_snas.testing.rule_conformance import RuleConformance
from nasbench_snas.testing.space_conformance import SpaceConformance
from nasbench_snas.testing.stop_conformance import StopConformance
from nasbench_snas.testing.transformer_conformance import TransformerConformance

KITS: dict[Kind, type[Conformance]] = {
    "estimator": EstimatorConformance,
    "space": SpaceConformance,
    "operation": OperationConformance,
    "dataset": DatasetConformance,
    "criterion": CriterionConformance,
    "rule": RuleConformance,
    "transformer": TransformerConformance,
    "stop": StopConformance,
}
"""The kit of each kind."""


def find_targets(
    text: str, plugins: Sequence[str] = (), environment_plugins: Sequence[str] = ()
) -> list[type]:
    """Return the classes of plug-ins that ``text`` names.

    Args:
        text: A name in the registry, a file ``path.py`` (all that it defines), or ``pkg:Class``.
        plugins: Files or modules from ``--plugin``.
        environment_plugins: Files or modules from ``NASBENCH_PLUGINS``.

    Raises:
        PluginError: There is no such thing, or it is no plug-in.
    """
    if ":" in text:
        return [_by_path(text)]
    registry = Registry(plugins, environment_plugins)
    if text.endswith(".py"):
        return _in_file(text, registry, plugins, environment_plugins)
    entries = [entry for kind in KINDS for entry in registry.entries(kind)]
    named = [entry for entry in entries if entry.name == text]
    if not named:
        raise PluginError(
            f"there is no plug-in called {text!r}.",
            suggest(text, {entry.name for entry in entries if entry.is_class}),
            "A file ends in .py; a class in a package is written package.module:Class.",
        )
    kinds = dict.fromkeys(entry.kind for entry in named if entry.is_class or entry.problem)
    if not kinds:
        raise PluginError(
            f"{named[0].kind} {text!r} is built in as data: it has no checks of its own.",
            fix="`nasbench check` is for plug-ins, and for estimators and spaces.",
        )
    registry.offer_operations()
    return [registry.plugin(kind, text) for kind in kinds]


def test_class(target: type, *, device: str = "cpu") -> type[Conformance]:
    """Return the kit's test class for the class of a plug-in.

    Raises:
        PluginError: It is of no kind.
    """
    for kind, kit in KITS.items():
        if issubclass(target, getattr(api, INFO[kind].bases[0])):
            members: dict[str, Any] = {kit.subject_attribute: target, "device": device}
            members["__doc__"] = f"Conformance checks of {target.__module__}.{target.__name__}."
            return type(f"Test{target.__name__}", (kit,), members)
    raise PluginError(
        f"{target.__module__}.{target.__qualname__} cannot be checked.",
        "Expected a subclass of one of these of nasbench_snas.api: "
        + ", ".join(INFO[kind].bases[0] for kind in KINDS),
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
        entries = [entry for kind in KINDS for entry in source.entries(kind)]
        return [entry for entry in entries if entry.file is not None and entry.file == file]

    entries = here(registry)
    if not entries:  # not known yet: for this command it is a plug-in
        registry = Registry((*plugins, str(file)), environment_plugins)
        entries = here(registry)
    registry.offer_operations()
    broken = [entry for entry in entries if entry.problem]
    if not entries or (broken and len(broken) == len(entries)):
        raise PluginError(
            f"{text} defines no plug-in.",
            broken[0].problem if broken else "Expected a class with a literal `name`.",
            "Expected a subclass of one of these of nasbench_snas.api: "
            + ", ".join(INFO[kind].bases[0] for kind in KINDS),
        )
    return [registry.plugin(entry.kind, entry.name) for entry in entries if not entry.problem]
