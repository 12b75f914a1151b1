"""Tables 2 and 3: test error of networks trained from scratch, beside the published rows.

Arranged as Tables 2 and 3 of SNAS (arXiv:1812.09926, sections 3.2 and 3.3). Every published row
stands in the table, with the network that the cost model constructs from its public genotype where
there is one; measured rows stand under the published row they repeat, or at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasbench_snas.stats.hierarchical import hierarchical_bootstrap

from . import rules
from .measure import interval_text, mean_of, seeds_value
from .model import (
    CONSTRUCTED,
    DELTA,
    EMPTY,
    MEASURED,
    MISSING,
    PUBLISHED,
    Column,
    Table,
    Value,
    number,
    slug,
    text,
)
from .published import Published, published_table
from .selection import PROVISIONAL, Run

_LARGEST_MACS = 600e6
_SEARCHES = {
    ("darts", "bilevel", "none"): "DARTS (1st order",
    ("darts", "unrolled", "none"): "DARTS (2nd order",
    ("darts", "joint", "none"): "DARTS (single-level)",
    ("enas", "bilevel", "none"): "ENAS",
    ("snas", "joint", "mild"): "SNAS (single-level) + mild",
    ("snas", "joint", "moderate"): "SNAS (single-level) + moderate",
    ("snas", "joint", "aggressive"): "SNAS (single-level) + aggressive",
}


@dataclass(frozen=True)
class Retrained:
    """The retrainings of one row: of one genotype, or of one estimator's cells.

    Attributes:
        label: Name of the row.
        selection: ``each seed`` or ``best of n``.
        runs: Finished retrainings.
    """

    label: str
    selection: str
    runs: tuple[Run, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Run ids, those of the searches included."""
        own = [str(run["run_id"]) for run in self.runs]
        return tuple(
            dict.fromkeys([*own, *(str(r["parent_id"]) for r in self.runs if r["parent_id"])])
        )

    def groups(self, column: str) -> dict[str, dict[int, float | None]]:
        """Return search (or genotype) to retrain seed to value."""
        groups: dict[str, dict[int, float | None]] = {}
        for run in self.runs:
            key = str(run["parent_id"] or run["name"] or run["run_id"])
            value = run[column]
            groups.setdefault(key, {})[int(run["retrain_seed"] or 0)] = (
                None if value is None else float(value)
            )
        return groups


def retrained_tables(
    table: int,
    rows: Sequence[Run],
    *,
    confidence: float = 0.95,
    published: bool = True,
    include_truncated: bool = False,
) -> list[Table]:
    """Return Table 2 or 3, one for each setting that retrainings were made with.

    Args:
        table: 2 (CIFAR-10) or 3 (ImageNet).
        rows: Rows of the result schema.
        confidence: Nominal coverage of intervals.
        published: Whether published rows are shown.
        include_truncated: Whether retrainings that were stopped early are shown.
    """
    groups: dict[tuple[str, str, str, bool], list[Run]] = {}
    for row in rows:
        shown = row["status"] == "done" or (include_truncated and row["truncated"])
        if row["stage"] not in ("retrain", "transfer") or not shown:
            continue
        if row["test_err_top1"] is None or (row["preset"] == "imagenet") != (table == 3):
            continue
        key = (str(row["preset"]), str(row["dataset"]), str(row["setting"]), bool(row["truncated"]))
        groups.setdefault(key, []).append(row)
    if not groups:
        return [_table(table, (), None, confidence)] if published else []
    return [
        _table(table, tuple(_rows(runs)), key, confidence, published)
        for key, runs in sorted(groups.items())
    ]


def _rows(runs: Sequence[Run]) -> list[Retrained]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        what = (run["estimator"], run["level"], run["constraint"]) if run["parent_id"] else None
        name = str(run["name"] or run["run_id"]) if what is None or what[0] is None else ""
        key = (*(str(part or "") for part in what or ("", "", "")), name)
        groups.setdefault((*key, str(run["selection"] or "each seed")), []).append(run)
    result = []
    for (estimator, level, constraint, name, selection), members in _each_first(groups):
        label = name or f"{estimator} ({level}), constraint {constraint}"
        if selection == "best of n":
            label += ", best of n by search validation"
        result.append(Retrained(label, selection, tuple(members)))
    return result


def _each_first(groups: dict[tuple[str, ...], list[Run]]) -> list[Any]:
    return sorted(groups.items(), key=lambda item: (*item[0][:4], item[0][4] == "best of n"))


def _table(
    table: int,
    measured: Sequence[Retrained],
    key: tuple[str, str, str, bool] | None,
    confidence: float,
    published: bool = True,
) -> Table:
    preset, dataset, setting, truncated = key or ("", "", "", False)
    errors = _errors(table)
    provisional = preset in PROVISIONAL or truncated
    comparable = _comparable(table, preset, dataset, truncated, measured)
    columns = _columns(table, bool(measured), comparable)
    left = list(measured)
    rows: list[tuple[Value, ...]] = []
    costs = _constructed(table) if published else {}
    for row in published_table(table) if published else ():
        rows.append(_published_row(row, columns, errors, costs.get(row.architecture)))
        for own in [own for own in left if _repeats(own, row)]:
            left.remove(own)
            beside = row if comparable else None
            rows.append(_measured_row(own, columns, errors, provisional, beside, confidence))
    for own in left:
        rows.append(_measured_row(own, columns, errors, provisional, None, confidence))
    what = {2: "CIFAR-10", 3: "ImageNet, mobile setting"}[table]
    words = [dataset, f"preset {preset}", f"setting {setting}"] if key else []
    return Table(
        key=str(table),
        title=f"Table {table}. Test error of networks trained from scratch ({what})",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=_notes(table, measured, comparable, provisional, dataset),
        subject=" · ".join([*words, *(["truncated"] if truncated else [])]),
        provisional=provisional,
        slug=slug(f"table{table}-" + "-".join([*words, *(["truncated"] if truncated else [])])),
    )


def _errors(table: int) -> dict[str, str]:
    """Return measured column to published column."""
    if table == 2:
        return {"test_err_top1": "test_error"}
    return {"test_err_top1": "top1_error", "test_err_top5": "top5_error"}


def _comparable(
    table: int, preset: str, dataset: str, truncated: bool, measured: Sequence[Retrained]
) -> bool:
    """Whether differences from the published errors have a meaning."""
    runs = [run for own in measured for run in own.runs]
    if truncated or not runs or any(run["changed_settings"] != "[]" for run in runs):
        return False
    if table == 2:
        return preset == "paper" and dataset == "cifar10"
    return preset == "imagenet" and all(run["num_classes"] == 1000 for run in runs)


def _columns(table: int, measured: bool, comparable: bool) -> list[Column]:
    names = {2: ["Test error (%)"], 3: ["Top-1 error (%)", "Top-5 error (%)"]}[table]
    errors = list(_errors(table).items())
    columns = [Column("architecture", "Architecture", numeric=False)]
    for (_, column), name in zip(errors, names, strict=True):
        columns.append(Column(f"published_{column}", name, PUBLISHED))
    columns.append(Column("published_params_m", "Params (M)", PUBLISHED))
    if table == 3:
        columns.append(Column("published_madds_m", "×+ (M)", PUBLISHED))
    columns += [
        Column("published_gpu_days", "Search cost (GPU-days)", PUBLISHED),
        Column("published_method", "Search method", PUBLISHED, numeric=False),
        Column("published_completeness", "NAS pipeline completeness", PUBLISHED, numeric=False),
        Column("constructed_params_m", "Params (M)", CONSTRUCTED),
        Column("constructed_madds_m", "×+ (M)", CONSTRUCTED),
        Column("constructed_agreement", "Agrees", CONSTRUCTED, numeric=False),
    ]
    if measured:
        columns.append(Column("n", "Searches × retrainings", MEASURED, numeric=False))
        for (column, _), name in zip(errors, names, strict=True):
            columns.append(Column(column, name, MEASURED))
        columns += [
            Column("params", "Params (M)", MEASURED),
            Column("macs", "×+ (M)", MEASURED),
        ]
    if comparable:
        for (column, _), name in zip(errors, names, strict=True):
            columns.append(Column(f"delta_{column}", name, DELTA))
    return columns


def _constructed(table: int) -> Mapping[str, Any]:
    """Return the cost model's report of each published row."""
    from nasbench_snas.cost.listing import table_reports

    return {r.target: r for r in table_reports() if r.source == f"Table {table}"}


def _published_row(
    row: Published, columns: Sequence[Column], errors: Mapping[str, str], cost: Any
) -> tuple[Value, ...]:
    cells = {"architecture": text(row.architecture, detail=row.footnote)}
    for column in errors.values():
        printed, spread = row.values[column], row.values.get(f"{column}_std", "")
        shown = f"{printed} ± {spread}" if spread else printed
        cells[f"published_{column}"] = Value(
            shown or MISSING, row.value(column), numbers={"value": row.value(column)}
        )
    for name in ("params_m", "madds_m"):
        if name in row.values:
            cells[f"published_{name}"] = _printed(row, name)
    cells["published_gpu_days"] = _printed(row, "search_gpu_days")
    cells["published_method"] = text(row.values["method"])
    cells["published_completeness"] = text(row.values["completeness"])
    if cost is not None and cost.parameters is not None:
        detail = f"{cost.network}; {cost.note}" if cost.note else cost.network
        cells["constructed_params_m"] = number(cost.parameters / 1e6, 3)
        cells["constructed_madds_m"] = number(cost.macs / 1e6, 1)
        cells["constructed_agreement"] = text(cost.status, detail=detail)
    elif cost is not None:
        cells["constructed_agreement"] = text(cost.status, detail=cost.note)
    cells["n"] = text("not run")
    return tuple(cells.get(column.key, EMPTY) for column in columns)


def _printed(row: Published, column: str) -> Value:
    printed = row.values[column]
    return Value(printed or MISSING, row.value(column), numbers={"value": row.value(column)})


def _repeats(own: Retrained, row: Published) -> bool:
    run = own.runs[0]
    if run["parent_id"]:
        key = (str(run["estimator"]), str(run["level"]), str(run["constraint"]))
        start = _SEARCHES.get(key)
        return bool(start) and row.architecture.startswith(str(start))
    return bool(row.values["genotype"]) and str(run["name"]) == row.values["genotype"]


def _measured_row(
    own: Retrained,
    columns: Sequence[Column],
    errors: Mapping[str, str],
    provisional: bool,
    beside: Published | None,
    confidence: float,
) -> tuple[Value, ...]:
    dagger = " †" if provisional else ""
    cells = {"architecture": text(f"↳ {own.label}{dagger}", runs=own.ids)}
    sizes = [len(seeds) for seeds in own.groups("test_err_top1").values()]
    repeats = str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)}-{max(sizes)}"
    cells["n"] = text(f"{len(sizes)} × {repeats}", runs=own.ids)
    for column, printed in errors.items():
        cells[column] = _error(own, column, confidence)
        theirs = beside.value(printed) if beside else None
        ours = cells[column].number
        known = ours is not None and theirs is not None
        difference = ours - theirs if known else None  # type: ignore[operator]
        cells[f"delta_{column}"] = number(difference, runs=own.ids, sign=True)
    for column in ("params", "macs"):
        by_search = {i: mean_of(g) for i, g in enumerate(own.groups(column).values())}
        millions = {i: v / 1e6 for i, v in by_search.items() if v is not None}
        decimals = 1 if all(v >= 1 for v in millions.values()) else 4
        cells[column] = seeds_value(millions, own.ids, confidence=confidence, decimals=decimals)
        if column == "macs" and any(v > _LARGEST_MACS / 1e6 for v in millions.values()):
            cells[column] = text(f"{cells[column].text} (over 600 M)", runs=own.ids)
    return tuple(cells.get(column.key, EMPTY) for column in columns)


def _error(own: Retrained, column: str, confidence: float) -> Value:
    """Return mean over searches of the mean over retrainings, both levels in the interval.

    The repeats of one cell alone are shown as such: they say nothing about other searches.
    """
    groups = own.groups(column)
    if len(groups) == 1:
        return seeds_value(next(iter(groups.values())), own.ids, confidence=confidence)
    means = {i: mean_of(group) for i, group in enumerate(groups.values())}
    value = seeds_value(means, own.ids, confidence=confidence)
    known = [[v for v in group.values() if v is not None] for group in groups.values()]
    known = [group for group in known if group]
    if len(known) < 2 or max(len(group) for group in known) < 2:
        return value
    two = hierarchical_bootstrap(known, confidence=confidence)
    words = f"hierarchical bootstrap {interval_text(two.bootstrap)}"
    numbers = {**value.numbers, "two_level_low": two.bootstrap.low}
    numbers |= {"two_level_high": two.bootstrap.high, "n_retrain": float(two.n_retrain)}
    return Value(value.text, value.number, value.runs, f"{value.detail}\n{words}", numbers)


def _notes(
    table: int, measured: Sequence[Retrained], comparable: bool, provisional: bool, dataset: str
) -> tuple[str, ...]:
    notes = [
        "Constructed: parameters and multiply-adds of the network that the public genotype gives "
        "in the published recipe, without the auxiliary head; `match` is within half of the last "
        "printed digit, `near` within 3 %. How the published multiply-adds were counted is not "
        "known.",
    ]
    if table == 3:
        notes.append("Parameters printed as ~5 are approximate. The mobile setting allows 600 M.")
    if not measured:
        notes.append("Nothing was retrained here yet: nasbench retrain --help")
    elif not comparable:
        notes.append(f"Δ is left out: {_what_differs(table, measured, dataset)}.")
    if provisional:
        notes.append(rules.APART)
    if measured:
        notes += rules.images_notes([run for row in measured for run in row.runs])
        notes += [rules.CELL, rules.UNIT, rules.SELECTION]
    return (*notes, rules.SEPARATE)


def _what_differs(table: int, measured: Sequence[Retrained], dataset: str) -> str:
    """Return in words why measured errors do not stand beside published ones."""
    runs = [run for own in measured for run in own.runs]
    sizes = sorted({(run["num_classes"] or 0, run["resolution"] or 0) for run in runs})
    told = ", ".join(
        f"{classes or '?'} classes at {side or '?'}×{side or '?'} pixels" for classes, side in sizes
    )
    changed = {key for run in runs for key in json.loads(run["changed_settings"] or "[]")}
    text = f"measured on {dataset}, {told}"
    text += ", not ImageNet's 1,000 at 224×224" if table == 3 else ""
    return text + (f"; not the preset's: {', '.join(sorted(changed))}" if changed else "")
