"""What is built in, by kind: files of one algorithm each, and lists of everything else."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from nasbench_snas.registry.kinds import BUILT_IN, INFO, Entry, Kind
from nasbench_snas.registry.source import file_entries

_CLASSES: dict[Kind, tuple[str, ...]] = {"criterion": ("nasbench_snas.cost.file_table",)}
"""Modules with built-in classes of the other kinds."""
_FILES: tuple[Kind, ...] = ("estimator", "space", "transformer", "stop")


@cache
def builtins(kind: Kind) -> tuple[Entry, ...]:
    """Return what is built in of this kind, importing no torch."""
    if kind in _FILES:
        return _files(kind)
    summaries = {
        "operation": _operations,
        "dataset": _datasets,
        "criterion": _criteria,
        "rule": _rules,
    }
    found = summaries[kind]() if kind in summaries else {}
    listed = [
        Entry(kind, name, BUILT_IN, attributes={"summary": summary})
        for name, summary in found.items()
    ]
    for module in _CLASSES.get(kind, ()):
        file = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
        listed += file_entries(kind, file, BUILT_IN, module)
    return tuple(listed)


def _files(kind: Kind) -> tuple[Entry, ...]:
    package = f"nasbench_snas.{INFO[kind].plural}"
    spec = importlib.util.find_spec(package)
    return tuple(
        entry
        for folder in ((spec.submodule_search_locations or ()) if spec else ())
        for file in sorted(Path(folder).glob("[a-z]*.py"))
        for entry in file_entries(kind, file, BUILT_IN, f"{package}.{file.stem}")
    )


def _operations() -> dict[str, str]:
    from nasbench_snas.architecture.operations import OPERATIONS

    words = {"zero": "no edge", "skip": "identity; at stride 2 a factorised reduction"}
    words |= {"pool": "3x3 pooling", "noise": "standard Gaussian noise in place of the input"}
    return {
        name: words.get(found.kind) or f"{len(found.units)} ReLU-convolution-norm unit(s)"
        for name, found in OPERATIONS.items()
    }


def _datasets() -> dict[str, str]:
    from nasbench_snas.data.catalogue import list_datasets

    return {info.name: info.summary for info in list_datasets()}


def _criteria() -> Mapping[str, str]:
    from nasbench_snas.cost.settings import CRITERIA_WORDS

    return CRITERIA_WORDS


def _rules() -> Mapping[str, str]:
    from nasbench_snas.api import RULES

    return RULES
