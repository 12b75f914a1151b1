"""Genotypes: discrete cells as data; edges and nodes may be dropped."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nasbench_snas.architecture.operations import is_known, known_operations
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import GenotypeError

logger = logging.getLogger("nasbench_snas")

MOST_NODES = 1000
"""Nodes of a cell at most: more is a slip, and would fill the memory."""


class Edge(NamedTuple):
    """One chosen edge: an operation from node ``source`` to node ``target``."""

    operation: str
    source: int
    target: int


@dataclass(frozen=True)
class CellGenotype:
    """One discrete cell.

    Attributes:
        num_inputs: Input nodes, numbered from 0.
        num_nodes: Intermediate nodes, numbered from ``num_inputs``.
        edges: The kept edges; an edge that chose ``none`` is simply absent. Several edges may join
            the same two nodes (NASNet), and a node without incoming edges is dropped (its map is
            zero).
        concat: Nodes whose concatenation is the output.
    """

    num_inputs: int
    num_nodes: int
    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check nodes and edges."""
        total = self.num_inputs + self.num_nodes
        if self.num_inputs < 1 or self.num_nodes < 1 or total > MOST_NODES:
            raise GenotypeError(
                f"a cell with {self.num_inputs} inputs and {self.num_nodes} nodes is not possible.",
                f"Expected at least one of each, and at most {MOST_NODES} together.",
            )
        for position, edge in enumerate(self.edges):
            if edge.operation in ("", "none"):
                raise _not_kept(position, edge.operation)
            if not (0 <= edge.source < edge.target < total and edge.target >= self.num_inputs):
                raise GenotypeError(
                    f"edge {position}: {edge.source} -> {edge.target} is not possible.",
                    f"Nodes are 0 to {total - 1} ({self.num_inputs} inputs); edges point up.",
                )
        if not self.concat or any(not 0 <= node < total for node in self.concat):
            raise GenotypeError(f"concat {self.concat} must name nodes between 0 and {total - 1}.")
        if len(set(self.concat)) < len(self.concat):
            raise GenotypeError(f"concat {self.concat} names a node twice.")

    @property
    def dropped_nodes(self) -> tuple[int, ...]:
        """Intermediate nodes without incoming edge."""
        fed = {edge.target for edge in self.edges}
        nodes = range(self.num_inputs, self.num_inputs + self.num_nodes)
        return tuple(node for node in nodes if node not in fed)

    @property
    def is_connected(self) -> bool:
        """Whether a path of kept edges leads from an input node to a node of the output."""
        reached = set(range(self.num_inputs))
        for edge in sorted(self.edges, key=lambda edge: edge.target):
            if edge.source in reached:
                reached.add(edge.target)
        return bool(reached & set(self.concat))


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture: one :class:`CellGenotype` for each cell type.

    Attributes:
        cells: By the name of the cell type (for example ``normal`` and ``reduce``).
        name: Where it comes from, for tables.
        space: The space it was found in: its ``name``, its ``settings``, and the images' sizes
            ``in_channels``, ``num_classes`` and ``resolution``, as far as known, and
            ``auxiliary_skip`` where its edges have such connections; None if unknown.
        notes: What a reader chose or dropped; not written.
    """

    cells: Mapping[str, CellGenotype]
    name: str = field(default="", compare=False)
    space: Mapping[str, Any] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def num_edges(self) -> int:
        """Kept edges over all cell types."""
        return sum(len(cell.edges) for cell in self.cells.values())

    @property
    def disconnected(self) -> tuple[str, ...]:
        """Names of the cells without a path from input to output: they give zero for any image."""
        return tuple(name for name, cell in self.cells.items() if not cell.is_connected)

    def warn_disconnected(self) -> None:
        """Log a warning if there is a cell without a path from input to output."""
        if self.disconnected:
            logger.warning(
                "%s: no path from input to output in cell %s: it gives zero for every image",
                self.name or "genotype",
                ", ".join(self.disconnected),
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, the inverse of :meth:`from_dict`."""
        cells = {
            name: {
                "num_inputs": cell.num_inputs,
                "num_nodes": cell.num_nodes,
                "edges": [list(edge) for edge in cell.edges],
                "concat": list(cell.concat),
            }
            for name, cell in self.cells.items()
        }
        plain: dict[str, Any] = {"format": "nasbench-genotype-1", "name": self.name}
        if self.space is not None:
            plain["space"] = dict(self.space)
        return {**plain, "cells": cells}

    def to_json(self) -> str:
        """Return the JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, recorded: bool = False) -> Genotype:
        """Return the genotype that :meth:`to_dict` wrote.

        Args:
            data: Plain containers.
            recorded: Whether it is a run's own, which is read also where operations that plug-ins
                brought are not here.

        Raises:
            GenotypeError: Something is missing or of the wrong kind; the message names the place.
        """
        where = "genotype"
        try:
            cells = {}
            for name, cell in data["cells"].items():
                where = f"cells.{name}"
                edges = []
                for position, (operation, source, target) in enumerate(cell["edges"]):
                    where = f"cells.{name}.edges[{position}]"
                    if not recorded and not is_known(str(operation)):
                        where = f"cells.{name}"
                        raise _not_kept(position, str(operation))
                    edges.append(Edge(str(operation), _whole(source), _whole(target)))
                where = f"cells.{name}.concat"
                concat = tuple(_whole(node) for node in cell["concat"])
                where = f"cells.{name}"
                sizes = _whole(cell["num_inputs"]), _whole(cell["num_nodes"])
                cells[str(name)] = CellGenotype(*sizes, tuple(edges), concat)
            if not cells:
                raise GenotypeError("there is no cell.", "Expected for example normal and reduce.")
            where = "space"
            space = data.get("space")
            if space is not None and not isinstance(space.get("name"), str):
                raise GenotypeError("expected a name.")
            return cls(cells, str(data.get("name", "")), space)
        except GenotypeError as error:
            raise GenotypeError(f"{where}: {error.what}", error.why, error.fix) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"missing {error}" if isinstance(error, KeyError) else str(error)
            raise GenotypeError(f"cannot read the genotype at {where}: {problem}") from error


def _not_kept(position: int, operation: str) -> GenotypeError:
    return GenotypeError(
        f"edge {position}: {operation!r} is not an operation that can be kept.",
        f"Known: {', '.join(name for name in known_operations() if name != 'none')}",
        "One of your own: --plugin my_operation.py, or install its package.",
    )


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"expected a whole number, got {value!r}")
    return value


def from_choices(space: Space, choices: Iterable[Iterable[float]], name: str = "") -> Genotype:
    """Return the genotype of one-hot (or all-zero) rows.

    Args:
        space: The space.
        choices: ``z``: rows of weights, shape ``(E, K)``. The operation of weight one is kept; a
            row of zeros, or one that chose ``none``, drops its edge.
        name: For tables.

    Raises:
        GenotypeError: An edge chose an operation that it does not have.
    """
    rows = [[float(value) for value in row] for row in choices]
    cells = {}
    for cell in space.cells:
        kept, own = [], space.rows[cell.name]
        chosen = zip(cell.edges, rows[own], space.candidates[own], strict=True)
        for (source, target), row, names in chosen:
            best = max(range(len(row)), key=row.__getitem__)
            if row[best] > 0 and best >= len(names):
                raise GenotypeError(
                    f"edge {source} -> {target} of cell {cell.name!r} chose operation {best}.",
                    f"It has {len(names)}: {', '.join(names)}.",
                )
            if row[best] > 0 and names[best] != "none":
                kept.append(Edge(names[best], source, target))
        nodes = range(cell.num_inputs, cell.num_inputs + cell.num_nodes)
        concat = tuple(nodes) if cell.output == "concat" else (nodes[-1],)
        cells[cell.name] = CellGenotype(cell.num_inputs, cell.num_nodes, tuple(kept), concat)
    return Genotype(cells, name)
