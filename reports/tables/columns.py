"""Which columns of a table are shown where room is short, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Sequence

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
