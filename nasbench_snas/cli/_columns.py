"""Rows as aligned columns of plain text; on a terminal those that fit, with a legend."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

_LEAST = ("origin", "reference", "cost of a draw", "draws")
"""Columns that a narrow terminal does without, in this order; those without content first."""
_LEGEND = {
    "search": "search, child: validation accuracy (%) in search and of the derived child",
    "error": "error: test error (%)",
    "bias": "bias: what the method declares",
    "cost of a draw": "F: one forward pass, K: operations, E: edges, n: architectures",
}


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows under their names; on a terminal the columns that fit, and what they are."""
    names, width = list(rows[0]), shutil.get_terminal_size().columns
    if not sys.stdout.isatty():
        for line in aligned(rows, names):
            click.echo(line)
        return
    kept = _fitting(rows, names, width)
    for line in aligned(rows, kept):
        click.echo(f"{line[: width - 1]}…" if len(line) > width else line)
    hidden = [name for name in names if name not in kept]
    told = [f"not shown: {', '.join(hidden)} (--json)"] if hidden else []
    if line := legend(kept, told):
        click.echo(line)


def legend(names: Iterable[str], more: Iterable[str] = ()) -> str:
    """Return a line that says what columns are, ``more`` behind it; empty where all is plain."""
    parts = [*(_LEGEND[name] for name in names if name in _LEGEND), *more]
    return "; ".join(parts) + "." if parts else ""


def aligned(rows: list[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """Return a line of names, then a line for each row, in columns as wide as they need."""
    texts = [[shown(row.get(name)) for name in names] for row in rows]
    widths = [max(len(n), *(len(t[i]) for t in texts)) for i, n in enumerate(names)]
    lines = [[name.upper() for name in names], *texts]
    return ["  ".join(t.ljust(w) for t, w in zip(x, widths, strict=True)).rstrip() for x in lines]


def _fitting(rows: list[dict[str, Any]], names: list[str], width: int) -> list[str]:
    """Return the columns that fit a width, the first and the last always among them."""
    empty = [n for n in _LEAST if n in names and all(shown(row.get(n)) == "-" for row in rows)]
    kept = list(names)
    for name in (*empty, *_LEAST):
        if max(map(len, aligned(rows, kept))) <= width:
            break
        kept = [other for other in kept if other != name]
    return kept


def shown(value: Any) -> str:
    """Return a value as a cell: ``-`` for none, two decimals, one line."""
    if value is None or value == "":
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else " ".join(str(value).split())
