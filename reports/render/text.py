"""Tables as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_snas.outside import csv_line

from ..tables.model import Table, Value


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown: title, subject, a pipe table, notes."""
    return "\n\n".join(_markdown(table) for table in tables) + "\n"


def _markdown(table: Table) -> str:
    heads = [
        _escape(f"{column.group}: {column.head}" if column.group else column.head)
        for column in table.columns
    ]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    lines = [_line(heads), _line(rule)]
    lines += [_line([_markdown_cell(value) for value in row]) for row in table.rows]
    parts = [f"## {_escape(table.title)}"]
    if table.subject:
        parts.append(_escape(table.subject))
    parts.append("\n".join(lines))
    if table.notes:
        parts.append("\n".join(f"- {_escape(note)}" for note in table.notes))
    return "\n\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(value: Value) -> str:
    content = _escape(value.text)
    return f"**{content}**" if value.bold else content


def _escape(content: str) -> str:
    for character in "\\`*_[]<>|":
        content = content.replace(character, f"\\{character}")
    return " ".join(content.split())


def csv_text(table: Table) -> str:
    """Return a table as CSV: for each column its text, then the numbers behind it, then the runs.

    Columns that hold no number in any row have no further columns; ``runs`` of a row and those of
    them that failed stand last.
    """
    heads: list[str] = []
    names: list[list[str]] = []
    for index, column in enumerate(table.columns):
        known: dict[str, None] = {}
        for row in table.rows:
            known |= dict.fromkeys(row[index].numbers)
        group = f"{column.group.lower()}_" if column.group and column.group != "Δ" else ""
        key = column.key if column.key.startswith(group) else f"{group}{column.key}"
        single = list(known) == ["value"]
        names.append(["value"] if single else list(known))
        heads += [key] if single else [key, *(f"{key}_{name}" for name in known)]
    lines = [csv_line([*heads, "provisional", "subject", "runs", "failed_runs"])]
    for row in table.rows:
        cells: list[object] = []
        for value, known_names in zip(row, names, strict=True):
            if known_names != ["value"]:
                cells.append(value.text)
            cells += [value.numbers.get(name) for name in known_names]
        runs = dict.fromkeys(run for value in row for run in value.runs)
        failed = dict.fromkeys(run for value in row for run in value.failed)
        ends = [table.provisional, table.subject, " ".join(runs), " ".join(failed)]
        lines.append(csv_line([*cells, *ends]))
    return "".join(lines)
