"""What a call is given instead of names: classes and objects of estimators, spaces, plug-ins.

A class is registered for this process, as ``@nasbench_snas.registry.register`` does. One that
stands in a file is recorded and compared like a ``--plugin`` file. One that stands in none (a cell
of a notebook) has no file that a stored run could be compared with, so the text of the class takes
its place: a stored run that another text made is refused, and so is a class without a text.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from nasbench_snas.api import Estimator, SpaceFamily
from nasbench_snas.errors import CheckpointError, ConfigError, PluginError
from nasbench_snas.registry import INFO, KINDS, Kind, Registry, register
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.plugins import plugin_record, recorded_plugins
from nasbench_snas.runs.provenance import class_source, file_of
from nasbench_snas.settings.layers import flatten
from nasbench_snas.settings.parameters import resolve_parameters

EstimatorLike = str | type[Estimator] | Estimator
SpaceLike = str | type[SpaceFamily] | SpaceFamily
_MISSING = object()


@dataclass(frozen=True)
class Named:
    """An estimator or space by name, with the settings that an object of it had.

    Attributes:
        name: Its name in the registry.
        settings: Settings of the object; none of a name or class.
    """

    name: str
    settings: Mapping[str, Any]


class Given:
    """The plug-ins of one call.

    Args:
        plugins: Classes of any kind, or files or modules as after ``--plugin``.

    Attributes:
        registry: Where names are looked up, with ``NASBENCH_PLUGINS``.

    Raises:
        PluginError: One is missing, broken or no plug-in, or its name is taken.
    """

    def __init__(self, plugins: Sequence[type | str | Path] = ()) -> None:
        named = [str(item) for item in plugins if not isinstance(item, type)]
        environment = os.environ.get("NASBENCH_PLUGINS", "").split(os.pathsep)
        self.registry = Registry(named, [text for text in environment if text])
        self.registry.load_named()
        self.registry.offer_operations()
        self._loose: dict[str, type] = {}
        for item in plugins:
            if isinstance(item, type):
                self._class(item)

    def settings(self, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return settings by dotted key; a class of a plug-in stands for its name.

        Raises:
            PluginError: A class is no plug-in, or its name is taken.
        """

        def named(value: Any) -> Any:
            if isinstance(value, type):
                return self._class(value)
            return [named(item) for item in value] if isinstance(value, list | tuple) else value

        return {key: named(value) for key, value in flatten(settings or {}).items()}

    def _class(self, cls: type) -> str:
        """Take a class of any kind of plug-in, and return its name."""
        bases = {base.__name__ for base in cls.__mro__[1:]}
        kind = next((kind for kind in KINDS if bases & set(INFO[kind].bases)), None)
        if kind is None:
            register(cls)  # says what is no plug-in
            raise PluginError(f"{cls.__qualname__} is no plug-in.")
        return self._take(kind, cls)

    def estimator(self, given: EstimatorLike) -> Named:
        """Return the name of an estimator (with its settings: ``rloo:n=8``, or ``all``, as given).

        Raises:
            ConfigError: It is something else, or the settings of an object cannot be read back.
            PluginError: Its name is taken.
        """
        return self._named("estimator", given, Estimator)

    def space(self, given: SpaceLike) -> Named:
        """Return the name of a space; raises as :meth:`estimator`."""
        return self._named("space", given, SpaceFamily)

    def _named(self, kind: Kind, given: Any, base: type) -> Named:
        """Return the name of a plug-in, its class registered; raises as :meth:`estimator`."""
        if isinstance(given, str):
            self._remember(kind, given.partition(":")[0])
            return Named(given, {})
        cls = given if isinstance(given, type) else type(given)
        if not issubclass(cls, base):
            raise ConfigError(
                f"{kind}: {str(given)[:80]!r} is a {cls.__name__}.",
                f"Expected a name, a subclass of {base.__name__}, or an object of one.",
            )
        name = self._take(kind, cls)
        return Named(name, {} if isinstance(given, type) else settings_of(given, kind))

    def _remember(self, kind: Kind, name: str) -> None:
        """Remember what is registered under a name (``all``: anything) and stands in no file."""
        for entry in self.registry.entries(kind):
            if entry.loaded and name in (entry.name, "all") and file_of(entry.loaded) is None:
                self._loose[entry.loaded.__qualname__] = entry.loaded

    def _take(self, kind: Kind, cls: type) -> str:
        """Register a class, unless the registry finds it by itself, and return its name.

        Raises:
            PluginError: It has no name, or something else has it.
        """
        name = str(getattr(cls, "name", "") or "")
        if not name:
            raise PluginError(
                f"{cls.__qualname__} has no name.",
                "Runs, tables and figures call it by its name.",
                f'Add to the class: name = "{cls.__name__.lower()}"',
            )
        if file_of(cls) is None:
            self._loose[cls.__qualname__] = cls
        try:
            entry = self.registry.entry(kind, name)
        except PluginError:  # there is none; or there are several, which is said where it is used
            register(cls)
            return name
        if entry.loaded is not None:
            register(cls)
        elif entry.file is None or entry.file.resolve() != file_of(cls):
            raise PluginError(
                f"{cls.__qualname__} is called {name!r}, as the {kind} of that name is already "
                f"({entry.origin}).",
                "Runs, tables and figures could not tell them apart.",
                'Give the class a name of its own: name = "…"',
            )
        return name

    @property
    def sources(self) -> str | None:
        """A hash of the classes that stand in no file; None where a text cannot be had."""
        texts = [class_source(cls) for cls in self._loose.values()]
        if any(text is None for text in texts):
            return None
        return hashlib.blake2b("\n".join(map(str, texts)).encode(), digest_size=8).hexdigest()

    def check_stored(self, folder: RunFolder, other_way: str, *, anew: bool = False) -> None:
        """Check that a stored run was made by the same texts of classes that stand in no file.

        Args:
            folder: The run.
            other_way: What else can be done, in words.
            anew: Whether it is made anew, whatever made it before.

        Raises:
            CheckpointError: Another text made it.
            PluginError: A class has no text, so that a stored run could not say what made it.
        """
        for cls in self._loose.values():
            if class_source(cls) is None:
                raise PluginError(
                    f"{cls.__qualname__} cannot be used in a stored run: its text cannot be had.",
                    "It stands in no file, so that the run could not tell by which code it was "
                    "made.",
                    "Write the class into a file and import it, or leave root out.",
                )
        for used in () if anew else recorded_plugins(folder):
            try:
                loaded = self.registry.entry(used["kind"], used["name"]).loaded
            except PluginError:  # said where it is used
                continue
            if loaded is None or file_of(loaded) is not None:
                continue
            now = plugin_record(self.registry, used["kind"], used["name"])["digest"]
            if used.get("digest") != now:
                raise CheckpointError(
                    f"run {folder.run_id} was made with another text of {used['kind']} "
                    f"{used['name']!r}.",
                    f"Its digest is {used.get('digest')}, that of the class now {now}.",
                    f"Give the class another name, {other_way}.",
                )


def settings_of(given: object, where: str) -> dict[str, Any]:
    """Return the settings that an object was constructed with, as far as they are no defaults.

    They are the attributes called like the constructor's arguments; an object made anew from them
    must have the same ones.

    Raises:
        ConfigError: They cannot be read back.
    """
    cls = type(given)
    names = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    found = {name: getattr(given, name, _MISSING) for name in names}
    lost = [name for name, value in found.items() if value is _MISSING]
    if not lost:
        settings = resolve_parameters(cls, found, where)
        again = cls(**settings)
        lost = [name for name in names if getattr(again, name) != found[name]]
    if lost:
        raise ConfigError(
            f"{where}: the settings of an object of {cls.__qualname__} cannot be read back.",
            f"It has no attribute that tells its {', '.join(lost)}.",
            f"Give the class, and settings={{'{where}.{lost[0]}': …}}.",
        )
    defaults = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    return {name: value for name, value in settings.items() if defaults[name] != value}


def assignments(settings: Mapping[str, Any], *named: tuple[str, Named]) -> list[str]:
    """Return settings as ``KEY=VALUE``, as after ``--set``.

    Args:
        settings: By dotted key; they win over those of objects.
        named: Prefix and plug-in.

    Raises:
        ConfigError: A value is nothing that a settings file can hold.
    """
    flat: dict[str, Any] = {}
    for prefix, item in named:
        flat |= {f"{prefix}.{key}": value for key, value in item.settings.items()}
    flat |= settings
    return [f"{key}={_text(key, value)}" for key, value in flat.items()]


def _text(key: str, value: Any) -> str:
    plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
    plain = str(plain) if isinstance(plain, Path) else plain
    try:
        return tomli_w.dumps({"value": plain}).partition("=")[2].strip()
    except TypeError as error:
        raise ConfigError(
            f"setting {key}: {value!r} cannot be written into a settings file.",
            "Expected a number, a text, True, False, or a list of them.",
            "Leave it out for the default." if value is None else "",
        ) from error
