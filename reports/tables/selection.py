"""Which runs stand together: tables of comparable runs, rows of one estimator variant, exclusions.

Runs share a table if they share preset, space, data set, constraint level and every setting but
estimator, seed, architecture optimiser and optimisation level (which is a column); truncated runs
keep to themselves. Runs share a row if they differ in nothing but the seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.errors import NasbenchError
from nasbench_snas.settings.run import from_toml

from .model import slug

Run = Mapping[str, Any]

FAILED = ("failed", "diverged", "damaged")
PROVISIONAL = ("smoke", "small")
_LEVELS = ("none", "mild", "moderate", "aggressive")
_PRESETS = ("paper", "small", "smoke")


@dataclass(frozen=True)
class Variant:
    """The runs of one row: one estimator with one set of settings.

    Attributes:
        label: Name of the row.
        level: Optimisation level.
        runs: Finished runs, by seed.
        failed: Runs that ended without a result.
    """

    label: str
    level: str
    runs: tuple[Run, ...]
    failed: tuple[Run, ...] = ()

    @property
    def estimator(self) -> str:
        """Name of the estimator."""
        return str((*self.runs, *self.failed)[0]["estimator"])

    @property
    def ids(self) -> tuple[str, ...]:
        """Run ids, failed ones included."""
        return tuple(str(run["run_id"]) for run in (*self.runs, *self.failed))

    @property
    def failed_ids(self) -> tuple[str, ...]:
        """Ids of the failed runs."""
        return tuple(str(run["run_id"]) for run in self.failed)

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing in percent, which a failed run counts with; None if not known."""
        return chance_level((*self.runs, *self.failed))

    def by_seed(self, column: str) -> dict[int, float | None]:
        """Return seed to value; None for runs that failed or lack the value."""
        values: dict[int, float | None] = {}
        for run in self.runs:
            values[int(run["seed"])] = None if run[column] is None else float(run[column])
        for run in self.failed:
            if run["seed"] is not None:
                values.setdefault(int(run["seed"]), None)
        return values


def chance_level(runs: Sequence[Run]) -> float | None:
    """Return the accuracy of guessing in percent, or None where the classes are not known."""
    counts = {int(run["num_classes"] or _classes(str(run["dataset"]))) for run in runs} - {0}
    return 100.0 / counts.pop() if len(counts) == 1 else None


def _classes(dataset: str) -> int:
    """Return the classes of a data set, or 0 where its files decide."""
    info = CATALOGUE.get(dataset)
    return (info.classes if info else None) or 0


@dataclass(frozen=True)
class Comparable:
    """The runs of one table.

    Attributes:
        preset: Their preset.
        space: Their space.
        dataset: Their data set.
        constraint: Their level of resource constraint.
        setting: Hash of all they share.
        truncated: Whether they are truncated runs.
        variants: The rows.
    """

    preset: str
    space: str
    dataset: str
    constraint: str
    setting: str
    truncated: bool
    variants: tuple[Variant, ...]

    @property
    def provisional(self) -> bool:
        """Whether the runs are marked with a dagger."""
        return self.truncated or self.preset in PROVISIONAL

    @property
    def runs(self) -> tuple[Run, ...]:
        """All finished runs."""
        return tuple(run for variant in self.variants for run in variant.runs)

    @property
    def unconstrained(self) -> str:
        """What the runs share with those of other levels of constraint."""
        runs = (run for v in self.variants for run in (*v.runs, *v.failed))
        known = (str(run["unconstrained_setting"]) for run in runs if run["unconstrained_setting"])
        return next(known, self.setting)

    @property
    def subject(self) -> str:
        """What the runs share, in words."""
        words = [
            self.space,
            self.dataset,
            f"preset {self.preset}",
            f"constraint {self.constraint}",
            f"setting {self.setting}",
        ]
        return " · ".join([*words, *(["truncated"] if self.truncated else [])])

    @property
    def slug(self) -> str:
        """The same as part of a file name."""
        parts = [self.preset, self.space, self.dataset, self.constraint, self.setting]
        return slug("-".join([*parts, *(["truncated"] if self.truncated else [])]))

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices the finished runs used."""
        return tuple(sorted({str(run["device_name"]) for run in self.runs}))


@dataclass(frozen=True)
class Exclusion:
    """A run that is in no table, or in it without a value.

    Attributes:
        run_id: The run.
        status: Its status.
        why: In words.
    """

    run_id: str
    status: str
    why: str


def select(
    rows: Sequence[Run], *, include_truncated: bool = False, min_seeds: int = 1
) -> tuple[list[Comparable], list[Exclusion]]:
    """Return the tables' worth of searches, and what was left out or failed, with the reason.

    Args:
        rows: Rows of the result schema; other stages than ``search`` are ignored.
        include_truncated: Whether runs that were stopped early on purpose are shown.
        min_seeds: Rows with fewer seeds are left out; a failed seed is one, too.
    """
    excluded: list[Exclusion] = []
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Run]]] = {}
    for row in rows:
        if row["stage"] != "search":
            continue
        reason = _why_excluded(row, include_truncated)
        if reason or row["status"] in FAILED:
            excluded.append(Exclusion(str(row["run_id"]), str(row["status"]), _why(row, reason)))
        if not reason:
            groups.setdefault(_table_key(row), {}).setdefault(_row_key(row), []).append(row)
    tables = []
    for key, variants in sorted(groups.items(), key=lambda item: _rank(item[0])):
        kept = []
        for variant in _variants(list(variants.values())):
            if len(variant.runs) + len(variant.failed) < min_seeds:
                why = f"{len(variant.runs)} finished seed(s), fewer than --min-seeds {min_seeds}"
                excluded += [
                    Exclusion(str(r["run_id"]), str(r["status"]), why) for r in variant.runs
                ]
            else:
                kept.append(variant)
        if kept:
            preset, space, dataset, constraint, setting, truncated = key
            tables.append(
                Comparable(preset, space, dataset, constraint, setting, truncated, tuple(kept))
            )
    return tables, sorted(excluded, key=lambda e: (e.run_id, e.why))


def _why_excluded(row: Run, include_truncated: bool) -> str:
    status = row["status"]
    if status in FAILED and row["truncated"]:
        return "stopped early on purpose, and damaged"
    if status in FAILED:
        return "" if row["setting"] or row["comparison"] else "its settings cannot be read"
    if row["truncated"] or status == "truncated":
        return "" if include_truncated else "stopped early on purpose (--include-truncated)"
    if status != "done" or row["search_valid_acc"] is None:
        return f"not finished (epoch {row['epochs_done'] or 0}/{row['epochs_planned'] or '?'})"
    return ""


def _why(row: Run, reason: str) -> str:
    told = str(row["reason"] or "")
    return "; ".join(part for part in (reason or "counted as failed", told) if part)


def _table_key(row: Run) -> tuple[Any, ...]:
    setting = row["setting"] or row["comparison"]
    names = (str(row[name]) for name in ("preset", "space", "dataset", "constraint"))
    truncated = bool(row["truncated"]) and row["status"] not in FAILED
    return (*names, str(setting), truncated)


def _row_key(row: Run) -> tuple[Any, ...]:
    names = ("estimator", "estimator_params", "level", "alpha_settings", "comparison")
    return tuple(str(row[name] or "") for name in names)


def _rank(key: tuple[Any, ...]) -> tuple[Any, ...]:
    preset, space, dataset, constraint = key[:4]
    first = _PRESETS.index(preset) if preset in _PRESETS else len(_PRESETS)
    level = _LEVELS.index(constraint) if constraint in _LEVELS else len(_LEVELS)
    return (first, preset, space, dataset, level, *key[3:])


def _variants(groups: list[list[Run]]) -> list[Variant]:
    """Return the rows by label; estimators that occur twice are told apart by what differs."""
    layers = [
        (index, layer)
        for group in groups
        for part in _by_version(group)
        for index, layer in enumerate(one_a_seed(part, lambda run: run["seed"]))
    ]
    groups = [layer for _, layer in layers]
    names = labels([group[0] for group in groups])
    result = []
    for (index, group), name in zip(layers, names, strict=True):
        label = f"{name}, repeat {index + 1} of its seeds" if index else name
        ordered = sorted(group, key=lambda r: (r["seed"] is None, r["seed"] or 0, r["run_id"]))
        finished = tuple(r for r in ordered if r["status"] not in FAILED)
        failed = tuple(r for r in ordered if r["status"] in FAILED)
        result.append(Variant(label, str(group[0]["level"] or "?"), finished, failed))
    return sorted(result, key=lambda v: v.label)


def one_a_seed(runs: Sequence[Run], seed: Callable[[Run], Any]) -> list[list[Run]]:
    """Split runs so that no part holds two of one seed; the first part is the fullest.

    Two runs of one seed and one setting are no two replicates, and neither may hide the other.
    """
    parts: list[dict[Any, Run]] = []
    ordered = sorted(runs, key=lambda run: (run["status"] in FAILED, str(run["run_id"])))
    for run in ordered:
        key = seed(run) if seed(run) is not None else run["run_id"]
        free = next((part for part in parts if key not in part), None)
        if free is None:
            free = {}
            parts.append(free)
        free[key] = run
    return [list(part.values()) for part in parts]


def _by_version(group: list[Run]) -> list[list[Run]]:
    """Split runs of different estimator versions; failed runs go with the newest."""
    versions = sorted(
        {run["estimator_version"] or 0 for run in group if run["status"] not in FAILED}
    )
    if len(versions) < 2:
        return [group]
    newest = versions[-1]
    return [
        [
            run
            for run in group
            if (newest if run["status"] in FAILED else run["estimator_version"] or 0) == version
        ]
        for version in versions
    ]


def labels(rows: Sequence[Run]) -> list[str]:
    """Return a label for each search: its estimator, with what differs where one occurs twice."""
    names = [str(row["estimator"]) for row in rows]
    settings = [_flat(row) for row in rows]
    result = []
    for name, own in zip(names, settings, strict=True):
        rivals = [s for n, s in zip(names, settings, strict=True) if n == name]
        keys = sorted({key for s in rivals for key in s})
        differing = [k for k in keys if len({json.dumps(s.get(k)) for s in rivals}) > 1]
        words = ", ".join(f"{key}={own.get(key)}" for key in differing)
        result.append(f"{name} ({words})" if words else name)
    return result


def _hessian(row: Run) -> dict[str, str]:
    """Return how an unrolled run computes its Hessian-vector product."""
    if row["level"] != "unrolled":
        return {}
    file = Path(str(row["folder"])) / "config.toml"
    try:
        return {"hessian": from_toml(file.read_text(encoding="utf-8")).search.unrolled_hessian}
    except (NasbenchError, OSError, UnicodeDecodeError):
        return {"hessian": "?"}


def _flat(row: Run) -> dict[str, Any]:
    parameters = json.loads(row["estimator_params"] or "{}")
    alpha = json.loads(row["alpha_settings"] or "{}")
    return {
        **parameters,
        **{f"alpha.{key}": value for key, value in alpha.items()},
        "level": row["level"],
        **_hessian(row),
        "version": row["estimator_version"],
    }
