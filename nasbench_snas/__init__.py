"""Estimator-comparison benchmark suite for differentiable neural architecture search."""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.1.0"

# In a source checkout estimators/, spaces/ and reports/ stand beside this directory, not inside it
# (see [tool.setuptools.package-dir]); in an installed wheel they are inside and this does nothing.
_root = _Path(__file__).resolve().parent.parent
if not (_root / "nasbench_snas" / "estimators").is_dir() and (_root / "estimators").is_dir():
    __path__.append(str(_root))
    _sys.modules[f"{__name__}.nasbench_snas"] = None  # type: ignore[assignment]  # no second copy


_HOMES = {
    "compare_gradients": "functional",
    "estimate": "functional",
    "load": "evaluate.load",
    "load_results": "runs.results",
    "make_estimator": "functional",
}
"""Where the public names live; each is imported, and torch with it, when it is first asked for."""

__all__ = [
    "__version__",
    "compare_gradients",
    "estimate",
    "load",
    "load_results",
    "make_estimator",
]


def __getattr__(name: str) -> _Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
