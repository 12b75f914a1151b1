"""Finds estimators and spaces by name; lists them without importing them.

Lookup order: :func:`register`, ``--plugin``, ``NASBENCH_PLUGINS``, entry points (groups
``nasbench_snas.estimators`` and ``nasbench_snas.spaces``), built-ins. Built-ins are the files of
``nasbench_snas.estimators`` and ``nasbench_snas.spaces``. What a listing shows is read from the
source text: class attributes that are literals. A broken plug-in is reported where it is listed or
used, and breaks nothing else; a name that two places define is an error where it is used.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from nasbench_snas.errors import PluginError, suggest

if TYPE_CHECKING:
    from nasbench_snas.api import Estimator
    from nasbench_snas.architecture.space import SpaceFamily

Kind = Literal["estimator", "space"]
_BASES: dict[Kind, set[str]] = {
    "estimator": {"Estimator", "Pathwise", "Score"},
    "space": {"SpaceFamily"},
}
_FAMILIES = {"Pathwise": "pathwise", "AnnealedPathwise": "pathwise", "Score": "score"}
_registered: dict[tuple[Kind, str], type] = {}


@dataclass(frozen=True)
class Entry:
    """One estimator or space, as a listing shows it.

    Attributes:
        kind: ``estimator`` or ``space``.
        name: Its key.
        origin: Where it was found, in words.
        module: Module to import, or None for a file.
        file: Source file, or None if it is not known.
        attributes: Literal class attributes; ``summary``: the first line of the docstring;
            ``settings``: literal defaults of the constructor.
        problem: Why it cannot be used, or empty.
        loaded: The class itself, where it was registered directly.
    """

    kind: Kind
    name: str
    origin: str
    module: str | None = None
    file: Path | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    loaded: type | None = None


def register(cls: type) -> type:
    """Register an estimator or a space family under its ``name``; usable as a decorator.

    Raises:
        PluginError: It is neither, or its name is taken by another registered class.
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
    names = {base.__name__ for base in cls.__mro__}
    for kind, bases in _BASES.items():
        if names & bases and bool(getattr(cls, "name", "")):
            return kind
    raise PluginError(
        f"{cls.__qualname__} is neither an estimator nor a space.",
        "Expected a subclass of nasbench_snas.api.Estimator or SpaceFamily with a `name`.",
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

    def estimators(self) -> list[Entry]:
        """Return all estimators by name, importing none of them."""
        return sorted(self._entries("estimator"), key=lambda entry: entry.name)

    def spaces(self) -> list[Entry]:
        """Return all spaces by name, importing none of them."""
        return sorted(self._entries("space"), key=lambda entry: entry.name)

    def estimator(self, name: str) -> type[Estimator]:
        """Import and return the estimator class called ``name``.

        Raises:
            PluginError: It is unknown (with a suggestion), ambiguous or broken.
        """
        found: type[Estimator] = self._load("estimator", name)
        return found

    def space(self, name: str) -> type[SpaceFamily]:
        """Import and return the space family called ``name``; raises as :meth:`estimator`."""
        found: type[SpaceFamily] = self._load("space", name)
        return found

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
                or f"Third-party {kind}s: pip install the package, or pass --plugin my_{kind}.py",
            )
        if len(found) > 1:
            raise PluginError(
                f"{kind} {name!r} is defined more than once:",
                " and ".join(entry.origin for entry in found) + ".",
                "Rename one of them, or leave one out.",
            )
        return found[0]

    def _load(self, kind: Kind, name: str) -> Any:
        entry = self.entry(kind, name)
        if entry.loaded is not None:
            return entry.loaded
        if entry.problem:
            raise PluginError(f"{kind} {name!r} ({entry.origin}) is broken: {entry.problem}")
        try:
            module = _import(entry)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{kind} {name!r} ({entry.origin}) cannot be imported:",
                f"{type(error).__name__}: {error}",
                "Mend the plug-in; `nasbench check` runs its tests.",
            ) from error
        for cls in vars(module).values():
            if isinstance(cls, type) and getattr(cls, "name", None) == name:
                if any(base.__name__ in _BASES[kind] for base in cls.__mro__[1:]):
                    return cls
        raise PluginError(f"{entry.origin} defines no {kind} called {name!r}.")

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
                summary = (cls.__doc__ or "").strip().split("\n")[0]
                attributes = {shown: getattr(cls, shown, "") for shown in _SHOWN}
                attributes["summary"] = summary
                file = getattr(sys.modules.get(cls.__module__), "__file__", None)
                path = Path(file) if file else None
                yield Entry(kind, name, origin, None, path, attributes, loaded=cls)
        for option, texts in (
            ("--plugin", self._plugins),
            ("NASBENCH_PLUGINS", self._environment_plugins),
        ):
            for text in dict.fromkeys(texts):
                yield from _plugin_entries(kind, text, f"{option} {text}")
        for point in entry_points(group=f"nasbench_snas.{kind}s"):
            yield from _entry_point(kind, point)
        yield from _builtins(kind)


_SHOWN = ("family", "reference", "evaluations", "bias", "n", "version")


@cache
def _builtins(kind: Kind) -> tuple[Entry, ...]:
    package = f"nasbench_snas.{kind}s"
    spec = importlib.util.find_spec(package)
    return tuple(
        entry
        for folder in ((spec.submodule_search_locations or ()) if spec else ())
        for file in sorted(Path(folder).glob("[a-z]*.py"))
        for entry in _file_entries(kind, file, "built-in", f"{package}.{file.stem}")
    )


def _plugin_entries(kind: Kind, text: str, origin: str) -> Iterator[Entry]:
    if text.endswith(".py") or "/" in text:
        file = Path(text)
        if file.is_file():
            yield from _file_entries(kind, file.resolve(), origin, None)
        else:
            yield Entry(kind, file.stem, origin, problem=f"there is no file {text!r}")
        return
    module_file = _module_file(text)
    if module_file is None:
        yield Entry(kind, text, origin, problem=f"there is no module {text!r}")
    else:
        yield from _file_entries(kind, module_file, origin, text)


def _entry_point(kind: Kind, point: EntryPoint) -> Iterator[Entry]:
    module = point.value.partition(":")[0]
    package = point.dist.name if point.dist else "?"
    origin, file = f"entry point of {package}", _module_file(module)
    if file is None:
        problem = f"module {module!r} of the entry point is missing"
        yield Entry(kind, point.name, origin, problem=problem)
        return
    yield from _file_entries(kind, file, origin, module, point.name)


def _module_file(module: str) -> Path | None:
    """Return the source file of ``module`` without importing it or its parents."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = PathFinder.find_spec(top) or importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*rest)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None


def _file_entries(
    kind: Kind, file: Path, origin: str, module: str | None, promised: str = ""
) -> Iterator[Entry]:
    """Yield what ``file`` defines, read from its text; it must define something of some kind.

    With ``promised`` (the name of an entry point) only that, which may also be a class that the
    module imports: then nothing is known of it before it is loaded.
    """
    fallback = promised or file.stem.replace("_", "-")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        yield Entry(kind, fallback, origin, module, file, problem=str(error))
        return
    docstring = (ast.get_docstring(tree) or "").split("\n")[0]
    found = False
    for node in tree.body:
        if not (isinstance(node, ast.ClassDef) and node.bases):
            continue
        attributes = _literals(node)
        name = attributes.get("name")
        if isinstance(name, str) and name and promised in ("", name):
            bases = [_name(base) for base in node.bases]
            attributes["family"] = attributes.get("family") or next(
                (_FAMILIES[base] for base in bases if base in _FAMILIES), ""
            )
            is_space, found = any("Space" in base for base in bases), True
            if is_space == (kind == "space"):
                attributes.setdefault("summary", docstring)
                yield Entry(kind, name, origin, module, file, attributes)
    if not found:
        problem = "" if promised else f"{file.name} defines no class with a literal `name`"
        yield Entry(kind, fallback, origin, module, file, problem=problem)


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            values["settings"] = _defaults(statement)
            continue
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            target, value = statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            target, value = statement.target.id, statement.value or ast.Constant(None)
        else:
            continue
        try:
            values[target] = ast.literal_eval(value)
        except (ValueError, TypeError):
            continue
    return values


def _defaults(function: ast.FunctionDef) -> dict[str, Any]:
    """Return the literal defaults of a function's arguments."""
    arguments = function.args.args
    positional = zip(arguments[::-1], function.args.defaults[::-1], strict=False)
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    found = {}
    for argument, default in [*list(positional)[::-1], *keywords]:
        if isinstance(default, ast.Constant):
            found[argument.arg] = default.value
    return found


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


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
