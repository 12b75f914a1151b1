"""The table of the suite darts-bench: mean and best of the nine retrainings of each derived cell.

Jha et al. 2025, arXiv:2507.16533: the best of nine settings says what a cell can reach once its
training is tuned, the mean what it reaches without; methods may rank differently by the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nasbench_snas.errors import NasbenchError
from nasbench_snas.settings.retrain import retraining_from_toml

from . import rules
from .measure import mean_of, seeds_value
from .model import EMPTY, MEASURED, Column, Table, Value, slug, text
from .selection import FAILED, PROVISIONAL, Run, chance_level, labels

PREFIX = "darts-bench-"
Setting = tuple[float, float]
"""Learning rate and weight decay."""
Row = tuple[Value, ...]


class _Group(NamedTuple):
    """What the searches of one row share, and how their cells were chosen."""

    space: str
    estimator: str
    level: str
    constraint: str
    estimator_params: str
    alpha_settings: str
    setting: str
    selection: str

    @property
    def method(self) -> tuple[str, ...]:
        """What it shares with the same searches in other spaces."""
        return self[1:6]


Groups = Mapping[_Group, Mapping[str, Sequence[Run]]]
"""Retrainings by row and by the id of their search."""


@dataclass(frozen=True)
class _Cell:
    """The retrainings of one derived cell, by setting; those that failed are those of guessing."""

    search: Run
    runs: tuple[Run, ...]
    accuracies: Mapping[Setting, float]

    @property
    def ids(self) -> tuple[str, ...]:
        """Run ids, the search's included."""
        return (str(self.search["run_id"]), *(str(run["run_id"]) for run in self.runs))


def bench_tables(rows: Sequence[Run], *, confidence: float = 0.95) -> list[Table]:
    """Return a table for each preset and data set that retrainings of the suite were made with."""
    searches = {
        str(row["run_id"]): row
        for row in rows
        if row["stage"] == "search" and str(row["space"] or "").startswith(PREFIX)
    }
    tables: dict[tuple[str, ...], dict[_Group, dict[str, list[Run]]]] = {}
    for row in rows:
        search = searches.get(str(row["parent_id"]))
        ended = row["status"] == "done" or row["status"] in FAILED
        if row["stage"] != "retrain" or search is None or not ended or row["truncated"]:
            continue
        key = tuple(str(v) for v in (row["preset"], row["dataset"], row["retrain_seed"] or 0))
        names = _Group._fields[:-1]
        own = _Group._make([*(str(search[n]) for n in names), str(row["selection"] or "each seed")])
        cells = tables.setdefault(key, {}).setdefault(own, {})
        cells.setdefault(str(row["parent_id"]), []).append(row)
    made = (_table(key, groups, searches, confidence) for key, groups in sorted(tables.items()))
    return [table for table in made if table is not None]


def _settings() -> list[Setting]:
    """Return the nine settings of the suite."""
    from nasbench_snas.executors.suite import SETTINGS

    return list(SETTINGS)


def _place(name: str) -> int:
    from nasbench_snas.executors.suite import SPACES

    return SPACES.index(name) if name in SPACES else len(SPACES)


def _config_of(run: Run) -> str:
    return (Path(str(run["folder"])) / "config.toml").read_text(encoding="utf-8")


def _cell(search: Run, runs: Sequence[Run], nine: Sequence[Setting]) -> _Cell:
    kept: list[Run] = []
    accuracies: dict[Setting, float] = {}
    for run in sorted(runs, key=lambda r: str(r["run_id"])):
        try:
            config = retraining_from_toml(_config_of(run))
        except (NasbenchError, OSError, UnicodeDecodeError):
            continue
        setting = (config.training.lr, config.training.weight_decay)
        value = None if run["status"] in FAILED else run["test_err_top1"]
        accuracy = chance_level([run]) if value is None else 100.0 - float(value)
        if setting in nine and accuracy is not None:
            kept.append(run)
            accuracies.setdefault(setting, accuracy)
    return _Cell(search, tuple(kept), accuracies)


def _table(
    key: tuple[str, ...],
    groups: Groups,
    searches: Mapping[str, Run],
    confidence: float,
) -> Table | None:
    preset, dataset, seed = key
    nine, dagger = _settings(), " †" if preset in PROVISIONAL else ""
    names, rows = _labels(groups, searches), list[Row]()
    means: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for own, found in sorted(groups.items(), key=lambda item: (_place(item[0].space), item[0])):
        cells = [_cell(searches[parent], runs, nine) for parent, runs in sorted(found.items())]
        cells = [cell for cell in cells if cell.runs]
        if not cells:
            continue
        label, name = names[own.method], own.space.removeprefix(PREFIX) + dagger
        rows.append(_row(name, label, own.selection, cells, confidence))
        whole = [cell for cell in cells if len(cell.accuracies) == len(nine)]
        if whole:
            values = [list(cell.accuracies.values()) for cell in whole]
            mean = math.fsum(math.fsum(v) / len(v) for v in values) / len(values)
            best = math.fsum(max(v) for v in values) / len(values)
            means.setdefault((label, own.selection), []).append((own.space, mean, best))
    if not rows:
        return None
    rows += _overall(means, dagger)
    columns = (
        Column("benchmark", "Benchmark", numeric=False),
        Column("estimator", "Estimator", numeric=False),
        Column("n", "n (searches)", brief="n"),
        Column("selection", "Cells", numeric=False, core=False),
        Column("settings", "Settings trained", brief="Settings"),
        Column("mean", "Mean of nine (%)", MEASURED),
        Column("best", "Best of nine (%)", MEASURED),
        Column("which", "Best setting (lr, weight decay)", MEASURED, numeric=False, core=False),
    )
    words = [dataset, f"preset {preset}", f"retrain seed {seed}"]
    return Table(
        key="darts-bench",
        title="DARTS-Bench-Suite: test accuracy of the derived cells over nine training settings",
        columns=columns,
        rows=tuple(rows),
        notes=(
            "Nine settings: learning rate .025, .1, .01 by weight decay 1e-4, 3e-4, 1e-3, one "
            "retraining each; test accuracy of the last epoch. Mean and best of nine are over "
            "settings, not over seeds: the best of nine was chosen by test accuracy, as published, "
            "and is no estimate of what one would get. A retraining that failed counts with the "
            "accuracy of guessing. A cell with fewer than nine has neither.",
            "n: finished searches that the cells come from. Best of n: the cell of the seed with "
            "the best search validation accuracy, one cell a row, so no scatter; each seed: the "
            "cells of all seeds, whose means and bests the row shows as cells.",
            "Source: Jha et al. 2025, arXiv:2507.16533.",
            rules.CELL,
            *((rules.APART,) if dagger else ()),
        ),
        subject=" · ".join(words),
        provisional=bool(dagger),
        slug=slug("darts-bench-" + "-".join(words)),
    )


def _labels(groups: Groups, searches: Mapping[str, Run]) -> dict[tuple[str, ...], str]:
    """Return the label of each method: estimator, level, constraint, and what else differs."""
    one = {own.method: searches[parent] for own, found in groups.items() for parent in found}
    result = {}
    for level, constraint in {(own.level, own.constraint) for own in groups}:
        alike = {method: run for method, run in one.items() if method[1:3] == (level, constraint)}
        for method, name in zip(alike, labels(list(alike.values())), strict=True):
            told = "" if constraint == "none" else f", constraint {constraint}"
            result[method] = f"{name} ({level}){told}"
    return result


def _row(
    benchmark: str, label: str, selection: str, cells: Sequence[_Cell], confidence: float
) -> Row:
    nine, ids = len(_settings()), tuple(dict.fromkeys(i for cell in cells for i in cell.ids))
    n = _searches(cells) if selection == "best of n" else len(cells)
    trained = min(len(cell.accuracies) for cell in cells)
    whole = [cell for cell in cells if len(cell.accuracies) == nine]
    values = {int(cell.search["seed"]): list(cell.accuracies.values()) for cell in whole}
    means: dict[int, float | None] = {s: math.fsum(v) / len(v) for s, v in values.items()}
    bests: dict[int, float | None] = {s: max(v) for s, v in values.items()}
    which = EMPTY
    if len(whole) == 1:
        rate, decay = max(whole[0].accuracies, key=lambda s: whole[0].accuracies[s])
        which = text(f"{rate:g}, {decay:g}", runs=ids)
    return (
        text(benchmark, runs=ids),
        text(label, runs=ids),
        Value(str(n), float(n), ids),
        text(selection),
        Value(f"{trained}/{nine}", float(trained), ids),
        seeds_value(means, ids, confidence=confidence) if means else EMPTY,
        seeds_value(bests, ids, confidence=confidence) if bests else EMPTY,
        which,
    )


def _searches(cells: Sequence[_Cell]) -> int:
    """Return how many finished searches the chosen cell was chosen among; 0 if not recorded."""
    for run in cells[0].runs:
        try:
            candidates = retraining_from_toml(_config_of(run)).candidates
        except (NasbenchError, OSError, UnicodeDecodeError):
            continue
        return sum(_is_accuracy(line.rpartition(": ")[2]) for line in candidates)
    return 0


def _is_accuracy(words: str) -> bool:
    try:
        return math.isfinite(float(words))
    except ValueError:
        return False


def _overall(
    means: Mapping[tuple[str, str], Sequence[tuple[str, float, float]]], dagger: str
) -> list[Row]:
    """Return the means over all nine benchmarks, of the estimators that have all of them."""
    from nasbench_snas.executors.suite import SPACES

    rows = []
    for (label, selection), found in sorted(means.items()):
        spaces, *values = zip(*found, strict=True)
        if sorted(spaces) == sorted(SPACES):
            parts = [mean_of(dict(enumerate(part))) for part in values]
            shown = [Value(f"{v:.2f}", v, numbers={"mean": v}) for v in parts if v is not None]
            head = (text("mean of the nine" + dagger), text(label), EMPTY, text(selection))
            rows.append((*head, EMPTY, *shown, EMPTY))
    return rows
