"""What a source file says of the plug-ins in it, read from its text: nothing is imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from nasbench_snas.registry.kinds import Entry, Kind, kind_of_bases

_FAMILIES = {"Pathwise": "pathwise", "AnnealedPathwise": "pathwise", "Score": "score"}
_NO_PLUGIN = {"object", "Module", "NamedTuple", "TypedDict", "Protocol", "ABC", "Enum", "Exception"}


def plugin_entries(kind: Kind, text: str, origin: str) -> Iterator[Entry]:
    """Yield what the file or module ``text`` (of ``--plugin``) defines of this kind."""
    if text.endswith(".py") or "/" in text:
        file = Path(text)
        if file.is_file():
            yield from file_entries(kind, file.resolve(), origin, None)
        else:
            yield Entry(kind, file.stem, origin, problem=f"there is no file {text!r}")
        return
    module = module_file(text)
    if module is None:
        yield Entry(kind, text, origin, problem=f"there is no module {text!r}")
    else:
        yield from file_entries(kind, module, origin, text)


def entry_point(kind: Kind, point: EntryPoint) -> Iterator[Entry]:
    """Yield what an entry point promises."""
    module = point.value.partition(":")[0]
    package = point.dist.name if point.dist else "?"
    origin, file = f"entry point of {package}", module_file(module)
    if file is None:
        problem = f"module {module!r} of the entry point is missing"
        yield Entry(kind, point.name, origin, problem=problem)
        return
    yield from file_entries(kind, file, origin, module, point.name)


def module_file(module: str) -> Path | None:
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


def has_module(module: str) -> bool:
    """Whether a module is found, by its source file, without importing anything."""
    return module_file(module) is not None


def file_entries(
    kind: Kind, file: Path, origin: str, module: str | None, promised: str = ""
) -> Iterator[Entry]:
    """Yield what ``file`` defines of this kind; it must define something of some kind.

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
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = False
    for node in classes_with_bases(tree):
        attributes = _literals(node)
        name = attributes.get("name")
        if not (isinstance(name, str) and name and promised in ("", name)):
            continue
        bases = list(_ancestors(node, classes))
        if bases and set(bases) <= _NO_PLUGIN:
            continue
        found = True
        if (kind_of_bases(bases) or "estimator") != kind:
            continue
        if kind == "estimator":
            attributes["family"] = attributes.get("family") or next(
                (_FAMILIES[base] for base in bases if base in _FAMILIES), ""
            )
        attributes.setdefault("summary", docstring)
        yield Entry(kind, name, origin, module, file, attributes)
    if not found:
        problem = "" if promised else f"{file.name} defines no class with a literal `name`"
        yield Entry(kind, fallback, origin, module, file, problem=problem)


def classes_with_bases(tree: ast.Module) -> Iterator[ast.ClassDef]:
    """Yield the classes of a module that have base classes."""
    yield from (node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases)


def _ancestors(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """Yield the names of all base classes as far as the file itself tells them."""
    open_names, seen = [_name(base) for base in node.bases], {node.name}
    while open_names:
        name = open_names.pop(0)
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name in classes:
            open_names += [_name(base) for base in classes[name].bases]


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
