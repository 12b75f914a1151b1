"""What a table is, whatever format it is printed in: grouped columns, rows, notes, run ids.

Every number carries the ids of the runs behind it, and the numbers that its text was made of (mean,
standard deviation, n, interval …), so that CSV, HTML and LaTeX show the same table. Published and
measured numbers never share a column: a column belongs to one group.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from nasbench_snas.errors import ConfigError

PUBLISHED: Final = "Published"
CONSTRUCTED: Final = "Constructed"
MEASURED: Final = "Measured"
DELTA: Final = "Δ"
MISSING: Final = "—"
Group = Literal["", "Published", "Constructed", "Measured", "Δ"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: Name in data files, unique in the table.
        head: Title for people, with the unit.
        group: Heading that spans neighbouring columns; empty: none.
        numeric: Whether it is aligned (and sorted) as a number.
        brief: Title where room is short; empty: the same.
        core: Whether it is shown where room is short.
    """

    key: str
    head: str
    group: Group = ""
    numeric: bool = True
    brief: str = ""
    core: bool = True

    def minor(self, brief: str = "") -> Column:
        """Return the column as one that is left out where room is short."""
        return replace(self, brief=brief or self.brief, core=False)


@dataclass(frozen=True)
class Value:
    """One cell.

    Attributes:
        text: What is printed.
        number: What it is sorted by; None: by the text, after all numbers.
        runs: Ids of the runs behind it.
        detail: Further words for a tooltip (interval, source).
        numbers: The numbers behind the text, for data files.
        bold: Whether it is printed bold.
        failed: Ids of those of the runs that failed.
        decimals: Decimals of the text, which a difference from it takes over.
        brief: What is printed where room is short; empty: the text.
        form: What the parts of the brief text are, of :data:`~.legend.FORMS`; empty: they say so.
    """

    text: str
    number: float | None = None
    runs: tuple[str, ...] = ()
    detail: str = ""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    bold: bool = False
    failed: tuple[str, ...] = ()
    decimals: int = 2
    brief: str = ""
    form: str = ""

    @property
    def title(self) -> str:
        """The tooltip: detail and run ids."""
        parts = [self.detail] if self.detail else []
        if self.runs:
            parts.append("runs: " + ", ".join(self.runs))
        return "\n".join(parts)


EMPTY = Value(MISSING)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        key: Kind: ``1``, ``2``, ``3``, ``gradients``, ``constraints``, ``timing`` ….
        title: One line.
        columns: In order; those of a group stand together.
        rows: Cells, one for each column.
        notes: What must be read with the table: footnotes and the rules that made it.
        subject: What its runs share, in words (space, data set, preset …).
        provisional: Holds smoke, small or truncated runs: marked with a dagger.
        slug: File name without suffix, unique in a report.
        minor_notes: Those of the notes that are about columns that are not core.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()
    subject: str = ""
    provisional: bool = False
    slug: str = ""
    minor_notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape, and that a group's columns stand together."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ConfigError(
                f"table {self.title!r}: a row does not fit {len(self.columns)} columns"
            )
        seen = [span[0] for span in spans(self.columns) if span[0]]
        keys = [column.key for column in self.columns]
        if len(set(seen)) != len(seen) or len(set(keys)) != len(keys):
            raise ConfigError(f"table {self.title!r}: groups {seen} or columns {keys} repeat")

    @property
    def name(self) -> str:
        """File name without suffix."""
        return self.slug or slug(f"table{self.key}")

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of all runs in the table."""
        return tuple(sorted({run for row in self.rows for value in row for run in value.runs}))


def spans(columns: Sequence[Column]) -> list[tuple[Group, int]]:
    """Return the group heads with the number of columns that each covers, in order."""
    result: list[tuple[Group, int]] = []
    for column in columns:
        if result and result[-1][0] == column.group:
            result[-1] = (column.group, result[-1][1] + 1)
        else:
            result.append((column.group, 1))
    return result


def number(
    value: float | None, decimals: int = 2, *, runs: tuple[str, ...] = (), sign: bool = False
) -> Value:
    """Return a cell for one number, or the missing mark."""
    if value is None:
        return Value(MISSING, runs=runs)
    text = f"{value:{'+' if sign else ''}z.{decimals}f}"
    return Value(text, float(value), runs, numbers={"value": float(value)})


def difference(
    measured: Value,
    published: float | None,
    seeds: Sequence[float],
    runs: tuple[str, ...],
    decimals: int = 2,
) -> Value:
    """Return measured minus published, with the range of that difference over the seeds.

    It has as many decimals as the coarser of the two.

    Args:
        measured: The measured cell; its ``number`` is compared.
        published: The published number, or None.
        seeds: The measured values, one a seed.
        runs: Ids of the runs.
        decimals: Of the published number, as printed.
    """
    if measured.number is None or published is None:
        return Value(MISSING, runs=runs)
    value = measured.number - published
    numbers: dict[str, float | None] = {"value": value, "low": None, "high": None}
    shown = f"+z.{min(measured.decimals, decimals)}f"
    text = brief = f"{value:{shown}}"
    if len(seeds) > 1:
        low, high = min(seeds) - published, max(seeds) - published
        numbers |= {"low": low, "high": high}
        text += f", range [{low:{shown}}, {high:{shown}}]"
    return Value(text, value, runs, numbers=numbers, brief=brief)


def footnotes(rows: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return a note that quotes what is remarked on published rows, for every format."""
    told = [f"{name}: {remark}" for name, remark in rows if remark]
    return (f"Remarks on published rows. {'; '.join(told)}.",) if told else ()


def text(content: str, *, runs: tuple[str, ...] = (), detail: str = "") -> Value:
    """Return a cell of words."""
    return Value(content or MISSING, None, runs, detail)


def slug(words: str) -> str:
    """Return ``words`` as part of a file name: letters, digits and dashes, at most 90 of them.

    What is cut off stands in a hash, so that different words have different names.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower() or "table"
    if len(name) <= _LONGEST:
        return name
    cut = hashlib.blake2b(words.encode(), digest_size=4).hexdigest()
    return f"{name[: _LONGEST - 9]}-{cut}"


_LONGEST = 90
