"""Which columns of a table are shown where room is short, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasbench_snas.errors import ConfigError, suggest

from .model import MISSING, Table, Value

COMPACT, ALL = "compact", "all"


def chosen(table: Table, names: Sequence[str] = (COMPACT,)) -> list[int]:
    """Return the indices of the columns to show, in the table's order; the first always is.

    Columns without any content are left out unless they are named.

    Args:
        table: The table.
        names: ``compact``, ``all`` or keys of columns; a table that has none of the keys is shown
            compact.
    """
    places = range(len(table.columns))
    filled = [i for i in places if i == 0 or has_content(table, i)]
    named = {i for i in places if table.columns[i].key in names}
    if named:
        return [i for i in places if i == 0 or i in named]
    if ALL in names:
        return filled
    return [i for i in filled if i == 0 or table.columns[i].core]


def labels(table: Table) -> list[int]:
    """Return the columns of words that a table starts with: they say what a row is."""
    count = 1
    while count < len(table.columns) and not (
        table.columns[count].numeric or table.columns[count].group
    ):
        count += 1
    return list(range(count))


def blocks(
    table: Table, shown: Sequence[int], fits: Callable[[Sequence[int]], bool]
) -> list[list[int]]:
    """Return the columns that stand beside each other: as many as fit, after the labels.

    Args:
        table: The table.
        shown: The columns to show.
        fits: Whether some columns fit beside each other.
    """
    first = [i for i in labels(table) if i in shown]
    found = [first]
    for index in [i for i in shown if i not in first]:
        if len(found[-1]) > len(first) and not fits([*found[-1], index]):
            found.append(first)
        found[-1] = [*found[-1], index]
    return found


def check_columns(names: Sequence[str], tables: Sequence[Table]) -> None:
    """Raise unless every name is ``compact``, ``all`` or the key of a column of some table.

    Raises:
        ConfigError: A name is unknown.
    """
    known = [COMPACT, ALL, *dict.fromkeys(c.key for table in tables for c in table.columns)]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown column {name!r}.", suggest(name, known))


def has_content(table: Table, index: int) -> bool:
    """Whether any row has something in a column."""
    return not table.rows or any(row[index].text != MISSING for row in table.rows)


def head(table: Table, index: int) -> str:
    """Return a column's title where room is short."""
    column = table.columns[index]
    return column.brief or column.head


def brief(value: Value) -> str:
    """Return a cell's text where room is short."""
    return value.brief or value.text
