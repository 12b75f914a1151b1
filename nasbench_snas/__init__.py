"""Estimator-comparison benchmark suite for differentiable neural architecture search."""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from pathlib import Path as _Path
from types import ModuleType as _ModuleType
from typing import Any as _Any

__version__ = "0.1.0"

# In a source checkout estimators/, spaces/ and reports/ stand beside this directory, not inside it
# (see [tool.setuptools.package-dir]); in an installed wheel they are inside and this does nothing.
_root = _Path(__file__).resolve().parent.parent
if not (_root / "nasbench_snas" / "estimators").is_dir() and (_root / "estimators").is_dir():
    __path__.append(str(_root))
    _sys.modules[f"{__name__}.nasbench_snas"] = None  # type: ignore[assignment]  # no second copy


_HOMES = {
    "RetrainResult": "interface",
    "SearchResult": "interface",
    "StudyResult": "interface",
    "compare_gradients": "functional",
    "estimate": "functional",
    "figures": "interface",
    "load": "evaluate.load",
    "load_results": "runs.results",
    "make_estimator": "functional",
}
"""Where the public names live; each is imported, and torch with it, when it is first asked for."""

_CALLS = ("retrain", "search", "study")
"""Packages that are functions as well: called, they are those of :mod:`nasbench_snas.interface`."""

__all__ = [
    "RetrainResult",
    "SearchResult",
    "StudyResult",
    "__version__",
    "compare_gradients",
    "estimate",
    "figures",
    "load",
    "load_results",
    "make_estimator",
    "retrain",
    "search",
    "study",
]


class _Callable(_ModuleType):  # a package that is a function as well
    @property
    def __call__(self) -> _Any:
        """The function of the same name."""
        interface = _import_module(f"{__name__}.interface")
        return getattr(interface, self.__name__.rpartition(".")[2])

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """The function's documentation, for :func:`help`."""
        return self.__call__.__doc__

    @property
    def __signature__(self) -> _Any:
        """The function's signature, for :mod:`inspect` and editors."""
        return _import_module("inspect").signature(self.__call__)


class _Package(_ModuleType):
    """This package: what it imports and is a function as well becomes callable."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, as an import of a sub-package does."""
        if name in _CALLS and isinstance(value, _ModuleType):
            value.__class__ = _Callable
        super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> _Any:
    """Import a public name from its module when it is first used."""
    if name in _CALLS:
        return _import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
