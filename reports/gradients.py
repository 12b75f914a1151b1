"""Writes a gradient study: Markdown and CSV tables, figures, and tables for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from nasbench_snas.runs.folder import write_atomic

from .render.terminal import show as show_tables
from .tables.gradients import rows_csv, study_markdown
from .tables.study import study_tables


def write(result: dict[str, Any], folder: Path, *, figures: bool = True) -> Path:
    """Write tables (``study.md``, ``rows.csv``) and figures into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "study.md", study_markdown(result))
    write_atomic(folder / "rows.csv", rows_csv(result))
    if figures:
        from .figures.gradients import write_figures

        write_figures(result, folder)
    return folder


def show(console: Console, result: dict[str, Any]) -> None:
    """Print one table for each point, the best estimator at equal compute first."""
    show_tables(console, study_tables(result))
