"""The registry of one session: from names to classes, in lookup order."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nasbench_snas.architecture.operations import OPERATIONS, Operation, offer
from nasbench_snas.errors import PluginError, suggest
from nasbench_snas.registry.builtin import builtins
from nasbench_snas.registry.kinds import BUILT_IN, INFO, KINDS, Entry, Kind, is_of_kind
from nasbench_snas.registry.source import entry_point, plugin_entries

if TYPE_CHECKING:
    from nasbench_snas.api import (
        CostCriterion,
        DerivationRule,
        EarlyStop,
        Estimator,
        ImageDataset,
        LossTransformer,
        SpaceFamily,
    )

_registered: dict[tuple[Kind, str], type] = {}


def register(cls: type) -> type:
    """Register a plug-in class under its ``name``; usable as a decorator.

    Raises:
        PluginError: It is of no kind, or its name is taken by another registered class.
    """
    kind = _kind_of(cls)
    key = (kind, str(getattr(cls, "name", "")))
    other = _registered.get(key)
    same = other is not None and (other.__module__, other.__qualname__) == (
        cls.__module__,
        cls.__qualname__,
    )
    if other is not None and not same:
        raise PluginError(
            f"{kind} {key[1]!r} is registered twice:",
            f"by {other.__module__} and by {cls.__module__} ({cls.__qualname__}).",
            "Give one of them another name.",
        )
    _registered[key] = cls
    return cls


def _kind_of(cls: type) -> Kind:
    for kind in KINDS:
        if is_of_kind(cls, kind) and bool(getattr(cls, "name", "")):
            return kind
    bases = ", ".join(INFO[kind].bases[0] for kind in KINDS)
    raise PluginError(
        f"{cls.__qualname__} is no plug-in.",
        f"Expected a subclass, with a `name`, of one of these of nasbench_snas.api: {bases}.",
    )


class Registry:
    """Names to classes, for one session.

    Args:
        plugins: Files or modules named by ``--plugin``.
        environment_plugins: Files or modules named by ``NASBENCH_PLUGINS``.
    """

    def __init__(
        self, plugins: Iterable[str] = (), environment_plugins: Iterable[str] = ()
    ) -> None:
        self._plugins = tuple(plugins)
        self._environment_plugins = tuple(environment_plugins)

    def entries(self, kind: Kind) -> list[Entry]:
        """Return everything of this kind by name, importing none of it."""
        return sorted(self._entries(kind), key=lambda entry: entry.name)

    def estimators(self) -> list[Entry]:
        """Return all estimators by name, importing none of them."""
        return self.entries("estimator")

    def spaces(self) -> list[Entry]:
        """Return all spaces by name, importing none of them."""
        return self.entries("space")

    def estimator(self, name: str) -> type[Estimator]:
        """Import and return the estimator class called ``name``.

        Raises:
            PluginError: It is unknown (with a suggestion), ambiguous or broken.
        """
        found: type[Estimator] = self.plugin("estimator", name)
        return found

    def space(self, name: str) -> type[SpaceFamily]:
        """Import and return the space family called ``name``; raises as :meth:`estimator`.

        The operations of plug-ins are then known by their names, too.
        """
        self.offer_operations()
        found: type[SpaceFamily] = self.plugin("space", name)
        return found

    def operation(self, name: str) -> Operation:
        """Return the declaration of an operation; raises as :meth:`estimator`."""
        if self.entry("operation", name).origin == BUILT_IN:
            return OPERATIONS[name]
        from nasbench_snas.architecture.candidates import declared

        return declared(self.plugin("operation", name))

    def dataset(self, name: str) -> type[ImageDataset]:
        """Import and return a data set that is not built in; raises as :meth:`estimator`."""
        found: type[ImageDataset] = self.plugin("dataset", name)
        return found

    def criterion(self, name: str) -> type[CostCriterion]:
        """Import and return a criterion that is not built in; raises as :meth:`estimator`."""
        found: type[CostCriterion] = self.plugin("criterion", name)
        return found

    def rule(self, name: str) -> type[DerivationRule]:
        """Import and return a rule that is not built in; raises as :meth:`estimator`."""
        found: type[DerivationRule] = self.plugin("rule", name)
        return found

    def transformer(self, name: str) -> type[LossTransformer]:
        """Import and return the transformer called ``name``; raises as :meth:`estimator`."""
        found: type[LossTransformer] = self.plugin("transformer", name)
        return found

    def stop(self, name: str) -> type[EarlyStop]:
        """Import and return the early stop called ``name``; raises as :meth:`estimator`."""
        found: type[EarlyStop] = self.plugin("stop", name)
        return found

    def is_plugin(self, kind: Kind, name: str) -> bool:
        """Whether ``name`` is not built in; raises as :meth:`estimator`."""
        return self.entry(kind, name).origin != BUILT_IN

    def entry(self, kind: Kind, name: str) -> Entry:
        """Return the single entry called ``name``; raises as :meth:`estimator`."""
        entries = list(self._entries(kind))
        found = [entry for entry in entries if entry.name == name]
        if not found:
            broken = [f"{e.origin} is broken: {e.problem}" for e in entries if e.problem]
            raise PluginError(
                f"unknown {kind} {name!r}.",
                suggest(name, {entry.name for entry in entries if not entry.problem}),
                "  ".join(broken)
                or f"Third-party {INFO[kind].plural}: pip install the package, or pass "
                f"--plugin my_{kind}.py",
            )
        if len(found) > 1:
            raise PluginError(
                f"{kind} {name!r} is defined more than once:",
                " and ".join(entry.origin for entry in found) + ".",
                "Rename one of them, or leave one out.",
            )
        return found[0]

    def plugin(self, kind: Kind, name: str) -> Any:
        """Import and return the class of a plug-in; raises as :meth:`estimator`."""
        entry = self.entry(kind, name)
        if entry.loaded is not None:
            return entry.loaded
        if entry.problem:
            raise PluginError(f"{kind} {name!r} ({entry.origin}) is broken: {entry.problem}")
        if not entry.is_class:
            raise PluginError(
                f"{kind} {name!r} is built in and no class.", "It is used by its name alone."
            )
        module = _imported(entry)
        for cls in vars(module).values():
            if isinstance(cls, type) and getattr(cls, "name", None) == name:
                if is_of_kind(cls, kind):
                    return cls
        raise PluginError(f"{entry.origin} defines no {kind} called {name!r}.")

    def offer_operations(self) -> None:
        """Make the operations of all plug-ins known by name; one is imported when it is used."""
        for entry in self._found("operation"):
            if entry.origin != BUILT_IN and not entry.problem:
                offer(entry.name, partial(self.operation, entry.name))

    def load_named(self) -> None:
        """Import what ``--plugin`` names.

        Raises:
            PluginError: A file or module is missing, cannot be imported or defines no plug-in.
        """
        for text in dict.fromkeys(self._plugins):
            origin = f"--plugin {text}"
            found = [entry for kind in KINDS for entry in plugin_entries(kind, text, origin)]
            for entry in found:
                if entry.problem:
                    raise PluginError(
                        f"{origin} cannot be used: {entry.problem}.",
                        fix="Name a file of Python, or a module that can be imported from here.",
                    )
                _imported(entry)

    def _entries(self, kind: Kind) -> Iterator[Entry]:
        """Yield all entries in lookup order; what is found in two ways is yielded once."""
        origins: dict[tuple[str, Path], str] = {}
        for entry in self._found(kind):
            file = entry.file.resolve() if entry.file else None
            if file is None or origins.setdefault((entry.name, file), entry.origin) == entry.origin:
                yield entry

    def _found(self, kind: Kind) -> Iterator[Entry]:
        for (registered_kind, name), cls in _registered.items():
            if registered_kind == kind:
                origin = f"registered by {cls.__module__}"
                attributes = {shown: getattr(cls, shown, "") for shown in INFO[kind].shown}
                if not attributes.get("summary"):
                    attributes["summary"] = (cls.__doc__ or "").strip().split("\n")[0]
                file = getattr(sys.modules.get(cls.__module__), "__file__", None)
                path = Path(file) if file else None
                yield Entry(kind, name, origin, None, path, attributes, loaded=cls)
        for option, texts in (
            ("--plugin", self._plugins),
            ("NASBENCH_PLUGINS", self._environment_plugins),
        ):
            for text in dict.fromkeys(texts):
                yield from plugin_entries(kind, text, f"{option} {text}")
        for point in _points(_installed()).select(group=f"nasbench_snas.{INFO[kind].plural}"):
            yield from entry_point(kind, point)
        yield from builtins(kind)


def _installed() -> tuple[tuple[str, int], ...]:
    """Return the folders that packages are imported from, with when each was last changed."""
    found = []
    for folder in sys.path:
        try:
            found.append((folder, os.stat(folder or ".").st_mtime_ns))
        except OSError:
            found.append((folder, 0))
    return tuple(found)


@lru_cache(maxsize=1)
def _points(installed: tuple[tuple[str, int], ...]) -> Any:  # of a type for each Python
    """Return the entry points of all packages; they are read again where ``installed`` changed.

    Every reading opens a file of every package, and a name is looked up thousands of times.
    """
    return entry_points()


def _imported(entry: Entry) -> ModuleType:
    """Import an entry's module; raises a :class:`PluginError` that says why it cannot be."""
    try:
        return _import(entry)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{entry.kind} {entry.name!r} ({entry.origin}) cannot be imported:",
            f"{type(error).__name__}: {error}",
            "Mend the plug-in; `nasbench check` runs its tests.",
        ) from error


def _import(entry: Entry) -> ModuleType:
    if entry.module is not None:
        return importlib.import_module(entry.module)
    if entry.file is None:
        raise PluginError(f"{entry.origin} has neither a module nor a file.")
    digest = hashlib.blake2b(str(entry.file).encode(), digest_size=4).hexdigest()
    name = f"nasbench_plugin_{entry.file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, entry.file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{entry.file} cannot be loaded as a module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
