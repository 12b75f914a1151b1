r"""Tables as LaTeX with booktabs: groups under ``\cmidrule``, notes below, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from ..tables.model import Column, Table, Value, spans

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=12mm]{geometry}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
"""

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


def latex(table: Table) -> str:
    """Return a table environment (packages: booktabs, graphicx, textcomp; UTF-8).

    Columns without any content are left out, so that the table fits a page.
    """
    shown = [i for i in range(len(table.columns)) if _has_content(table, i)]
    columns = [table.columns[i] for i in shown]
    alignment = "".join("r" if column.numeric else "l" for column in columns)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.subject)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_heads(columns),
        r"\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(_cell(row[i]) for i in shown) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        notes = r" \par ".join(escape(note) for note in table.notes)
        lines += [r"\par\smallskip", rf"\parbox{{\linewidth}}{{\footnotesize {notes}}}"]
    lines += [r"\end{table}", ""]
    return "\n".join(lines)


def document(tables: Sequence[Table]) -> str:
    """Return a whole document with all tables."""
    body = "\\clearpage\n".join(latex(table) for table in tables)
    return f"{PREAMBLE}{body}\\end{{document}}\n"


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


def _has_content(table: Table, index: int) -> bool:
    return not table.rows or any(row[index].text != "—" for row in table.rows)


def _heads(columns: Sequence[Column]) -> list[str]:
    heads = " & ".join(escape(column.head) for column in columns) + r" \\"
    if not any(column.group for column in columns):
        return [heads]
    groups, rules, start = [], [], 1
    for group, count in spans(columns):
        title = escape(group)
        groups.append(rf"\multicolumn{{{count}}}{{c}}{{{title}}}" if group else "& " * (count - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return [" & ".join(groups) + r" \\", " ".join(rules), heads]


def _cell(value: Value) -> str:
    content = escape(value.text)
    return rf"\textbf{{{content}}}" if value.bold else content
