"""From the runs of a row to the cell that is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nasbench_snas.stats.cells import Cell, format_cell
from nasbench_snas.stats.interval import Interval

from .model import MISSING, Value
from .selection import Comparable, Variant


def interval_text(interval: Interval | None, decimals: int = 2, *, sign: bool = False) -> str:
    """Return ``[low, high]``, or an empty text without an interval."""
    if interval is None:
        return ""
    plus = "+" if sign else ""
    return f"[{interval.low:{plus}.{decimals}f}, {interval.high:{plus}.{decimals}f}]"


def cell_numbers(cell: Cell) -> dict[str, float | None]:
    """Return what stands behind a formatted cell, for data files."""
    numbers: dict[str, float | None] = {
        "mean": cell.mean,
        "std": cell.std,
        "n": float(cell.n),
        "failed": float(cell.n_failed),
    }
    for name, interval in (("ci", cell.interval), ("iqm", cell.iqm)):
        numbers[f"{name}_low"] = interval.low if interval else None
        numbers[f"{name}_high"] = interval.high if interval else None
    numbers["iqm"] = cell.iqm.estimate if cell.iqm else None
    return numbers


def seeds_value(
    values: Mapping[int, float | None],
    runs: tuple[str, ...],
    *,
    confidence: float = 0.95,
    decimals: int = 2,
    with_interval: bool = False,
    note_failures: bool = False,
) -> Value:
    """Return the cell of one number a seed.

    Args:
        values: Seed to value; None: failed.
        runs: Ids of the runs.
        confidence: Nominal coverage.
        decimals: Largest number of decimals.
        with_interval: Print the t interval in the cell, too (from five seeds on).
        note_failures: Whether ``k/n failed`` is part of the text.
    """
    ordered = [values[seed] for seed in sorted(values)]
    shown: Sequence[float | None] = ordered
    cell = format_cell(shown, decimals=decimals, confidence=confidence)
    text = cell.text
    if not note_failures and cell.n_failed:
        text = text.rpartition(", ")[0] if ", " in text else MISSING
        text = text or MISSING
    interval = interval_text(cell.interval, decimals)
    if with_interval and interval and not text.startswith("IQM"):
        text += f" {interval}"
    percent = f"{100 * confidence:g} % CI {interval}" if interval else ""
    seeds = ", ".join(
        f"seed {seed}: {'failed' if v is None else format(v, f'.{decimals}f')}"
        for seed, v in sorted(values.items())
    )
    detail = "\n".join(part for part in (percent, seeds) if part)
    return Value(text, cell.mean, runs, detail, cell_numbers(cell))


def failures_value(variant: Variant) -> Value:
    """Return the cell ``k/n`` of runs that failed."""
    failed, total = len(variant.failed), len(variant.failed) + len(variant.runs)
    reasons = "\n".join(
        f"{run['run_id']}: {run['reason'] or run['status']}" for run in variant.failed
    )
    numbers = {"failed": float(failed), "runs": float(total)}
    return Value(f"{failed}/{total}", float(failed), variant.ids, reasons, numbers)


def cost_columns(table: Comparable) -> list[tuple[str, str, str]]:
    """Return (unit, device, head) of every cost column a table needs: one a device."""
    columns = {}
    for run in table.runs:
        unit = "gpu_days" if run["gpu_days"] is not None else "wall_s"
        device = str(run["device_name"])
        words = "GPU-days" if unit == "gpu_days" else "s"
        columns[unit, device] = f"Search cost, {words} ({device})"
    return [(unit, device, head) for (unit, device), head in sorted(columns.items())]


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
