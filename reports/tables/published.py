"""Published numbers, as transcribed in ``published/table*.csv``. Imports no torch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

EMPTY_SPREAD = ""


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        architecture: Its name.
        values: All columns as printed; empty where the table has none.
    """

    architecture: str
    values: dict[str, str]

    def value(self, column: str) -> float | None:
        """Return a number of the row, or None where the table has none."""
        printed = self.values.get(column, "")
        return float(printed) if printed else None

    def decimals(self, column: str) -> int:
        """Return how many decimals a number is printed with."""
        return len(self.values.get(column, "").partition(".")[2])

    @property
    def footnote(self) -> str:
        """A remark on the row."""
        return self.values.get("footnote", "")


@cache
def published_table(table: int) -> tuple[Published, ...]:
    """Return the rows of published table 1, 2 or 3, in the printed order."""
    file = files("nasbench_snas.reports") / "published" / f"table{table}.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(Published(row["architecture"], dict(row)) for row in rows)
