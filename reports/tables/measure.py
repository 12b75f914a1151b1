"""From the runs of a row to the cell that is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nasbench_snas.stats.cells import Cell, format_cell
from nasbench_snas.stats.interval import Interval

from .model import Value
from .selection import Comparable, Variant


def interval_text(interval: Interval | None, decimals: int = 2, *, sign: bool = False) -> str:
    """Return ``[low, high]``, or an empty text without an interval."""
    if interval is None:
        return ""
    shown = f"{'+' if sign else ''}z.{decimals}f"
    return f"[{interval.low:{shown}}, {interval.high:{shown}}]"


def cell_numbers(cell: Cell) -> dict[str, float | None]:
    """Return what stands behind a formatted cell, for data files."""
    numbers: dict[str, float | None] = {
        "mean": cell.mean,
        "std": cell.std,
        "n": float(cell.n),
        "failed": float(cell.n_failed),
    }
    numbers["collapsed"] = float(cell.n_collapsed)
    numbers["median"] = cell.median
    numbers["ci_low"] = cell.interval.low if cell.interval else None
    numbers["ci_high"] = cell.interval.high if cell.interval else None
    numbers["iqm"] = cell.iqm
    return numbers


def seeds_value(
    values: Mapping[int, float | None],
    runs: tuple[str, ...],
    *,
    confidence: float = 0.95,
    decimals: int = 2,
    exactly: int | None = None,
    with_interval: bool = False,
    failed_value: float | None = None,
    failed: tuple[str, ...] = (),
) -> Value:
    """Return the cell of one number a seed.

    Args:
        values: Seed to value; None: failed.
        runs: Ids of the runs.
        confidence: Nominal coverage.
        decimals: Largest number of decimals.
        exactly: Decimals whatever the scatter: of a difference, those of its parts.
        with_interval: Print the interval of the median in the cell, too (from six seeds on).
        failed_value: What a failed run counts as; None: it only is counted.
        failed: Ids of the failed runs.
    """
    ordered = [values[seed] for seed in sorted(values)]
    shown: Sequence[float | None] = ordered
    cell = format_cell(
        shown,
        decimals=decimals,
        exactly=exactly,
        confidence=confidence,
        failed_value=failed_value,
    )
    text = cell.text
    interval = interval_text(cell.interval, cell.decimals)
    percent = f"median's {100 * confidence:g} % CI {interval}" if interval else ""
    if with_interval and percent:
        text += f"; {percent}"
    seeds = ", ".join(
        f"seed {seed}: {'failed' if v is None else format(v, f'z.{cell.decimals}f')}"
        for seed, v in sorted(values.items())
    )
    detail = "\n".join(part for part in (percent, seeds) if part)
    numbers = cell_numbers(cell)
    return Value(
        text,
        cell.centre,
        runs,
        detail,
        numbers,
        failed=failed,
        decimals=cell.decimals,
        brief=cell.short,
        form=cell.form,
    )


ACCURACIES = ("search_valid_acc", "child_valid_acc", "child_valid_acc_recalibrated")
"""Columns in which a failed search counts with the accuracy of guessing."""


def variant_value(
    variant: Variant,
    column: str,
    *,
    confidence: float = 0.95,
    exactly: int | None = None,
    with_interval: bool = False,
) -> Value:
    """Return the cell of a row's column, failed runs counted."""
    return seeds_value(
        variant.by_seed(column),
        variant.ids,
        confidence=confidence,
        exactly=exactly,
        with_interval=with_interval,
        failed_value=variant.chance if column in ACCURACIES else None,
        failed=variant.failed_ids,
    )


def counted(variant: Variant, column: str) -> dict[int, float]:
    """Return seed to accuracy, failed runs with that of guessing (left out where not known)."""
    return counted_values(variant.by_seed(column), variant.chance)


def counted_values(values: Mapping[int, float | None], chance: float | None) -> dict[int, float]:
    """Return the values with ``chance`` in the place of missing ones (left out where None)."""
    filled = {seed: chance if value is None else value for seed, value in values.items()}
    return {seed: value for seed, value in filled.items() if value is not None}


def count_value(variant: Variant) -> Value:
    """Return the cell of the number of finished runs: ``n``, or ``n of all`` where some failed."""
    finished, total = len(variant.runs), len(variant.runs) + len(variant.failed)
    shown = str(finished) if finished == total else f"{finished} of {total}"
    return Value(shown, float(finished), variant.ids, failed=variant.failed_ids)


def failures_note(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return a note that names every failed run of a table and what it counts as."""
    failed = [run for variant in variants for run in variant.failed]
    if not failed:
        return ()
    chance = variants[0].chance
    counted = (
        f"count with the accuracy of guessing, {chance:g} %, in medians, quartiles and IQM"
        if chance is not None
        else "enter no number, because the number of classes is not known"
    )
    named = "; ".join(f"{run['run_id']} ({run['reason'] or run['status']})" for run in failed)
    return (f"Failed runs {counted}: {named}.",)


def failures_value(variant: Variant) -> Value:
    """Return the cell ``k/n`` of runs that failed."""
    failed, total = len(variant.failed), len(variant.failed) + len(variant.runs)
    reasons = "\n".join(
        f"{run['run_id']}: {run['reason'] or run['status']}" for run in variant.failed
    )
    numbers = {"failed": float(failed), "runs": float(total)}
    text = f"{failed}/{total}"
    return Value(text, float(failed), variant.ids, reasons, numbers, failed=variant.failed_ids)


def cost_columns(table: Comparable) -> list[tuple[str, str, str]]:
    """Return (unit, device, head) of every cost column a table needs: one a device."""
    columns = {}
    for run in table.runs:
        unit = "gpu_days" if run["gpu_days"] is not None else "wall_s"
        device = str(run["device_name"])
        words = "GPU-days" if unit == "gpu_days" else "s"
        columns[unit, device] = f"Search cost, {words} ({device})"
    return [(unit, device, head) for (unit, device), head in sorted(columns.items())]


def cost_brief(unit: str) -> str:
    """Return the head of a cost column where room is short."""
    return "GPU-days" if unit == "gpu_days" else "Cost (s)"


def cost_value(variant: Variant, unit: str, device: str, confidence: float) -> Value:
    """Return the cost of a row's runs on one device."""
    chosen = [
        run
        for run in variant.runs
        if str(run["device_name"]) == device
        and run[unit] is not None
        and (unit == "gpu_days" or run["gpu_days"] is None)
    ]
    values = {int(run["seed"]): float(run[unit]) for run in chosen}
    ids = tuple(str(run["run_id"]) for run in chosen)
    return seeds_value(values, ids, confidence=confidence)


def mean_of(values: Mapping[int, float | None]) -> float | None:
    """Return the mean of the values that exist, or None."""
    known = [v for v in values.values() if v is not None]
    return math.fsum(known) / len(known) if known else None
