"""Reading and writing genotypes: our JSON, DARTS's JSON, and the DARTS namedtuple text.

Nothing that is read is ever evaluated. The DARTS text, for example ::

    Genotype(normal=[('sep_conv_3x3', 1), ('none', 0), …], normal_concat=range(2, 6), reduce=…)

is parsed to a syntax tree, and only a call with literals, tuples, lists and ``range`` is accepted;
anything else is an error that points at its line and column.

The number of edges tells how pairs belong to nodes: DARTS lists two for each node; the SNAS code
also lists every edge (node 2 has two, node 3 three, …) with ``none`` for the dropped ones.
``nodes`` of pairs, one list a node (AutoDL style), are read as well. Pairs of ``none`` vanish.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.architecture.zoo import zoo, zoo_key, zoo_names
from nasbench_snas.errors import GenotypeError, suggest


class _Fail(Protocol):
    """Builds the error for an item of a field."""

    def __call__(self, field: str, path: str, what: str, item: Sequence[int] = ()) -> GenotypeError:
        """Return the error ``what`` about ``path`` (item ``item`` of ``field``)."""


_NUM_INPUTS = 2
_LONGEST = 2**20
"""Characters of a genotype at most."""
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_FORMS = (
    "a zoo name, a file, a folder with genotype.json, JSON, or the text Genotype(normal=[…], …)"
)


def is_genotype_text(text: str) -> bool:
    """Whether ``text`` is written like a genotype (JSON or a call) and names no file."""
    text = text.strip()
    try:
        exists = Path(text).exists()
    except (OSError, ValueError):  # cannot be a path
        return True
    return not exists and (text.startswith("{") or "(" in text)


def load_genotype(source: str | Path) -> Genotype:
    """Return the genotype that ``source`` names, is, or holds.

    Args:
        source: A zoo name (``snas-mild``), a file or a folder that holds ``genotype.json``, or the
            text itself (JSON or DARTS namedtuple).

    Raises:
        GenotypeError: It cannot be read; the message points at the place.
    """
    text = str(source).strip()
    if isinstance(source, str) and is_genotype_text(text):
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


def read_genotype(path: Path) -> Genotype:
    """Return the genotype in the file ``path``; errors name the file.

    Raises:
        GenotypeError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise GenotypeError(f"cannot read {path}: {error}") from error
    try:
        genotype = parse_genotype(text)
    except GenotypeError as error:
        raise GenotypeError(f"{path}: {error.what}", error.why, error.fix) from error
    stem = path.parent.name if path.name == "genotype.json" else path.stem
    return Genotype(genotype.cells, genotype.name or stem)


def parse_genotype(text: str) -> Genotype:
    """Return the genotype written in ``text``: JSON (ours or DARTS's fields) or the DARTS text.

    Raises:
        GenotypeError: The text is malformed; the message points at line and column, or at the key.
    """
    if not text.strip():
        raise GenotypeError("the genotype is empty.", f"Expected {_FORMS}.")
    if len(text) > _LONGEST:
        raise GenotypeError(f"more than {_LONGEST} characters: too long to be a genotype.")
    if not text.lstrip().startswith("{"):
        return _parse_darts(text)
    try:
        data = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise GenotypeError(
            f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}."
        ) from error
    except ValueError as error:  # numbers of thousands of digits
        raise GenotypeError(f"not a genotype: {error}.") from error
    except RecursionError as error:
        raise GenotypeError("the JSON is nested too deeply to be a genotype.") from error
    if "genotype" in data and isinstance(data["genotype"], dict):
        data = data["genotype"]
    if "cells" in data:
        return Genotype.from_dict(data)
    if "normal" in data:
        return _from_fields(data, {}, str(data.get("name", "")))
    raise GenotypeError(
        f"the JSON object has keys {sorted(map(str, data))}.",
        "Expected 'cells' (our format) or 'normal', 'normal_concat', 'reduce', 'reduce_concat'.",
    )


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


def _parse_darts(text: str) -> Genotype:
    match = re.match(r"\s*([A-Za-z_]\w*)\s*=(?!=)", text)
    name = match[1] if match else ""
    offset = match.end() if match else len(text) - len(text.lstrip())
    start = text.count("\n", 0, offset)
    column = offset - (text.rfind("\n", 0, offset) + 1)
    try:
        tree = ast.parse(text[offset:].lstrip(" \t"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = (getattr(error, "lineno", None) or 1) + start
        at = getattr(error, "offset", None) or 1
        raise GenotypeError(
            f"line {line}, column {at}: not a genotype: {getattr(error, 'msg', None) or error}.",
            f"Expected {_FORMS}.",
        ) from error
    skipped = len(text[offset:]) - len(text[offset:].lstrip(" \t"))
    where = _Places(start, column + skipped)
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise where.error(tree, "expected a call like Genotype(normal=[…], …)")
    fields: dict[str, Any] = {}
    nodes: dict[str, ast.AST] = {}
    if len(tree.args) > len(_FIELDS):
        raise where.error(tree.args[len(_FIELDS)], "expected at most four positional fields")
    for field, node in zip(_FIELDS, tree.args, strict=False):
        fields[field], nodes[field] = where.literal(node), node
    for keyword in tree.keywords:
        if keyword.arg not in _FIELDS or keyword.arg in fields:
            raise where.error(keyword.value, f"field {keyword.arg!r} is not possible here")
        value = where.literal(keyword.value)
        fields[keyword.arg], nodes[keyword.arg] = value, keyword.value
    return _from_fields(fields, nodes, "" if name == "genotype" else name, where)


class _Places:
    """Where syntax nodes stand in the text, and the literals that are allowed in it."""

    def __init__(self, lines: int, columns: int) -> None:
        self.lines, self.columns = lines, columns

    def error(self, node: ast.AST, what: str) -> GenotypeError:
        """Return the error ``what`` at ``node``."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        column += self.columns if line == 1 else 0
        return GenotypeError(f"line {line + self.lines}, column {column + 1}: {what}.")

    def literal(self, node: ast.AST) -> Any:
        """Return the value of literals, tuples, lists, ``range(…)`` and ``list(range(…))``."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, type(None))):
            return node.value
        if isinstance(node, (ast.Tuple, ast.List)):
            return [self.literal(item) for item in node.elts]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            values = [self.literal(item) for item in node.args]
            if node.func.id in ("list", "tuple") and len(values) == 1:
                return values[0]
            if node.func.id == "range" and 1 <= len(values) <= 2:
                if all(isinstance(v, int) and 0 <= v < 1000 for v in values):
                    return list(range(*values))
        raise self.error(node, "expected names, numbers, lists, tuples or range(a, b)")


def _from_fields(
    fields: Mapping[str, Any], nodes: Mapping[str, ast.AST], name: str, where: _Places | None = None
) -> Genotype:
    """Return the genotype of DARTS's fields; ``nodes`` and ``where`` locate them in a text."""

    def fail(field: str, path: str, what: str, item: Sequence[int] = ()) -> GenotypeError:
        node = nodes.get(field)
        for index in item:
            node = getattr(node, "elts", [])[index] if hasattr(node, "elts") else node
        if where is None or node is None:
            return GenotypeError(f"{path}: {what}.")
        return where.error(node, f"{path}: {what}")

    cells = {}
    for kind in ("normal", "reduce"):
        if kind not in fields:
            if kind == "normal" or "reduce_concat" in fields:
                raise GenotypeError(f"the genotype has no field {kind!r}.")
            continue
        cells[kind] = _cell(fields, kind, fail)
    return Genotype(cells, name)


def _cell(fields: Mapping[str, Any], kind: str, fail: _Fail) -> CellGenotype:
    """Return the cell in the fields ``kind`` and ``kind_concat``."""
    concat = fields.get(f"{kind}_concat")
    if concat is None:
        raise fail(kind, kind, f"{kind}_concat, the nodes that are the output, is missing")
    if not isinstance(concat, list) or not all(type(node) is int for node in concat):
        path = f"{kind}_concat"
        raise fail(path, path, f"expected a list of nodes, got {concat!r}")
    pairs, places = _flatten(fields[kind], kind, fail)
    targets = _targets(pairs, places, kind, fail, max(concat, default=0))
    total = max(targets, default=_NUM_INPUTS - 1) + 1
    if _is_nested(fields[kind]):
        total = _NUM_INPUTS + len(fields[kind])
    edges = []
    for (operation, source), target, place in zip(pairs, targets, places, strict=True):
        path = f"{kind}[{']['.join(map(str, place))}]"
        if operation not in OPERATIONS:
            hint = suggest(operation, OPERATIONS)
            error = fail(kind, path, f"unknown operation {operation!r}", place)
            raise GenotypeError(error.what, hint)
        if not 0 <= source < target:
            what = f"node {target} cannot take input from node {source}"
            raise fail(kind, path, what, place)
        if operation != "none":
            edges.append(Edge(operation, source, target))
    if not concat or not all(0 <= node < total for node in concat):
        what = f"expected nodes between 0 and {total - 1}, got {concat!r}"
        raise fail(f"{kind}_concat", f"{kind}_concat", what)
    sizes = _NUM_INPUTS, total - _NUM_INPUTS
    try:
        return CellGenotype(*sizes, tuple(edges), tuple(concat))
    except GenotypeError as error:
        raise fail(kind, kind, error.what.rstrip(".")) from error


def _is_nested(value: Any) -> bool:
    """Whether ``value`` is a list of lists of pairs, one list a node."""
    if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
        return False
    return any(item and isinstance(item[0], list) for item in value)


def _flatten(
    value: Any, kind: str, fail: _Fail
) -> tuple[list[tuple[str, int]], list[tuple[int, ...]]]:
    """Return the (operation, source) pairs of ``value`` and their places in it."""
    if not isinstance(value, list):
        raise fail(kind, kind, "expected a list of (operation, node) pairs")
    pairs: list[tuple[str, int]] = []
    places: list[tuple[int, ...]] = []
    nested = _is_nested(value)
    for index, item in enumerate(value):
        for inner, pair in enumerate(item) if nested else [(-1, item)]:
            place: tuple[int, ...] = (index, inner) if nested else (index,)
            good = isinstance(pair, list) and len(pair) == 2
            if not good or not isinstance(pair[0], str) or type(pair[1]) is not int:
                path = f"{kind}[{']['.join(map(str, place))}]"
                raise fail(kind, path, f"expected a pair (operation, node), got {pair!r}", place)
            pairs.append((pair[0], pair[1]))
            places.append(place)
    return pairs, places


def _targets(
    pairs: list[tuple[str, int]], places: list[tuple[int, ...]], kind: str, fail: _Fail, last: int
) -> list[int]:
    """Return the node that each pair points to; there must be at least ``last + 1`` nodes."""
    count = len(pairs)
    if any(len(place) == 2 for place in places):  # one list a node
        return [_NUM_INPUTS + place[0] for place in places]
    every: list[int] = []
    node = _NUM_INPUTS
    while len(every) < count:
        every += [node] * node
        node += 1
    sources: dict[int, list[int]] = {}
    for target, (_, source) in zip(every, pairs, strict=False):
        sources.setdefault(target, []).append(source)
    whole = all(sorted(found) == list(range(target)) for target, found in sources.items())
    if whole and (last < node or count % 2):
        return every
    if count % 2 == 0:
        return [_NUM_INPUTS + index // 2 for index in range(count)]
    raise fail(
        kind,
        kind,
        f"{count} pairs; expected two for each node, or every edge of each node "
        "(2, 5, 9, 14, 20 … pairs)",
    )
