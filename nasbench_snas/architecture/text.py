"""Reading and writing genotypes: our JSON, DARTS's namedtuple, and texts that hold one.

A genotype is found in whatever surrounds it: the stamp of a logger, a Python module, Markdown, a
table's cell, a shell line (:mod:`nasbench_snas.architecture.reading`). Nothing that is read is ever
evaluated. A text of several different genotypes is read only where it is a log, whose last one
counts, or where one is named; what was chosen or dropped stands in :attr:`Genotype.notes`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasbench_snas.architecture.genotype import CellGenotype, Genotype
from nasbench_snas.architecture.nasbench201 import TUPLE_NAMES, from_compact
from nasbench_snas.architecture.reading.decode import LONGEST, decode, too_long
from nasbench_snas.architecture.reading.scan import Found, in_data, scan
from nasbench_snas.architecture.reading.select import choose
from nasbench_snas.architecture.zoo import zoo, zoo_key, zoo_names
from nasbench_snas.errors import GenotypeError, suggest

STANDARD_INPUT = "-"
_NUM_INPUTS = 2
_FORMS = (
    "a zoo name, FILE, FILE:NAME, a folder with genotype.json, - (standard input), JSON, "
    "the text Genotype(normal=[…], …), or a string of NAS-Bench-201"
)
_COMPACT = re.compile(r"\(\s*\d\s*(?:,\s*\d\s*){5},?\s*\)", re.ASCII)
_SELECTED = re.compile(r"(?s:.+):([A-Za-z_][\w.\-\[\]]*|\d+)")


def holds_genotype(text: str) -> bool:
    """Whether ``text`` is a genotype, standard input or FILE:NAME, and not a file or a name."""
    text = text.strip()
    if text == STANDARD_INPUT:
        return True
    try:
        exists = Path(text).exists()
    except (OSError, ValueError):  # cannot be a path
        return True
    written = text.startswith("{") or "(" in text or re.search(r"\|\w+~\d", text) is not None
    return not exists and (written or _selection(text) is not None)


def load_genotype(source: str | Path) -> Genotype:
    """Return the genotype that ``source`` names, is, or holds.

    Args:
        source: A zoo name (``snas-mild``), a file or a folder that holds ``genotype.json``,
            ``FILE:NAME`` or ``FILE:LINE`` for one of several in a file, ``-`` for standard input,
            or a text (JSON, DARTS's namedtuple, a string of NAS-Bench-201).

    Raises:
        GenotypeError: It cannot be read; the message points at the place.
    """
    text = str(source).strip()
    if isinstance(source, str) and holds_genotype(text):
        if text == STANDARD_INPUT:
            return _from_bytes(sys.stdin.buffer.read(2 * LONGEST + 1), "standard input", "")
        if (selection := _selection(text)) is not None:
            return read_genotype(*selection)
        return parse_genotype(text)
    path = Path(text)
    path = path / "genotype.json" if path.is_dir() else path
    if path.is_file():
        return read_genotype(path)
    if isinstance(source, str) and zoo_key(text) in zoo_names():
        return zoo(text)
    raise GenotypeError(
        f"no genotype {text!r}.", f"Expected {_FORMS}.", suggest(zoo_key(text), zoo_names())
    )


def _selection(text: str) -> tuple[Path, str] | None:
    """Return the file and the name of ``FILE:NAME``, or None if there is no such file."""
    found = _SELECTED.fullmatch(text) if len(text) < 4096 else None
    if found is None:
        return None
    path = Path(text[: found.start(1) - 1])
    try:
        return (path, found[1]) if path.is_file() else None
    except (OSError, ValueError):
        return None


def read_genotype(path: Path, wanted: str = "") -> Genotype:
    """Return the genotype in the file ``path``; errors name the file.

    Args:
        path: The file.
        wanted: Name or line of one of several; empty if there is one.

    Raises:
        GenotypeError: The file cannot be read, or it holds several that differ.
    """
    try:
        with path.open("rb") as file:
            data = file.read(2 * LONGEST + 1)
    except OSError as error:
        raise GenotypeError(f"cannot read {path}: {error}") from error
    genotype = _from_bytes(data, str(path), wanted)
    stem = path.parent.name if path.name == "genotype.json" else path.stem
    return replace(genotype, name=genotype.name or stem)


def _from_bytes(data: bytes, file: str, wanted: str) -> Genotype:
    try:
        return parse_genotype(decode(data), wanted, file)
    except GenotypeError as error:
        what = f"cannot read {file}: " if error.what.startswith("it is no text") else f"{file}: "
        raise GenotypeError(what + error.what, error.why, error.fix) from error


def parse_genotype(text: str, wanted: str = "", file: str = "") -> Genotype:
    """Return the genotype in ``text``, whatever surrounds it.

    Args:
        text: JSON (ours, DARTS's fields, nni's hub, a NAS-Bench-301 configuration), DARTS's
            namedtuple and its relatives, or a string or tuple of NAS-Bench-201.
        wanted: Name or line of one of several; empty if there is one.
        file: The name of the file, for messages; a log's name tells that the last counts.

    Raises:
        GenotypeError: The text is malformed, holds none, or several that differ; the message
            points at line and column, or at the key.
    """
    if not text.strip():
        raise GenotypeError("the genotype is empty.", f"Expected {_FORMS}.")
    if len(text) > LONGEST:
        raise too_long()
    if _COMPACT.fullmatch(text.strip()):
        genotype = from_compact([int(digit) for digit in re.findall(r"\d", text)])
        names = ", ".join(f"{number} {name}" for number, name in enumerate(TUPLE_NAMES))
        note = f"read as a compact tuple of NASLib: edges by their source, {names}"
        return replace(genotype, notes=(note,))
    whole = text.lstrip()[:1] in ("{", "[")
    found, problem = _whole_json(text) if whole else (None, None)
    found = scan(text) if found is None else found
    if found and not (problem is not None and all(item.genotype is None for item in found)):
        return choose(found, wanted, file, text)
    if problem is not None:
        raise problem
    raise GenotypeError("no genotype in the text.", f"Expected {_FORMS}.")


def _whole_json(text: str) -> tuple[list[Found] | None, GenotypeError | None]:
    """Return what the JSON text holds, or why it is no JSON or no genotype."""
    try:
        data = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return None, GenotypeError(f"{where}: not JSON: {error.msg}.")
    except GenotypeError as error:
        return [], error
    except ValueError as error:  # numbers of thousands of digits
        return [], GenotypeError(f"not a genotype: {error}.")
    except RecursionError:
        return [], GenotypeError("the JSON is nested too deeply to be a genotype.")
    found = list(in_data(data))
    keys = f" with keys {sorted(map(str, data))[:20]}" if isinstance(data, dict) else ""
    problem = GenotypeError(
        f"the JSON holds no genotype{keys}.",
        "Expected 'cells' (our format), 'normal', 'normal_concat', 'reduce', 'reduce_concat', "
        "or the keys of nni or NAS-Bench-301.",
    )
    if found and all(item.genotype is None for item in found):
        return found, found[0].error
    return found, None if found else problem


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a key that appears twice is an error."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise GenotypeError(f"key {next(k for k in keys if keys.count(k) > 1)!r} appears twice.")
    return found


def to_darts_text(genotype: Genotype, *, all_edges: bool = False) -> str:
    """Return the DARTS namedtuple text, readable by :func:`parse_genotype`.

    With two edges into every node, or ``all_edges`` (dropped edges appear as ``none``), published
    code reads it too.

    Raises:
        GenotypeError: The cells are not DARTS cells (two inputs), or neither form can express them
            (a node with more than two edges, or a doubled edge with ``all_edges``).
    """
    parts = []
    for name, cell in genotype.cells.items():
        if cell.num_inputs != _NUM_INPUTS:
            raise GenotypeError(
                f"cells.{name} has {cell.num_inputs} inputs: the DARTS text knows two only.",
                fix="Write JSON instead.",
            )
        pairs = _all_pairs(name, cell) if all_edges else _two_pairs(name, cell)
        parts += [f"{name}={pairs!r}", f"{name}_concat={list(cell.concat)!r}"]
    return f"Genotype({', '.join(parts)})"


def _two_pairs(name: str, cell: CellGenotype) -> list[tuple[str, int]]:
    pairs: list[tuple[str, int]] = []
    for node in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
        own = [(e.operation, e.source) for e in cell.edges if e.target == node]
        if len(own) > 2:
            raise GenotypeError(
                f"cells.{name}: node {node} has {len(own)} edges, more than the two of DARTS.",
                fix="Use all_edges=True, or write JSON.",
            )
        pairs += own + [("none", i) for i in range(2 - len(own))]
    return pairs


def _all_pairs(name: str, cell: CellGenotype) -> list[tuple[str, int]]:
    pairs: list[tuple[str, int]] = []
    for node in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
        for source in range(node):
            own = [e.operation for e in cell.edges if (e.source, e.target) == (source, node)]
            if len(own) > 1:
                raise GenotypeError(
                    f"cells.{name}: {len(own)} edges join {source} -> {node}.",
                    "A list of all edges has one operation for each.",
                )
            pairs.append((own[0] if own else "none", source))
    return pairs
