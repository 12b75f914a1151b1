"""Rows as aligned columns of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows under their names."""
    for line in aligned(rows, list(rows[0])):
        click.echo(line)


def aligned(rows: list[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """Return a line of names, then a line for each row, in columns as wide as they need."""
    texts = [[shown(row.get(name)) for name in names] for row in rows]
    widths = [max(len(n), *(len(t[i]) for t in texts)) for i, n in enumerate(names)]
    lines = [[name.upper() for name in names], *texts]
    return ["  ".join(t.ljust(w) for t, w in zip(x, widths, strict=True)).rstrip() for x in lines]


def shown(value: Any) -> str:
    """Return a value as a cell: ``-`` for none, two decimals, one line."""
    if value is None or value == "":
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else " ".join(str(value).split())
