"""Published parameters and multiply-adds beside constructed ones (Tables 2 and 3 of SNAS).

The rows are transcribed in ``reports/published/table*.csv`` with their source lines; a row that has
a public genotype says which network (recipe, channels, cells) it is compared with. Published
multiply-adds exceed those of convolutions and linear layers by 8 to 10 %, in DARTS as in SNAS; how
they were counted was never said, so their difference is shown and decides nothing.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from nasbench_snas.supernet.child.plan import ChildSettings

Status = Literal["match", "near", "mismatch", "no genotype", "unpublished"]
MATCH = 0.05e6
"""Half of the last printed digit of the published parameters (0.1 M)."""
NEAR = 0.03
"""Relative difference up to which a constructed figure is called near."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        table: 1, 2 or 3.
        architecture: The row's name.
        values: All columns as printed; empty where the table has none.
    """

    table: int
    architecture: str
    values: dict[str, str]

    @property
    def genotype(self) -> str:
        """Name in the zoo, or empty."""
        return self.values.get("genotype", "")

    @property
    def parameters(self) -> float | None:
        """Published parameters, or None."""
        return self._million("params_m")

    @property
    def macs(self) -> float | None:
        """Published multiply-adds, or None."""
        return self._million("madds_m")

    @property
    def settings(self) -> ChildSettings | None:
        """The network it is compared with, or None without a genotype."""
        if not self.genotype:
            return None
        channels, layers = int(self.values["channels"]), int(self.values["layers"])
        if self.values["recipe"] == "imagenet":
            return ChildSettings.imagenet(channels, layers)
        return ChildSettings(channels=channels, layers=layers)

    def _million(self, column: str) -> float | None:
        text = self.values.get(column, "")
        return float(text) * 1e6 if text else None


@cache
def published_rows(table: int) -> tuple[PublishedRow, ...]:
    """Return the rows of published table 1, 2 or 3, in the printed order."""
    file = files("nasbench_snas.reports") / "published" / f"table{table}.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(PublishedRow(table, row["architecture"], dict(row)) for row in rows)


def find_published(genotype: str, settings: ChildSettings) -> PublishedRow | None:
    """Return the published row of this genotype at this network size, or None."""
    for table in (2, 3):
        for row in published_rows(table):
            own = row.settings
            if row.genotype == genotype and own is not None and _same_size(own, settings):
                return row
    return None


def compare(constructed: float, published: float | None) -> Status:
    """Return how a constructed number of parameters agrees with the published one.

    ``match``: within half of the last printed digit; ``near``: within 3 %; else ``mismatch``;
    ``unpublished`` if there is none.
    """
    if published is None:
        return "unpublished"
    difference = abs(constructed - published)
    if difference <= MATCH:
        return "match"
    return "near" if difference <= NEAR * published else "mismatch"


def _same_size(a: ChildSettings, b: ChildSettings) -> bool:
    fields = ("recipe", "channels", "layers", "num_classes", "in_channels", "resolution")
    return all(getattr(a, field) == getattr(b, field) for field in fields)
