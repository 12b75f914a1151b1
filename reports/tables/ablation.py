"""Ablations: runs that differ from a base in exactly one setting.

The base of a family (one estimator on one space and data set with one preset) is the setting that
most others differ from in one value; ties go to the one with more seeds, then to the first by
name. It is not chosen by accuracy, so that differences from it can be tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nasbench_snas.errors import NasbenchError
from nasbench_snas.settings.layers import flatten
from nasbench_snas.settings.run import from_toml

from . import rules
from .context import without_seed
from .differences import compared_with, comparison_cells
from .measure import counted_values, seeds_value
from .model import MEASURED, MISSING, Column, Table, Value, slug, text
from .selection import FAILED, PROVISIONAL, Run, chance_level

_COLUMN = "child_valid_acc"
_IGNORED = ("seed", "data.content")
Setting = dict[str, Any]


def ablation_tables(rows: Sequence[Run], *, confidence: float = 0.95) -> list[Table]:
    """Return a table for each family of searches in which one setting was changed at a time."""
    families: dict[tuple[str, ...], list[Run]] = {}
    for row in rows:
        done = row["status"] == "done" or row["status"] in FAILED
        if row["stage"] == "search" and done and row["seed"] is not None:
            names = ("estimator", "space", "dataset", "preset")
            families.setdefault(tuple(str(row[n]) for n in names), []).append(row)
    made = (_table(key, members, confidence) for key, members in sorted(families.items()))
    return [table for table in made if table is not None]


def _table(key: tuple[str, ...], members: Sequence[Run], confidence: float) -> Table | None:
    groups: dict[str, tuple[Setting, list[Run]]] = {}
    for run in members:
        setting = _setting(str(run["folder"]))
        if setting is not None:
            groups.setdefault(str(sorted(setting.items())), (setting, []))[1].append(run)
    changed = _around(groups)
    if changed is None:
        return None
    base, others = changed
    chance = chance_level(members)
    values = {"base": _values(groups[base][1])} | {
        label: _values(groups[name][1]) for label, name in others.items()
    }
    known = {label: counted_values(own, chance) for label, own in values.items()}
    compared = {c.row: c for c in compared_with(known, "base", confidence)}
    body = []
    cells: dict[str, Value] = {}
    for label, name in {"base": base, **others}.items():
        runs = groups[name][1]
        ids = tuple(str(run["run_id"]) for run in runs)
        cell = seeds_value(values[label], ids, confidence=confidence, failed_value=chance)
        found = compared.get(label)
        cells[label] = cell
        decimals = min(cell.decimals, cells["base"].decimals)
        gain = comparison_cells(found, ids, decimals) if found else [Value(MISSING)] * 3
        body.append((text(label, runs=ids), text(str(len(runs))), cell, *gain))
    estimator, space, dataset, preset = key
    provisional = preset in PROVISIONAL
    return Table(
        key="ablation",
        title=f"Ablation of {estimator}: one setting changed at a time",
        columns=(
            Column("setting", "Changed setting", numeric=False),
            Column("n", "n"),
            Column(_COLUMN, "Child acc. (%), inherited", MEASURED, brief="Child (%)"),
            Column("difference", "Median difference from the base", MEASURED, brief="Difference"),
            Column("interval", "Simultaneous CI", MEASURED, numeric=False, core=False),
            Column("p", "p (sign test, Holm)", MEASURED, brief="p"),
        ),
        rows=tuple(body),
        notes=(
            "Base: the setting from which most others differ in one value; it is not chosen by its "
            "accuracy. A changed data setting may change the images that are reported on.",
            rules.PAIRED,
            rules.CELL,
            *((rules.APART,) if provisional else ()),
        ),
        subject=" · ".join([estimator, space, dataset, f"preset {preset}"]),
        provisional=provisional,
        slug=slug(f"ablation-{estimator}-{space}-{dataset}-{preset}"),
    )


@cache
def _setting(folder: str) -> Setting | None:
    """Return what decides a run's result besides the seed, by dotted key; None if unreadable."""
    try:
        text = (Path(folder) / "config.toml").read_text(encoding="utf-8")
        return _settings(without_seed(text))
    except (NasbenchError, OSError, UnicodeDecodeError):
        return None


@cache
def _settings(text: str) -> Setting:
    """Return the same of the text of a ``config.toml``."""
    flat = flatten(from_toml(text).identity(0))
    return {k: str(v) for k, v in flat.items() if k not in _IGNORED and v is not None}


def _around(
    groups: Mapping[str, tuple[Setting, list[Run]]],
) -> tuple[str, dict[str, str]] | None:
    """Return the base and, by label, the settings that differ from it in one value; or None."""
    best: tuple[str, dict[str, str]] | None = None
    rank = (0, 0)
    for name in sorted(groups):
        setting, runs = groups[name]
        found = {}
        for other in sorted(groups):
            changes = _changes(setting, groups[other][0])
            if len(changes) == 1:
                found[changes[0]] = other
        if found and (len(found), len(runs)) > rank:
            best, rank = (name, dict(sorted(found.items()))), (len(found), len(runs))
    return best


def _changes(base: Setting, other: Setting) -> list[str]:
    keys = sorted({*base, *other})
    return [
        f"{key} = {other.get(key, 'unset')} (base: {base.get(key, 'unset')})"
        for key in keys
        if base.get(key) != other.get(key)
    ]


def _values(runs: Sequence[Run]) -> dict[int, float | None]:
    return {
        int(run["seed"]): None if run["status"] in FAILED else run[_COLUMN]
        for run in sorted(runs, key=lambda run: run["status"] not in FAILED)
    }
