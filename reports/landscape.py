"""Writes a landscape comparison: Markdown and CSV tables, the figure, tables for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from nasbench_snas.runs.folder import write_atomic

from .figures.landscape import draw
from .render.terminal import show as show_tables
from .render.text import csv_text, markdown
from .tables.landscape import landscape_tables


def write(result: dict[str, Any], folder: Path) -> Path:
    """Write tables (``landscape.md`` and CSV) and figures into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = landscape_tables(result)
    write_atomic(folder / "landscape.md", markdown(tables[:-1]))
    for table in tables:
        write_atomic(folder / f"{table.name}.csv", csv_text(table))
    figure = draw(result)
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else None
        path = folder / f"regret.{suffix}"
        figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
    return folder


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables, without the points of the curves."""
    show_tables(console, landscape_tables(result)[:-1])
