"""A note below tables with runs whose cells have no path from input to output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import NasbenchError

from .model import Table
from .selection import Run


def with_disconnected(tables: Sequence[Table], rows: Sequence[Run]) -> list[Table]:
    """Return the tables, each with a note on its runs that have such cells."""
    found = {str(row["run_id"]): cells for row in rows if (cells := _disconnected(row))}
    return [_noted(table, found) for table in tables]


def _noted(table: Table, found: Mapping[str, str]) -> Table:
    told = [f"{run} ({found[run]})" for run in table.runs if run in found]
    if not told:
        return table
    note = f"No path from input to output, so that the cell gives zero: {', '.join(told)}."
    return replace(table, notes=(*table.notes, note))


def _disconnected(row: Run) -> str:
    """Return the names of such cells of a run; none where its genotype cannot be read."""
    try:
        cells = Genotype.from_dict(json.loads(row["genotype"] or ""), recorded=True)
        return ", ".join(cells.disconnected)
    except (NasbenchError, TypeError, ValueError, RecursionError):
        return ""
