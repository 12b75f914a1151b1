"""What the parts of a short cell are: one line under a table where room is short."""

from __future__ import annotations

from collections.abc import Sequence

from .model import Table

FORMS = {
    "pair": "a, b: the two seeds",
    "range": "m [a, b]: mean of three or four seeds, the smallest, the largest",
    "std": "m ± s: mean, standard deviation over seeds",
    "lost": "1f, 1c: one run failed, collapsed; then m is the median",
    "retrainings": "m ± s beside 1 × r: mean, standard deviation over r retrainings of one cell",
    "t-interval": "m [a, b]: mean, 95 % t interval",
}
"""Form of a :class:`~.model.Value` to what its parts are."""

_PRINT = {
    "pair": "both seeds",
    "range": "mean [range]",
    "std": "mean ± s.d.",
    "lost": "f/c: failed/collapsed, median",
    "retrainings": "mean ± s.d.",
    "t-interval": "mean [95 % interval]",
}
_DAGGER = "†: preset smoke or small, or stopped early: not comparable with the paper"


def legend(table: Table, columns: Sequence[int]) -> str:
    """Return what the marks in these columns mean, in one line; empty where there are none."""
    parts = [FORMS[form] for form in _forms(table, columns)]
    parts += ["bold: told from no better row"] if _bold(table, columns) else []
    parts += [_DAGGER] if table.provisional else []
    return "; ".join(parts)


def print_legend(table: Table, columns: Sequence[int]) -> str:
    """Return the same in fewer than ten words, for a note under a printed table."""
    parts = list(dict.fromkeys(_PRINT[form] for form in _forms(table, columns)))
    if "mean [range]" in parts and "mean ± s.d." in parts:
        parts = ["[range], ± s.d.", *(p for p in parts if not p.startswith("mean"))]
    parts += ["†: not comparable"] if table.provisional else []
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _forms(table: Table, columns: Sequence[int]) -> list[str]:
    found = {row[i].form for row in table.rows for i in columns}
    return [form for form in FORMS if form in found]


def _bold(table: Table, columns: Sequence[int]) -> bool:
    return any(row[i].bold for row in table.rows for i in columns)
