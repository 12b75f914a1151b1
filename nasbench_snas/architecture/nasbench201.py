"""NAS-Bench-201's names of its architectures: strings, nested pairs and compact tuples.

The string lists the edges by target, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`` (Dong & Yang 2020,
arXiv:2001.00326). The compact tuples of NASLib list them by source, 0->1, 0->2, 0->3, 1->2, 1->3,
2->3, and number the operations in an order of their own (White et al., NASLib,
``nasbench201/conversions.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.errors import GenotypeError

SPACE = "nasbench201"
CELL = "cell"
NODES = 3
NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations as the benchmark calls them."""
OWN_NAMES = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")
"""The same operations as our genotypes call them."""
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each edge in the order of the string."""
TUPLE_NAMES = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
TUPLE_EDGES = tuple(sorted(EDGES))


def from_names(chosen: Iterable[tuple[str, int, int]], name: str = "") -> Genotype:
    """Return the genotype of (the benchmark's operation, source, target); ``none`` is dropped.

    Raises:
        GenotypeError: An operation is not one of the benchmark's five.
    """
    edges = []
    for operation, source, target in chosen:
        if operation not in NAMES:
            raise GenotypeError(
                f"unknown operation {operation!r} of NAS-Bench-201.", f"Known: {', '.join(NAMES)}"
            )
        if operation != "none":
            edges.append(Edge(OWN_NAMES[NAMES.index(operation)], source, target))
    cell = CellGenotype(1, NODES, tuple(edges), (NODES,))
    return Genotype({CELL: cell}, name, space={"name": SPACE})


def choices(genotype: Genotype) -> tuple[int, ...]:
    """Return the place in :data:`NAMES` of each edge's operation; a dropped edge is ``none``.

    Raises:
        GenotypeError: The genotype is not one of this space.
    """
    cell = genotype.cells.get(CELL)
    if cell is None or (cell.num_inputs, cell.num_nodes) != (1, NODES):
        raise GenotypeError(
            "the genotype is not one of NAS-Bench-201.",
            f"Expected one cell named {CELL!r} with one input and {NODES} nodes.",
        )
    chosen = {(edge.source, edge.target): edge.operation for edge in cell.edges}
    if len(chosen) != len(cell.edges) or not set(chosen.values()) <= set(OWN_NAMES):
        raise GenotypeError(
            f"edges {cell.edges} are not possible in NAS-Bench-201.",
            f"Expected at most one of {', '.join(OWN_NAMES)} between two nodes.",
        )
    return tuple(OWN_NAMES.index(chosen.get(edge, "none")) for edge in EDGES)


def string_of(chosen: Sequence[int]) -> str:
    """Return the benchmark's string of each edge's place in :data:`NAMES`."""
    steps = [f"{NAMES[k]}~{source}" for k, (source, _) in zip(chosen, EDGES, strict=True)]
    return f"|{steps[0]}|+|{'|'.join(steps[1:3])}|+|{'|'.join(steps[3:])}|"


def architecture_string(genotype: Genotype) -> str:
    """Return the benchmark's string of a genotype of this space; raises as :func:`choices`."""
    return string_of(choices(genotype))


def parse_architecture(text: str) -> Genotype:
    """Return the genotype of a benchmark string; the inverse of :func:`architecture_string`.

    Raises:
        GenotypeError: The text is not such a string; the message names the part.
    """
    groups = text.strip().split("+")
    if len(groups) != NODES:
        raise GenotypeError(f"{text!r} has {len(groups)} nodes, expected {NODES} joined by '+'.")
    chosen = []
    for target, group in enumerate(groups, start=1):
        steps = re.fullmatch(r"\|(.+)\|", group)
        parts = steps.group(1).split("|") if steps else []
        for source, part in enumerate(parts):
            name, _, number = part.partition("~")
            if name not in NAMES or number != str(source):
                raise GenotypeError(
                    f"cannot read {part!r} of node {target} in {text!r}.",
                    f"Expected operation~{source}, e.g. nor_conv_3x3~{source}; operations: "
                    f"{', '.join(NAMES)}",
                )
            chosen.append((name, source, target))
        if len(parts) != target:
            raise GenotypeError(f"node {target} of {text!r} needs {target} operations in bars.")
    return from_names(chosen, text.strip())


def from_nested(nodes: object) -> Genotype | None:
    """Return the genotype of nested pairs ``[[(op, 0)], [(op, 0), (op, 1)], …]``.

    None if it has not this form: three nodes with one, two and three pairs, sources in order.

    Raises:
        GenotypeError: It has, with an operation that is not one of the benchmark's.
    """
    if not isinstance(nodes, list) or len(nodes) != NODES:
        return None
    chosen = []
    for target, node in enumerate(nodes, start=1):
        if not isinstance(node, list) or len(node) != target:
            return None
        for source, pair in enumerate(node):
            good = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
            if not good or type(pair[1]) is not int or pair[1] != source:
                return None
            chosen.append((pair[0], source, target))
    return from_names(chosen)


def from_compact(values: Sequence[int]) -> Genotype:
    """Return the genotype of NASLib's compact tuple of six numbers.

    Raises:
        GenotypeError: It has not six entries between 0 and 4.
    """
    if len(values) != len(EDGES) or not all(0 <= value < len(NAMES) for value in values):
        raise GenotypeError(f"{tuple(values)} is not a tuple of six operations 0 to 4.")
    by_edge = dict(zip(TUPLE_EDGES, (TUPLE_NAMES[value] for value in values), strict=True))
    return from_names((by_edge[edge], *edge) for edge in EDGES)
