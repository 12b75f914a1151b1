"""Tables on a terminal: group heads over their columns, wrapped heads, blocks if it is narrow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..tables.model import MISSING, Column, Table, Value, spans

_GAP = "  "
_WIDEST_LABEL = 30


def show(console: Console, tables: Sequence[Table]) -> None:
    """Print tables; rules that several of them share are printed once, under the last."""
    for index, table in enumerate(tables):
        later = {note for other in tables[index + 1 :] for note in other.notes}
        console.print(Text(table.title, "bold"))
        if table.subject:
            console.print(Text(table.subject, "dim"))
        for block in _blocks(table, console.width):
            console.print(_render(table, block), no_wrap=True)
        for note in table.notes:
            if note not in later:
                wrapped = textwrap.fill(note, console.width - 2, subsequent_indent="  ")
                console.print(Text(f"· {wrapped}", "dim"))
        console.print()


def _blocks(table: Table, width: int) -> list[list[int]]:
    """Return the columns of each block: one block if they fit, else one for each group."""
    shown = [i for i in range(len(table.columns)) if not _is_empty(table, i)]
    widths = _widths(table, shown)
    if sum(widths[i] + len(_GAP) for i in shown) <= width:
        return [shown]
    labels = [i for i in shown if not table.columns[i].group]
    blocks: list[list[int]] = []
    for group, _ in spans([table.columns[i] for i in shown]):
        members = [i for i in shown if group and table.columns[i].group == group]
        if not members:
            continue
        joined = [*(blocks[-1] if blocks else labels), *members]
        if blocks and sum(widths[i] + len(_GAP) for i in joined) <= width:
            blocks[-1] = joined
        else:
            blocks.append([*labels, *members])
    return blocks or [shown]


def _is_empty(table: Table, index: int) -> bool:
    values = [row[index].text for row in table.rows]
    return bool(values) and all(text == MISSING for text in values)


def _widths(table: Table, shown: Sequence[int]) -> dict[int, int]:
    widths = {}
    for index in shown:
        column = table.columns[index]
        words = max((len(word) for word in column.head.split()), default=1)
        cells = max((cell_len(row[index].text) for row in table.rows), default=1)
        cells = cells if column.numeric else min(cells, _WIDEST_LABEL)
        widths[index] = max(words, cells, 3)
    return widths


def _render(table: Table, block: Sequence[int]) -> Text:
    widths = _widths(table, block)
    columns = [table.columns[i] for i in block]
    sizes = [widths[i] for i in block]
    result = Text()
    if any(column.group for column in columns):
        result.append(_group_line(columns, sizes), "cyan").append("\n")
    heads = [textwrap.wrap(c.head, size) or [""] for c, size in zip(columns, sizes, strict=True)]
    tall = max(len(head) for head in heads)
    for line in range(tall):
        cells = [(["", *[""] * tall] + h)[-tall:][line] for h in heads]
        _line(result, columns, sizes, [(cell, "bold") for cell in cells])
    result.append(_GAP.join("─" * size for size in sizes) + "\n", "dim")
    for row in table.rows:
        values = [row[i] for i in block]
        grouped = [v.text for v, column in zip(values, columns, strict=True) if column.group]
        if not grouped or any(text != MISSING for text in grouped):
            _row(result, columns, sizes, values)
    result.rstrip()
    return result


def _group_line(columns: Sequence[Column], sizes: Sequence[int]) -> str:
    parts, start = [], 0
    for group, count in spans(columns):
        width = sum(sizes[start : start + count]) + len(_GAP) * (count - 1)
        start += count
        parts.append(f" {group} ".center(width, "─") if group else " " * width)
    return _GAP.join(parts)


def _row(
    result: Text, columns: Sequence[Column], sizes: Sequence[int], values: Sequence[Value]
) -> None:
    wrapped = [
        [value.text] if column.numeric else textwrap.wrap(value.text, size) or [""]
        for value, column, size in zip(values, columns, sizes, strict=True)
    ]
    for line in range(max(len(parts) for parts in wrapped)):
        cells = [
            (parts[line] if line < len(parts) else "", "bold" if value.bold else "")
            for parts, value in zip(wrapped, values, strict=True)
        ]
        _line(result, columns, sizes, cells)


def _line(
    result: Text,
    columns: Sequence[Column],
    sizes: Sequence[int],
    cells: Sequence[tuple[str, str]],
) -> None:
    for index, ((content, style), column, size) in enumerate(
        zip(cells, columns, sizes, strict=True)
    ):
        space = " " * (size - cell_len(content))
        result.append(_GAP if index else "")
        result.append(space + content if column.numeric else content + space, style)
    result.append("\n")
