"""What comes from strangers: text in a terminal, a file's name, a page or a cell, and pickles.

Names of runs, cells, estimators and classes come from files that somebody else may have written.
"""

from __future__ import annotations

import html
import pickle
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, without tab and line feed
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line breaks and changes of direction
    "\ud800-\udfff]"  # bytes of a file name that are no text
)
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What unpickling a damaged or foreign file raises: its bytes are a program for any opcode."""
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def visible(text: str) -> str:
    r"""Return ``text`` with control characters written out (``\x1b``), so that none takes effect.

    Tabs and line feeds stay.
    """
    return _HIDDEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def file_name(text: str, otherwise: str, longest: int = 120) -> str:
    """Return ``text`` as one part of a path: no separator, no leading dot, at most so many bytes.

    Args:
        text: A name.
        otherwise: What to return where nothing of it can be kept.
        longest: Bytes at most.
    """
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in text[:longest])
    kept = kept.encode("utf-8", "ignore")[:longest].decode("utf-8", "ignore")
    return kept.strip("-.") or otherwise


def would_wait(path: Path) -> bool:
    """Return whether ``path`` is a pipe, a socket or a device: reading it could wait for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def guarded(text: str) -> str:
    """Return a text as a cell of a CSV file that no spreadsheet takes for a formula.

    An apostrophe goes before a text that begins like one (after any apostrophes of its own, so that
    :func:`unguarded` gives the text back); numbers stay as they are.
    """
    return f"'{text}" if _begins_like_a_formula(text) else text


def unguarded(cell: str) -> str:
    """Return the text that :func:`guarded` made ``cell`` of."""
    return cell[1:] if cell.startswith("'") and _begins_like_a_formula(cell) else cell


def csv_line(cells: Iterable[object]) -> str:
    """Return one line of a CSV file, its end included; texts are guarded, None is empty.

    Texts with a comma, a quote or any line break are quoted (``csv.writer`` leaves a lone carriage
    return bare, which splits the line for every reader).
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def html_table(
    rows: Iterable[Sequence[object]], heads: Sequence[object] = (), caption: str = ""
) -> str:
    """Return an HTML table; whatever the cells hold, it is shown as text.

    Args:
        rows: The cells of each row.
        heads: Heads of the columns; none: the first cell of each row is its head.
        caption: One line above it.
    """

    def cell(kind: str, value: object) -> str:
        return f'<{kind} style="text-align: left">{html.escape(visible(str(value)))}</{kind}>'

    lines = [f"<caption>{html.escape(visible(caption))}</caption>"] if caption else []
    if heads:
        lines.append("<tr>" + "".join(cell("th", head) for head in heads) + "</tr>")
    for first, *rest in rows:
        cells = [cell("td" if heads else "th", first), *(cell("td", value) for value in rest)]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _csv_cell(value: object) -> str:
    text = guarded(value) if isinstance(value, str) else "" if value is None else str(value)
    if not set(text) & set(',"\r\n'):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _begins_like_a_formula(text: str) -> bool:
    if not text.lstrip("'").startswith(_FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return text != text.strip()
