"""Tables 2 and 3: test error of networks trained from scratch, beside the published rows.

Arranged as Tables 2 and 3 of SNAS (arXiv:1812.09926, sections 3.2 and 3.3). Measured rows stand
first, with the published numbers that they repeat beside them; every published row follows, with
the network that the cost model constructs from its public genotype where there is one.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nasbench_snas.stats.cells import failed_note, supported_decimals
from nasbench_snas.stats.means import mean_interval

from . import rules
from .context import paper_search
from .measure import mean_of, seeds_value
from .model import (
    EMPTY,
    MISSING,
    Table,
    Value,
    difference,
    footnotes,
    number,
    slug,
    text,
)
from .published import Published, published_table
from .retrained_columns import error_columns, retrained_columns
from .retrainings import Retrained, improvement, sampled_means
from .selection import FAILED, PROVISIONAL, Run, one_a_seed

_LARGEST_MACS = 600e6
_SEARCHES_2 = {
    ("darts", "bilevel", "none"): "DARTS (1st order",
    ("darts", "unrolled", "none"): "DARTS (2nd order",
    ("darts", "joint", "none"): "DARTS (single-level)",
    ("enas", "bilevel", "none"): "ENAS",
    ("snas", "joint", "mild"): "SNAS (single-level) + mild",
    ("snas", "joint", "moderate"): "SNAS (single-level) + moderate",
    ("snas", "joint", "aggressive"): "SNAS (single-level) + aggressive",
}
_SEARCHES_3 = {
    ("darts", "unrolled", "none"): "DARTS (",
    ("snas", "joint", "mild"): "SNAS (mild",
}


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
        failed = row["status"] in FAILED and row["setting"] is not None
        shown = row["status"] == "done" or (include_truncated and row["truncated"])
        if row["stage"] not in ("retrain", "transfer") or not (shown or failed):
            continue
        if (row["preset"] == "imagenet") != (table == 3):
            continue
        if row["test_err_top1"] is None and not failed:
            continue
        key = (str(row["preset"]), str(row["dataset"]), str(row["setting"]), bool(row["truncated"]))
        groups.setdefault(key, []).append(row)
    if not groups:
        return [_table(table, (), None, confidence)] if published else []
    searches = {str(row["run_id"]): row for row in rows if row["stage"] == "search"}
    return [
        _table(table, tuple(_rows(runs, searches, table)), key, confidence, published)
        for key, runs in sorted(groups.items())
    ]


def _rows(runs: Sequence[Run], searches: Mapping[str, Run], table: int) -> list[Retrained]:
    """Return the rows of one table: retrainings that share how their cells were found.

    That is the whole setting of the search: preset, images, network, estimator and its settings.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        selection = str(run["selection"] or "each seed")
        groups.setdefault((*_origin(run, searches), selection), []).append(run)
    result = []
    for key, members in sorted(groups.items(), key=lambda g: (*g[0][:-1], g[0][-1] == "best of n")):
        parts = one_a_seed(members, lambda r: (r["parent_id"] or r["name"], r["retrain_seed"]))
        for index, part in enumerate(parts):
            label = _label(part[0], searches, key[-1])
            label += f", repeat {index + 1} of its seeds" if index else ""
            finished = tuple(run for run in part if run["status"] not in FAILED)
            failed = tuple(run for run in part if run["status"] in FAILED)
            paper = all(_is_paper(run, searches, table) for run in part)
            result.append(Retrained(label, key[-1], finished, failed, paper))
    return result


_SEARCH = (
    "preset space space_params dataset setting comparison estimator_params alpha_settings "
    "estimator_version truncated"
).split()


def _origin(run: Run, searches: Mapping[str, Run]) -> tuple[str, ...]:
    """Return what retrainings of one row share: the search's whole setting, or the genotype."""
    if not run["parent_id"] or not run["estimator"]:
        return ("", "", "", str(run["name"] or run["run_id"]))
    names = tuple(str(run[name] or "") for name in ("estimator", "level", "constraint"))
    search = searches.get(str(run["parent_id"]))
    return (*names, "" if search else "unknown", *(str((search or {}).get(n)) for n in _SEARCH))


def _label(run: Run, searches: Mapping[str, Run], selection: str) -> str:
    label = str(run["name"] or run["run_id"])
    if run["parent_id"] and run["estimator"]:
        label = f"{run['estimator']} ({run['level']}), constraint {run['constraint']}"
        search = searches.get(str(run["parent_id"]))
        if search is None:
            label += ", its search is not here"
        elif not paper_search(search):
            what = f"{search['space']}, {search['dataset']}, preset {search['preset']}"
            label += f", searched on {what}, setting {search['comparison'] or search['setting']}"
    return label + (", best of n by search validation" if selection == "best of n" else "")


def _is_paper(run: Run, searches: Mapping[str, Run], table: int) -> bool:
    """Whether a difference from the published error has a meaning."""
    parent = searches.get(str(run["parent_id"])) if run["parent_id"] else None
    if run["parent_id"] and (parent is None or not paper_search(parent)):
        return False
    if run["truncated"] or (run["changed_settings"] or "[]") != "[]":
        return False
    if table == 2:
        return bool(run["preset"] == "paper" and run["dataset"] == "cifar10")
    failed = run["status"] in FAILED
    return bool(run["preset"] == "imagenet" and (failed or run["num_classes"] == 1000))


def _table(
    table: int,
    measured: Sequence[Retrained],
    key: tuple[str, str, str, bool] | None,
    confidence: float,
    published: bool = True,
) -> Table:
    preset, dataset, setting, truncated = key or ("", "", "", False)
    errors = error_columns(table)
    provisional = preset in PROVISIONAL or truncated
    comparable = any(own.paper for own in measured)
    sampled = sampled_means(measured)
    columns = retrained_columns(table, bool(measured), comparable, bool(sampled))
    costs = _constructed(table) if published else {}
    printed = published_table(table) if published else ()
    rows = []
    for own in measured:
        beside = next((r for r in printed if own.paper and _repeats(own, r, table)), None)
        row = _measured_row(own, errors, provisional, beside, confidence, sampled)
        if beside:
            row = _published_cells(beside, errors, costs.get(beside.architecture)) | row
        rows.append(tuple(row.get(column.key, EMPTY) for column in columns))
    for published_row in printed:
        row = _published_cells(published_row, errors, costs.get(published_row.architecture))
        rows.append(tuple(row.get(column.key, EMPTY) for column in columns))
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


def _constructed(table: int) -> Mapping[str, Any]:
    """Return the cost model's report of each published row."""
    from nasbench_snas.cost.listing import table_reports

    return {r.target: r for r in table_reports() if r.source == f"Table {table}"}


def _published_cells(row: Published, errors: Mapping[str, str], cost: Any) -> dict[str, Value]:
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
    return cells


def _printed(row: Published, column: str) -> Value:
    printed = row.values[column]
    return Value(printed or MISSING, row.value(column), numbers={"value": row.value(column)})


def _repeats(own: Retrained, row: Published, table: int) -> bool:
    run = (*own.runs, *own.failed)[0]
    if run["parent_id"]:
        key = (str(run["estimator"]), str(run["level"]), str(run["constraint"]))
        start = (_SEARCHES_2 if table == 2 else _SEARCHES_3).get(key)
        return bool(start) and row.architecture.startswith(str(start))
    return bool(row.values["genotype"]) and str(run["name"]) == row.values["genotype"]


def _measured_row(
    own: Retrained,
    errors: Mapping[str, str],
    provisional: bool,
    beside: Published | None,
    confidence: float,
    sampled: Mapping[str, float],
) -> dict[str, Value]:
    dagger = " †" if provisional else ""
    cells = {"architecture": text(f"{own.label}{dagger}", runs=own.ids)}
    sizes = [len(seeds) for seeds in own.groups("test_err_top1").values()]
    repeats = str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)}-{max(sizes)}"
    shown = f"{len(sizes)} × {repeats}"
    if own.failed:
        shown += f", {failed_note(len(own.failed), len(own.runs) + len(own.failed))}"
    cells["n"] = Value(shown, runs=own.ids, failed=own.failed_ids)
    for column, printed in errors.items():
        cells[column] = _error(own, column, confidence)
        theirs = beside.value(printed) if beside else None
        means = [m for m in map(mean_of, own.groups(column).values()) if m is not None]
        digits = beside.decimals(printed) if beside else 2
        cells[f"delta_{column}"] = difference(cells[column], theirs, means, own.ids, digits)
    if gains := improvement(own, sampled):
        cells["relative_improvement"] = seeds_value(gains, own.ids, confidence=confidence)
    for column in ("params", "macs"):
        by_search = {i: mean_of(g) for i, g in enumerate(own.groups(column).values())}
        millions = {i: v / 1e6 for i, v in by_search.items() if v is not None}
        if not millions:
            continue
        decimals = 1 if all(v >= 1 for v in millions.values()) else 4
        cells[column] = seeds_value(millions, own.ids, confidence=confidence, decimals=decimals)
        if column == "macs" and any(v > _LARGEST_MACS / 1e6 for v in millions.values()):
            cells[column] = text(f"{cells[column].text} (over 600 M)", runs=own.ids)
    return cells


def _error(own: Retrained, column: str, confidence: float) -> Value:
    """Return the cell of an error: one number a cell (the mean of its retrainings) is a replicate.

    A failed retraining counts with the error of guessing. The spread of one cell's retrainings is
    named as theirs: it says nothing about other searches.
    """
    worst = own.chance if column == "test_err_top1" else None
    cells = [
        [worst if v is None else v for v in group.values()] for group in own.groups(column).values()
    ]
    known = [[v for v in cell if v is not None] for cell in cells]
    means = {i: math.fsum(cell) / len(cell) if cell else None for i, cell in enumerate(known)}
    value = seeds_value(
        means, own.ids, confidence=confidence, failed_value=worst, failed=own.failed_ids
    )
    numbers = {**value.numbers, "n_retrain": float(sum(len(cell) for cell in cells))}
    numbers["failed"] = float(len(own.failed))
    repeats = known[0] if len(known) == 1 else []
    if len(repeats) < 2:
        return replace(value, numbers=numbers)
    spread = statistics.stdev(repeats)
    numbers["retrain_std"] = spread
    decimals = supported_decimals(mean_interval(repeats).half_width)
    words = f"1 cell, {len(repeats)} retrainings, their std {spread:z.{decimals}f}"
    mean = f"{math.fsum(repeats) / len(repeats):z.{decimals}f}"
    short = f"{mean} ± {spread:z.{decimals}f}"
    return replace(
        value,
        text=f"{mean} ({words})",
        numbers=numbers,
        decimals=decimals,
        brief=short,
        form="retrainings",
    )


def _notes(
    table: int, measured: Sequence[Retrained], comparable: bool, provisional: bool, dataset: str
) -> tuple[str, ...]:
    failed = [run for own in measured for run in own.failed]
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
    if failed:
        named = "; ".join(f"{run['run_id']} ({run['reason'] or run['status']})" for run in failed)
        notes.append(f"Failed retrainings count with the top-1 error of guessing: {named}.")
    if provisional:
        notes.append(rules.APART)
    notes += footnotes([(r.architecture, r.footnote) for r in published_table(table)])
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
