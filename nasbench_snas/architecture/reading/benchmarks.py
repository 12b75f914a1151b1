"""Cells in the files of other tools: nni's hub and the configurations of NAS-Bench-301."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import is_known
from nasbench_snas.architecture.reading.aliases import about
from nasbench_snas.errors import GenotypeError

_NODES = range(2, 6)
_KINDS = ("normal", "reduce")
_HUB = re.compile(r"(normal|reduce)/(op|input)_(\d+)_(\d+)")
_CONFIG = re.compile(
    r"(?:NetworkSelectorDatasetInfo(?::|_COLON_)darts(?::|_COLON_))?"
    r"(edge|inputs_node)_(normal|reduce)_(\d+)"
)


def is_hub(keys: Mapping[str, Any]) -> bool:
    """Whether ``keys`` are those of nni's hub, ``normal/op_2_0`` and so on."""
    return any(_HUB.fullmatch(key) for key in keys)


def is_configuration(keys: Mapping[str, Any]) -> bool:
    """Whether ``keys`` are those of a NAS-Bench-301 configuration."""
    return any((found := _CONFIG.fullmatch(key)) and found[1] == "inputs_node" for key in keys)


def from_hub(data: Mapping[str, Any], name: str) -> Genotype:
    """Return the genotype of nni's dictionary of a DARTS cell.

    Its operations ``KIND/op_NODE_PLACE`` take the node ``KIND/input_NODE_PLACE``. Spaces of other
    than four nodes are refused: NASNet, ENAS and AmoebaNet concatenate loose ends, PNAS all nodes,
    and the dictionary does not say which it is.

    Raises:
        GenotypeError: A key is missing, too much, or of the wrong kind.
    """
    found: dict[tuple[str, str, int, int], Any] = {}
    others = []
    for key, value in data.items():
        if (match := _HUB.fullmatch(key)) is not None:
            found[match[1], match[2], int(match[3]), int(match[4])] = value
        else:
            others.append(key)
    nodes = {node for _, _, node, _ in found}
    if nodes != set(_NODES):
        raise GenotypeError(
            f"cells of nni with nodes {sorted(nodes)}; only those of four nodes (DARTS) are read.",
            "Of others the file does not say which nodes are the output.",
        )
    wanted = {
        (k, part, n, i) for k in _KINDS for part in ("op", "input") for n in _NODES for i in (0, 1)
    }
    if wanted != set(found):
        missing = "/".join(map(str, sorted(wanted ^ set(found))[0]))
        raise GenotypeError(f"a cell of nni has two operations and inputs a node; see {missing}.")
    cells = {}
    for kind in _KINDS:
        steps = []
        for node in _NODES:
            for place in (0, 1):
                source = found[kind, "input", node, place]
                source = source[0] if isinstance(source, list) and len(source) == 1 else source
                key = f"{kind}/op_{node}_{place}"
                steps.append((found[kind, "op", node, place], source, node, key))
        cells[kind] = _cell(steps)
    notes = tuple(f"key {key!r} was dropped" for key in others)
    return Genotype(cells, name, notes=notes)


def from_configuration(data: Mapping[str, Any], name: str) -> Genotype:
    """Return the genotype of a NAS-Bench-301 configuration (Siems et al. 2020, arXiv:2008.09777).

    Edges are numbered by target, then source, from 0 = (0, 2) to 13 = (4, 5); ``inputs_node`` of
    nodes 3 to 5 lists the two sources, node 2 takes both inputs. Edges without a value are off.

    Raises:
        GenotypeError: Edges and inputs disagree, or something is missing.
    """
    edges: dict[tuple[str, int], Any] = {}
    inputs: dict[tuple[str, int], str] = {}
    others = []
    for key, value in data.items():
        match = _CONFIG.fullmatch(key)
        if match is None:
            others.append(key)
        elif match[1] == "inputs_node":
            inputs[match[2], int(match[3])] = str(value)
        elif value is not None:
            edges[match[2], int(match[3])] = value
    pairs = [(source, node) for node in _NODES for source in range(node)]
    cells = {}
    for kind in _KINDS:
        steps = []
        for number, (source, node) in enumerate(pairs):
            text = "0_1" if node == 2 else inputs.get((kind, node), "")
            if re.fullmatch(r"\d_\d", text) is None:
                raise GenotypeError(f"inputs_node_{kind}_{node} is missing or not two nodes.")
            if (str(source) in text.split("_")) != ((kind, number) in edges):
                raise GenotypeError(
                    f"edge_{kind}_{number} ({source} -> {node}) and inputs_node_{kind}_{node} = "
                    f"{text!r} disagree."
                )
            if (kind, number) in edges:
                steps.append((edges[kind, number], source, node, f"edge_{kind}_{number}"))
        if len(steps) != 2 * len(_NODES) or any(k == kind and n > 13 for k, n in edges):
            raise GenotypeError(f"the {kind} cell has not two edges into each of four nodes.")
        cells[kind] = _cell(steps)
    notes = (f"{len(others)} settings besides the cells were dropped",) if others else ()
    return Genotype(cells, name, notes=notes)


def _cell(steps: list[tuple[Any, Any, int, str]]) -> CellGenotype:
    """Return the cell of (operation, source, node, key), all four nodes its output."""
    edges = []
    for operation, source, node, key in steps:
        if not isinstance(operation, str) or not is_known(operation):
            raise GenotypeError(f"{key}: unknown operation {operation!r}.", about(str(operation)))
        if type(source) is not int or not 0 <= source < node:
            raise GenotypeError(f"{key}: node {node} cannot take input from node {source!r}.")
        if operation != "none":
            edges.append(Edge(operation, source, node))
    return CellGenotype(2, len(_NODES), tuple(edges), tuple(_NODES))
