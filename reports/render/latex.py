r"""Tables as LaTeX with booktabs: sized for a two-column paper, everything escaped.

Compact unless more columns are asked for: core columns with short cells at 8 pt, one note of fewer
than ten words. A table takes one column of the paper if it fits (``table``), else both
(``table*``); what is wider still stands in parts below each other. All notes are comments in the
file. Nothing is ever scaled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..tables.columns import COMPACT, blocks, brief, chosen, head
from ..tables.legend import print_legend
from ..tables.model import Column, Table, Value, spans

PREAMBLE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[a4paper,textwidth=6.75in,textheight=9.5in,columnsep=0.25in]{geometry}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{array,booktabs,textcomp}
\begin{document}
"""
_PACKAGES = r"% \usepackage{array,booktabs,textcomp}"
_COLUMN, _PAGE = 234.0, 486.0
"""Width of a column (3.25 in) and of the text (6.75 in) of a two-column paper, in points."""
_CHARACTERS = dict.fromkeys("[](),.;:'!|/il ", 2.9) | dict.fromkeys("±×−-+=<>→mwMW%@", 6.7)
"""Widths of characters at 8 pt that are not those of a digit or a small letter, 4.3."""
_SEPARATION = 6.0
_LONGEST = {"first": 130.0, "words": 170.0}
"""Width beyond which a column of words is wrapped."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "θ": r"$\theta$",
    "τ": r"$\tau$",
    "→": r"$\rightarrow$",
    "↳": r"$\hookrightarrow$",
    "†": r"\textdagger{}",
    "·": r"$\cdot$",
    "²": r"\textsuperscript{2}",
    "—": "---",
    "–": "--",
    "’": "'",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def latex(table: Table, columns: Sequence[str] = (COMPACT,)) -> str:
    """Return a table environment (UTF-8; its first line names the packages that it needs).

    Args:
        table: The table.
        columns: ``compact``, ``all`` or keys of columns; see :func:`~..tables.columns.chosen`.
    """
    shown = chosen(table, columns)
    wide = _total(table, shown) > _COLUMN
    environment = "table*" if wide else "table"
    parts = [_tabular(table, part) for part in _parts(table, shown)]
    note = print_legend(table, shown)
    lines = [
        *_comments(table),
        rf"\begin{{{environment}}}[tb]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_caption(table)}}}",
        rf"\label{{tab:{table.name}}}\smallskip",
        "\n\\par\\smallskip\n".join(parts),
        *([rf"\par\smallskip{{\scriptsize {escape(note)}}}"] if note else []),
        rf"\end{{{environment}}}",
        "",
    ]
    return "\n".join(lines)


def document(tables: Sequence[Table], columns: Sequence[str] = (COMPACT,)) -> str:
    """Return a whole two-column document with all tables."""
    body = "\\clearpage\n".join(latex(table, columns) for table in tables)
    return f"{PREAMBLE}{body}\\end{{document}}\n"


def _comments(table: Table) -> list[str]:
    """Return packages, subject and all notes as comments, for those who write the text."""
    words = [line for line in (table.subject, *table.notes) if line]
    return [_PACKAGES, *(f"% {' '.join(line.split())}" for line in words)]


def _caption(table: Table) -> str:
    """Return the title without the number that LaTeX gives, and what the runs share."""
    title = re.sub(r"^Table \d[^.]*\. ", "", table.title)
    shared = [part for part in table.subject.split(" · ") if part and not _is_known(part)]
    return escape(f"{title} ({', '.join(shared)})." if shared else f"{title}.")


def _is_known(part: str) -> bool:
    return part.startswith(("setting ", "study ")) or part == "constraint none"


def _parts(table: Table, shown: Sequence[int]) -> list[list[int]]:
    """Return the columns of each part: as many as fit the page."""
    return blocks(table, shown, lambda part: _total(table, part) <= _PAGE)


def _total(table: Table, shown: Sequence[int]) -> float:
    return sum(_width(table, i) for i in shown) + _SEPARATION * (len(shown) - 1)


def _width(table: Table, index: int) -> float:
    """Return the width of a column; long words are wrapped, heads are not."""
    widest = _widest(table, index)
    if not table.columns[index].numeric:
        widest = min(widest, _LONGEST["words" if index else "first"])
    return max(widest, text_width(head(table, index)))


def _widest(table: Table, index: int) -> float:
    return max((text_width(brief(row[index])) for row in table.rows), default=0.0)


def text_width(words: str) -> float:
    """Return about how wide words are at 8 pt in Computer Modern, in points."""
    return sum(_CHARACTERS.get(c, 6.0 if c.isupper() else 4.3) for c in words)


def _tabular(table: Table, shown: Sequence[int]) -> str:
    alignment = "".join(_alignment(table, index) for index in shown)
    lines = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule"]
    lines += [*_heads(table, shown), r"\midrule"]
    lines += [" & ".join(_cell(row[i]) for i in shown) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _alignment(table: Table, index: int) -> str:
    if table.columns[index].numeric:
        return "r"
    width = _width(table, index)
    if _widest(table, index) <= width:
        return "l"
    return rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}"


def escape(words: str) -> str:
    """Return ``words`` as LaTeX; characters without a known command become their code point."""
    parts = []
    for character in " ".join(words.split()):
        if character in _SPECIAL:
            parts.append(_SPECIAL[character])
        elif character.isascii() and character.isprintable():
            parts.append(character)
        elif "\u00c0" <= character <= "\u00ff" and character not in "×÷":
            parts.append(character)
        else:
            parts.append(f"(U+{ord(character):04X})")
    return "".join(parts).replace("--", "-{}-") if "--" in words else "".join(parts)


def _heads(table: Table, shown: Sequence[int]) -> list[str]:
    columns: list[Column] = [table.columns[i] for i in shown]
    heads = " & ".join(escape(head(table, i)) for i in shown) + r" \\"
    if len({column.group for column in columns if column.group}) < 2:
        return [heads]  # one group needs no head of its own
    groups, rules, start = [], [], 1
    for group, count in spans(columns):
        title = escape(group)
        groups.append(rf"\multicolumn{{{count}}}{{c}}{{{title}}}" if group else "& " * (count - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return [" & ".join(groups) + r" \\", " ".join(rules), heads]


_MINUS = re.compile(r"(?<![\w.)-])-(?=[\d.])")
"""A hyphen that is a minus: before a number, and not within a word."""

_POWER = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)e(?:\+|(-))?0*(\d+)(?![\w-])")
"""A power of ten as Python prints it; not in a name such as ``snas-2e4`` or ``18e043b0``."""


def _cell(value: Value) -> str:
    content = _POWER.sub(r"\1$\\times10^{\2\3}$", _MINUS.sub("$-$", escape(brief(value))))
    return rf"\textbf{{{content}}}" if value.bold else content
