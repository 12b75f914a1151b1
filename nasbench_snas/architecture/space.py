"""Search spaces as declarations: cell types, edges, candidate operations and the macro skeleton.

No torch module is written for a space: one supernet, one child network and one cost table are
built from a :class:`Space`. A plug-in space is a subclass of :class:`SpaceFamily`: a frozen
dataclass of settings with a ``build`` method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import ClassVar, Literal

from nasbench_snas.architecture.known import KnownSpace
from nasbench_snas.architecture.operations import Operation, operations
from nasbench_snas.errors import ConfigError


@dataclass(frozen=True)
class CellType:
    """The graph of one kind of cell; its edges share one row of alpha each over all cells of this
    kind.

    Attributes:
        name: For example ``normal`` or ``reduce``.
        num_inputs: Input nodes, numbered from 0: the outputs of the preceding cells, oldest first.
        num_nodes: Intermediate nodes, numbered from ``num_inputs``.
        edges: Pairs (source, target) with source < target, sorted by target, then source.
        output: ``concat`` of all intermediate nodes along the channels, or the ``last`` node.
    """

    name: str
    num_inputs: int
    num_nodes: int
    edges: tuple[tuple[int, int], ...]
    output: Literal["concat", "last"] = "concat"

    def __post_init__(self) -> None:
        """Check that the edges form a sorted acyclic graph on the declared nodes."""
        total = self.num_inputs + self.num_nodes
        for source, target in self.edges:
            if not (0 <= source < target < total and target >= self.num_inputs):
                raise ConfigError(
                    f"cell {self.name!r}: edge ({source}, {target}) is not possible.",
                    f"Expected source < target, and {self.num_inputs} <= target < {total}.",
                )
        if list(self.edges) != sorted(set(self.edges), key=lambda edge: (edge[1], edge[0])):
            raise ConfigError(f"cell {self.name!r}: edges must be sorted by target, then source.")
        if missing := set(range(self.num_inputs, total)) - {target for _, target in self.edges}:
            raise ConfigError(f"cell {self.name!r}: nodes {sorted(missing)} have no incoming edge.")

    @property
    def width(self) -> int:
        """Channels of the output in multiples of the channels of a node."""
        return self.num_nodes if self.output == "concat" else 1

    @classmethod
    def dense(
        cls,
        name: str,
        num_inputs: int,
        num_nodes: int,
        output: Literal["concat", "last"] = "concat",
    ) -> CellType:
        """Return the cell in which every node takes input from all previous nodes."""
        targets = range(num_inputs, num_inputs + num_nodes)
        edges = tuple((source, target) for target in targets for source in range(target))
        return cls(name, num_inputs, num_nodes, edges, output)


@dataclass(frozen=True)
class Layer:
    """One layer of the macro skeleton.

    Attributes:
        kind: ``cell``, or ``residual`` (a fixed basic residual block, NAS-Bench-201's reduction).
        channels: Channels of every node of the cell (or of the block's output).
        stride: 2 halves the resolution (in a cell: at the edges that leave the input nodes).
        cell: Name of the cell type, empty for ``residual``.
    """

    kind: Literal["cell", "residual"]
    channels: int
    stride: int = 1
    cell: str = ""


@dataclass(frozen=True)
class Space:
    """A complete declaration of a search space at one size.

    Attributes:
        name: The family's name.
        operations: Names of the candidate operations, those of every edge unless
            ``edge_operations`` says otherwise.
        cells: The cell types; their edges, in this order, are the ``E`` rows of alpha.
        layers: The macro skeleton between stem and head.
        stem_channels: Output channels of the 3x3 Conv-BN stem.
        preprocess: Whether a cell's inputs pass a 1x1 ReLU-Conv-BN to the cell's channels (DARTS);
            otherwise they must already have them.
        head: ``linear`` (global average pooling, linear) or ``bn-relu-linear``.
        affine: Whether the batch norms inside cells of the parent have a learnt scale and shift.
        pool_norm: Whether pooling in the parent is followed by a batch norm.
        in_channels: Channels of the images.
        num_classes: Classes.
        resolution: Height and width of the images in pixels.
        edge_operations: Names of each edge's own candidates, one tuple for each of the ``E`` rows
            of alpha; empty: ``operations`` on every edge. Column ``k`` of row ``e`` is the
            operation ``edge_operations[e][k]``; what a shorter row lacks is *absent*: it has
            probability zero and cannot be chosen.
        auxiliary_skip: Whether the output of a skip connection of its own, without a weight, is
            added to every edge that runs another operation than ``none`` (parents and children).
    """

    name: str
    operations: tuple[str, ...]
    cells: tuple[CellType, ...]
    layers: tuple[Layer, ...]
    stem_channels: int
    preprocess: bool = True
    head: Literal["linear", "bn-relu-linear"] = "linear"
    affine: bool = False
    pool_norm: bool = True
    in_channels: int = 3
    num_classes: int = 10
    resolution: int = 32
    edge_operations: tuple[tuple[str, ...], ...] = ()
    auxiliary_skip: bool = False

    def __post_init__(self) -> None:
        """Check that every edge's own operations are some of the space's."""
        rows = self.edge_operations
        if rows and len(rows) != self.num_edges:
            raise ConfigError(
                f"space {self.name!r}: edge_operations has {len(rows)} rows.",
                f"Expected one for each of the {self.num_edges} edges.",
            )
        for edge, row in zip(self.edge_names if rows else (), rows, strict=True):
            wrong = [name for name in row if name not in self.operations]
            if not row or wrong or len(set(row)) != len(row):
                raise ConfigError(
                    f"space {self.name!r}, edge {edge}: the operations {row} are not possible.",
                    f"Expected at least one, each once, of: {', '.join(self.operations)}.",
                )

    @property
    def num_edges(self) -> int:
        """``E``: searchable edges over all cell types."""
        return sum(len(cell.edges) for cell in self.cells)

    @property
    def num_operations(self) -> int:
        """``K``: candidate operations of the edge that has most, the columns of alpha."""
        return max((len(row) for row in self.edge_operations), default=len(self.operations))

    @cached_property
    def operation_specs(self) -> tuple[Operation, ...]:
        """The declarations of all candidate operations, in the order of :attr:`operations`."""
        return operations(self.operations)

    @cached_property
    def candidates(self) -> tuple[tuple[str, ...], ...]:
        """Names of the candidate operations of each of the ``E`` rows, at most ``K`` each."""
        return self.edge_operations or (self.operations,) * self.num_edges

    @cached_property
    def candidate_specs(self) -> tuple[tuple[Operation, ...], ...]:
        """The declarations of :attr:`candidates`."""
        specs = dict(zip(self.operations, self.operation_specs, strict=True))
        return tuple(tuple(specs[name] for name in row) for row in self.candidates)

    @cached_property
    def absent(self) -> tuple[tuple[bool, ...], ...]:
        """Whether each place of an ``(E, K)`` tensor holds no operation; empty: all of them do."""
        columns = range(self.num_operations)
        table = tuple(tuple(k >= len(row) for k in columns) for row in self.candidates)
        return table if any(map(any, table)) else ()

    @cached_property
    def uniform(self) -> tuple[tuple[float, ...], ...]:
        """Equal weights of the candidates of each edge, shape ``(E, K)``; absent ones have 0."""
        columns = range(self.num_operations)
        return tuple(
            tuple(1 / len(row) if k < len(row) else 0.0 for k in columns) for row in self.candidates
        )

    def places(self, name: str) -> tuple[tuple[int, int], ...]:
        """Return where the operation ``name`` stands in an ``(E, K)`` tensor: (edge, column)."""
        rows = enumerate(self.candidates)
        return tuple((edge, row.index(name)) for edge, row in rows if name in row)

    @property
    def unfused(self) -> str:
        """Why the fused parents cannot be built of this space, in words; empty: they can."""
        if self.edge_operations:
            return "as operations that differ from edge to edge need it"
        if self.auxiliary_skip:
            return "as auxiliary skip connections need it"
        drawing = any(spec.kind == "noise" for spec in self.operation_specs)
        return "as operations that draw random numbers need it" if drawing else ""

    @cached_property
    def rows(self) -> dict[str, slice]:
        """Rows of alpha (and of every ``(E, K)`` tensor) that belong to each cell type."""
        ends = list(accumulate(len(cell.edges) for cell in self.cells))
        return {
            cell.name: slice(end - len(cell.edges), end)
            for cell, end in zip(self.cells, ends, strict=True)
        }

    @cached_property
    def edge_names(self) -> tuple[str, ...]:
        """A readable name of each of the ``E`` rows, for example ``normal 0->2``."""
        return tuple(f"{cell.name} {i}->{j}" for cell in self.cells for i, j in cell.edges)

    def cell(self, name: str) -> CellType:
        """Return the cell type called ``name``."""
        return next(cell for cell in self.cells if cell.name == name)

    @property
    def num_architectures(self) -> int:
        """Number of discrete architectures: the product of the edges' numbers of candidates."""
        return prod(len(row) for row in self.candidates)


@dataclass(frozen=True, kw_only=True)
class SpaceFamily(ABC):
    """Settings of a family of spaces; the fields of a subclass are its settings.

    Subclasses set the literal class attributes ``name``, ``summary`` and ``reference`` (a key of
    ``references.bib`` or a BibTeX entry), and ``enumerable = True`` if all architectures can be
    evaluated at the default settings.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    enumerable: ClassVar[bool] = False

    @abstractmethod
    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space for images of ``(in_channels, resolution, resolution)``.

        Raises:
            ConfigError: The settings are impossible at this resolution.
        """

    def known(self) -> KnownSpace | None:
        """Return what is known of all architectures of the space, or None."""
        return None


LARGEST_SIZES = {"nodes": 24, "cells": 500, "cells_per_stage": 500, "stages": 16}
"""Largest sizes of a space; of others (channels) 65,536."""


def check_sizes(**sizes: int) -> None:
    """Raise a :class:`ConfigError` unless every size of a space, given by its name, is possible."""
    for name, size in sizes.items():
        largest = LARGEST_SIZES.get(name, 65_536)
        if not 1 <= size <= largest:
            kind = "at least 1" if size < 1 else f"at most {largest}"
            raise ConfigError(f"space.{name} must be {kind}, got {size}.")


def check_resolution(name: str, resolution: int, reductions: int) -> None:
    """Raise a :class:`ConfigError` when ``reductions`` halvings leave less than one pixel."""
    if resolution < 2**reductions:
        raise ConfigError(
            f"space {name!r} halves {resolution} pixels {reductions} times: too few.",
            f"At least {2**reductions} are needed.",
            "Use fewer cells, or a larger --set data.resolution=…",
        )
