"""Writes a gradient study: Markdown and CSV tables, figures, and tables for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from nasbench_snas.runs.folder import write_atomic

from .tables.gradients import at_point, cosine, number, point_heading, rows_csv, study_markdown


def write(result: dict[str, Any], folder: Path, *, figures: bool = True) -> Path:
    """Write tables (``study.md``, ``rows.csv``) and figures into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "study.md", study_markdown(result))
    write_atomic(folder / "rows.csv", rows_csv(result))
    if figures:
        from .figures.gradients import write_figures

        write_figures(result, folder)
    return folder


def terminal_tables(result: dict[str, Any]) -> list[Table]:
    """Return one table for each point, the best estimator at equal compute first."""
    tables = []
    budget = result["settings"]["budget"]
    for point in result["points"]:
        table = Table(title=point_heading(point), title_justify="left", box=None)
        heads = ("estimator", "n", "bias²", "± SE", "bias <", "variance", "cos", "F")
        for head in (*heads, f"MSE@{budget:g}F", "θ bias²"):
            table.add_column(head, justify="left" if head == "estimator" else "right")
        for cell in at_point(result, point["point"]):
            a, theta = cell["alpha"]["all"], cell.get("theta")
            table.add_row(
                cell["label"],
                str(cell["n"]),
                number(a["relative_bias_sq"]["estimate"]),
                number(a["relative_bias_sq"]["standard_error"], 2),
                number(a["excluded_relative_bias"], 2),
                number(a["relative_trace"]["estimate"]),
                cosine(a["cosine"]),
                number(cell["cost"]["equivalents"]),
                number(cell["budget"]["relative_mse"]),
                number(theta["relative_bias_sq"]["estimate"], 2) if theta else "–",
            )
        tables.append(table)
    return tables
