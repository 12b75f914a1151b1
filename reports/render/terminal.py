"""Tables on a terminal: as many columns as fit, the reader's own numbers first, what they mean.

A table that does not fit as it is has short cells and heads; if that is still too wide, its core
columns only, and a line says which others there are. What does not fit beside each other stands in
blocks below each other that repeat the first column. No number is ever wrapped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from ..tables import rules
from ..tables.columns import COMPACT, blocks, brief, chosen, head
from ..tables.legend import legend
from ..tables.model import MISSING, Column, Table, Value, spans

_GAP = "  "
_WIDEST_LABEL = 30


@dataclass(frozen=True)
class _Layout:
    """How a table is shown: columns of each block, whether cells are short, what is left out."""

    blocks: list[list[int]]
    short: bool
    hidden: list[int]


def show(
    console: Console,
    tables: Sequence[Table],
    *,
    columns: Sequence[str] = (COMPACT,),
    verbose: bool = False,
) -> None:
    """Print tables; a note that several of them share is printed once, under the last.

    Args:
        console: Where.
        tables: The tables.
        columns: ``compact``, ``all`` or keys of columns; see :func:`~..tables.columns.chosen`.
        verbose: Print the general rules, too, once and last.
    """
    general: dict[str, None] = {}
    for index, table in enumerate(tables):
        later = {note for other in tables[index + 1 :] for note in other.notes}
        layout = _layout(table, console.width, columns)
        console.print(Text(table.title, "bold"))
        if table.subject:
            console.print(Text(table.subject, "dim"))
        for block in layout.blocks:
            console.print(_render(table, block, layout.short), no_wrap=True)
        if layout.short:
            _paragraph(console, legend(table, [i for b in layout.blocks for i in b]))
        if layout.hidden:
            names = ", ".join(table.columns[i].key for i in layout.hidden)
            _paragraph(console, f"further columns: {names}")
        for note in table.notes:
            if note in rules.ALL:
                general[note] = None
            elif note not in later and not (note in table.minor_notes and layout.hidden):
                _paragraph(console, note, "· ")
        console.print()
    for rule in general if verbose else ():
        _paragraph(console, rule, "· ")


def _paragraph(console: Console, words: str, mark: str = "") -> None:
    if words:
        wrapped = textwrap.fill(words, console.width - len(mark), subsequent_indent=" " * len(mark))
        console.print(Text(mark + wrapped, "dim"))


def _layout(table: Table, width: int, names: Sequence[str]) -> _Layout:
    everything = chosen(table, ("all",))
    wanted = chosen(table, names) if tuple(names) != (COMPACT,) else everything
    for short in (False, True):
        if _total(table, wanted, short) <= width:
            return _Layout([wanted], short, [])
    shown = chosen(table, names)
    hidden = [i for i in everything if i not in shown]
    found = blocks(table, shown, lambda part: _total(table, part, True) <= width)
    return _Layout(found, True, hidden)


def _total(table: Table, shown: Sequence[int], short: bool) -> int:
    widths = _widths(table, shown, short)
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _text(value: Value, short: bool) -> str:
    return brief(value) if short else value.text


def _head(table: Table, index: int, short: bool) -> str:
    return head(table, index) if short else table.columns[index].head


def _widths(table: Table, shown: Sequence[int], short: bool) -> dict[int, int]:
    widths = {}
    for index in shown:
        words = max((len(word) for word in _head(table, index, short).split()), default=1)
        cells = max((cell_len(_text(row[index], short)) for row in table.rows), default=1)
        cells = cells if table.columns[index].numeric else min(cells, _WIDEST_LABEL)
        widths[index] = max(words, cells, 3)
    return widths


def _render(table: Table, block: Sequence[int], short: bool) -> Text:
    widths = _widths(table, block, short)
    columns = [table.columns[i] for i in block]
    sizes = [widths[i] for i in block]
    result = Text()
    if any(column.group for column in columns):
        result.append(_group_line(columns, sizes).rstrip(), "cyan").append("\n")
    heads = [textwrap.wrap(_head(table, i, short), widths[i]) or [""] for i in block]
    tall = max(len(lines) for lines in heads)
    for line in range(tall):
        cells = [(["", *[""] * tall] + h)[-tall:][line] for h in heads]
        _line(result, columns, sizes, [(cell, "bold") for cell in cells])
    result.append(_GAP.join("─" * size for size in sizes) + "\n", "dim")
    for row in table.rows:
        values = [row[i] for i in block]
        grouped = [v.text for v, column in zip(values, columns, strict=True) if column.group]
        if not grouped or any(text not in (MISSING, "not run") for text in grouped):
            _row(result, columns, sizes, values, short)
    result.rstrip()
    return result


def _group_line(columns: Sequence[Column], sizes: Sequence[int]) -> str:
    parts, start = [], 0
    for group, count in spans(columns):
        width = sum(sizes[start : start + count]) + len(_GAP) * (count - 1)
        start += count
        parts.append(f" {group} ".center(width, "─")[:width] if group else " " * width)
    return _GAP.join(parts)


def _row(
    result: Text,
    columns: Sequence[Column],
    sizes: Sequence[int],
    values: Sequence[Value],
    short: bool,
) -> None:
    wrapped = [
        [_text(v, short)] if column.numeric else _wrapped(_text(v, short), size)
        for v, column, size in zip(values, columns, sizes, strict=True)
    ]
    for line in range(max(len(parts) for parts in wrapped)):
        cells = [
            (parts[line] if line < len(parts) else "", "bold" if value.bold else "")
            for parts, value in zip(wrapped, values, strict=True)
        ]
        _line(result, columns, sizes, cells)


def _wrapped(words: str, size: int) -> list[str]:
    """Return lines of at most ``size`` cells; some characters take two."""
    lines = textwrap.wrap(words, size) or [""]
    return [part for line in lines for part in chop_cells(line, size) or [""]]


def _line(
    result: Text,
    columns: Sequence[Column],
    sizes: Sequence[int],
    cells: Sequence[tuple[str, str]],
) -> None:
    written = Text()
    for index, ((content, style), column, size) in enumerate(
        zip(cells, columns, sizes, strict=True)
    ):
        space = " " * (size - cell_len(content))
        written.append(_GAP if index else "")
        written.append(space + content if column.numeric else content + space, style)
    written.rstrip()
    result.append(written).append("\n")
