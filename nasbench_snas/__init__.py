"""Estimator-comparison benchmark suite for differentiable neural architecture search."""

from __future__ import annotations

from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.1.0"

# In a source checkout estimators/, spaces/ and reports/ stand beside this directory, not inside it
# (see [tool.setuptools.package-dir]); in an installed wheel they are inside and this does nothing.
_root = _Path(__file__).resolve().parent.parent
if not (_root / "nasbench_snas" / "estimators").is_dir() and (_root / "estimators").is_dir():
    __path__.append(str(_root))


def __getattr__(name: str) -> _Any:
    """Return ``load_results`` or ``load``, imported when it is first asked for."""
    if name == "load_results":
        from nasbench_snas.runs.results import load_results

        return load_results
    if name == "load":
        from nasbench_snas.evaluate.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
