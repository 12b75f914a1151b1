"""Tables of the study's page."""

from __future__ import annotations

import math

import pandas as pd


def number(value: float, digits: int = 2) -> str:
    """Return a number of some decimals, a dash if it is none."""
    return "—" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def estimators_table(found: pd.DataFrame, columns: dict[str, tuple[str, int]]) -> str:
    """Return mean ± standard deviation of some columns, an estimator a row, by the first column."""
    grouped = found.groupby("estimator")
    order = grouped[next(iter(columns))].mean().sort_values().index
    rows = []
    for name in order:
        runs = grouped.get_group(name)
        cells = []
        for key, (_, digits) in columns.items():
            values = runs[key].dropna().astype(float)
            spread = number(values.std(), digits)
            cells.append(f"{number(values.mean(), digits)} ± {spread}" if len(values) else "—")
        rows.append([f"`{name}`", str(len(runs)), *cells])
    return markdown(["estimator", "n", *(head for head, _ in columns.values())], rows)
