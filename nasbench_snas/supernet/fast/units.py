"""The packed modules of the fast parent: a unit on all edges of a cell, and a cell's units.

A unit is one ReLU-convolution-norm; its weights for every edge are the rows of one tensor (see
``packing.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.operations import Conv, Operation
from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels.operands import UnitSpec
from nasbench_snas.supernet.fast.packing import Packing, Piece, prefixed
from nasbench_snas.supernet.reference import MixedEdge
from nasbench_snas.supernet.skeleton import CellPosition


def unit_spec(convs: tuple[Conv, ...]) -> UnitSpec:
    """Return the fastest kind of unit that computes ``convs`` (at stride one)."""
    first = convs[0]
    is_point = [conv.kernel == (1, 1) and not conv.depthwise for conv in convs]
    square = first.depthwise and first.kernel[0] == first.kernel[1]
    known = (first.kernel[0], first.dilation) in ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1))
    if len(convs) == 2 and square and known and is_point[1]:
        return UnitSpec("depthwise", first.kernel[0], first.dilation)
    if len(convs) == 1 and is_point[0]:
        return UnitSpec("point")
    return UnitSpec("dense", convs=convs)


class Unit(nn.Module):
    """Weights and norm of one unit on ``rows`` edges.

    Args:
        spec: What it computes (at stride one), or None for a norm alone (after pooling).
        shape: ``(rows, C_in, C_out)``.
        affine: Whether the norm is learnt.
        norm: Whether there is a norm.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(
        self, spec: UnitSpec | None, shape: tuple[int, int, int], affine: bool, norm: bool = True
    ) -> None:
        super().__init__()
        rows, c_in, c_out = shape
        self.spec, self.norm, self.width = spec, norm, (c_in, c_out)
        shapes = self._weight_shapes(spec, c_in, c_out)
        self._names = tuple(f"weight_{index}" for index in range(len(shapes)))
        for name, size in zip(self._names, shapes, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(rows, *size)))
        learnt = norm and affine
        self.gamma = nn.Parameter(torch.ones(rows, c_out)) if learnt else None
        self.beta = nn.Parameter(torch.zeros(rows, c_out)) if learnt else None
        if norm:
            self.register_buffer("mean", torch.zeros(rows, c_out))
            self.register_buffer("var", torch.ones(rows, c_out))
            self.register_buffer("count", torch.zeros(rows, dtype=torch.int64))

    @staticmethod
    def _weight_shapes(spec: UnitSpec | None, c_in: int, c_out: int) -> list[tuple[int, ...]]:
        if spec is None:
            return []
        if spec.kind == "depthwise":
            return [(spec.kernel * spec.kernel, c_in), (c_in, c_out)]
        if spec.kind in ("point", "shifted"):
            return [(c_in, c_out)]
        width = c_in
        shapes: list[tuple[int, ...]] = []
        for conv in spec.convs:
            out = width if conv.depthwise else c_out
            shapes.append((out, 1 if conv.depthwise else width, *conv.kernel))
            width = out
        return shapes

    @property
    def weights(self) -> list[Tensor]:
        """The weights, one tensor a convolution (in the order of ``Kernels``)."""
        own = self._parameters
        return [weight for name in self._names if (weight := own[name]) is not None]

    @property
    def running(self) -> tuple[Tensor, Tensor, Tensor]:
        """Running mean, running variance and number of batches."""
        return self.mean, self.var, self.count

    def packing(self, prefixes: list[str]) -> Packing:
        """Return where the reference's tensors lie; row ``i`` is its unit ``prefixes[i]``."""
        result: Packing = {}
        for index, own_name in enumerate(self._names):
            result[own_name] = tuple(
                piece
                for row, prefix in enumerate(prefixes)
                for piece in self._pieces(index, row, prefix)
            )
        if self.norm:
            alone = self.spec is None or self.spec.kind == "shifted"
            last = "bn" if alone else str(len(self._names) + 1)
            names = {"mean": "running_mean", "var": "running_var", "count": "num_batches_tracked"}
            if self.gamma is not None:
                names |= {"gamma": "weight", "beta": "bias"}
            for own, theirs in names.items():
                result[own] = tuple(
                    Piece(f"{prefix}{last}.{theirs}", row) for row, prefix in enumerate(prefixes)
                )
        return result

    def _pieces(self, index: int, row: int, prefix: str) -> list[Piece]:
        if self.spec is not None and self.spec.kind == "shifted":
            width = self.weights[0].shape[2]
            split = width - width // 2
            second = [Piece(f"{prefix}conv_2.weight", row, "point", (split, width))]
            return [Piece(f"{prefix}conv_1.weight", row, "point", (0, split)), *second]
        name = f"{prefix}{index + 1}.weight"
        if self.spec is None or self.spec.kind == "dense":
            return [Piece(name, row)]
        layout = "depthwise" if self.spec.kind == "depthwise" and index == 0 else "point"
        return [Piece(name, row, layout)]  # type: ignore[arg-type]


class FastCell(nn.Module):
    """The packed weights of a cell.

    ``units[name]`` lists the units of an operation in order; ``preprocess`` has one unit for each
    input, or is empty. The strided skip (a factorised reduction) exists on the strided edges only:
    ``skip_rows`` maps an edge to its row; ``every`` has all units in the order of their parameters.
    Operations of one's own are the reference cell's modules, under its names.

    Args:
        space: The space.
        position: Where the cell stands.
        edges: The mixed edges of the reference cell.
    """

    def __init__(self, space: Space, position: CellPosition, edges: nn.ModuleList) -> None:
        super().__init__()
        self.position, self.affine = position, space.affine
        self.operations = space.operation_specs
        self.rows = space.rows[position.cell.name]
        channels = position.layer.channels
        self.preprocess = nn.ModuleList()
        if space.preprocess:
            for c_in, reduces in zip(position.input_channels, position.input_reduces, strict=True):
                spec = UnitSpec("shifted", stride=2) if reduces else UnitSpec("point")
                self.preprocess.append(Unit(spec, (1, c_in, channels), space.affine))
        pairs = position.cell.edges
        strided = [e for e, (source, _) in enumerate(pairs) if position.stride(source) > 1]
        self.skip_rows = {edge: row for row, edge in enumerate(strided)}
        self.units = nn.ModuleDict()
        for operation in self.operations:
            units = self._units(operation, len(pairs), channels, space.pool_norm)
            if units:
                self.units[operation.name] = nn.ModuleList(units)
        self.edges = nn.ModuleDict()
        if own := [operation.name for operation in self.operations if operation.kind == "module"]:
            for number, edge in enumerate(edges):
                if not isinstance(edge, MixedEdge):
                    raise TypeError("edges are MixedEdges")
                self.edges[str(number)] = _OwnEdge({name: edge.operations[name] for name in own})
        self.every = tuple(module for module in self.modules() if isinstance(module, Unit))
        self.backend_cache: dict[str, Any] = {}
        self._slots: tuple[dict[int, int], int] = {}, 0

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles have other tensors: they begin without what is known of these."""
        return {**self.__dict__, "backend_cache": {}, "_slots": ({}, 0)}

    def tensors(self) -> list[Tensor]:
        """Return all parameters (``parameters()`` walks over the modules at every call)."""
        units = [p for unit in self.every for p in unit._parameters.values() if p is not None]
        return [*units, *self.edges.parameters()]

    def own_module(self, edge: int, name: str) -> nn.Module:
        """Return the module of an operation of one's own on an edge."""
        own = self.edges[str(edge)]
        if not isinstance(own, _OwnEdge):
            raise TypeError("edges hold operations of one's own")
        return own.operations[name]

    def slots(self) -> tuple[dict[int, int], int]:
        """Return where each parameter's gradient begins in one tensor, by ``id``, and its size."""
        parameters = self.tensors()
        if [id(parameter) for parameter in parameters] != list(self._slots[0]):
            offsets, total = {}, 0
            for parameter in parameters:
                offsets[id(parameter)] = total
                total += -(-parameter.numel() // 8) * 8  # rows of 16 bytes, also of 16-bit numbers
            self._slots = offsets, total
        return self._slots

    def _units(
        self, operation: Operation, edges: int, channels: int, pool_norm: bool
    ) -> list[Unit]:
        if operation.kind == "pool":
            return [Unit(None, (edges, channels, channels), self.affine)] if pool_norm else []
        if operation.kind == "skip" and self.skip_rows:
            shape = (len(self.skip_rows), channels, channels)
            return [Unit(UnitSpec("shifted", stride=2), shape, self.affine)]
        shape = (edges, channels, channels)
        return [Unit(unit_spec(convs), shape, self.affine) for convs in operation.units]

    def packing(self, prefix: str) -> Packing:
        """Return where the reference cell's tensors lie, ``prefix`` before both kinds of names."""
        result: Packing = {}
        for index, unit in enumerate(self.preprocess):
            place = f"preprocess.{index}."
            result.update(prefixed(prefix + place, _unit(unit).packing([prefix + place])))
        edges = range(len(self.position.cell.edges))
        for operation in self.operations:
            if operation.name not in self.units:
                continue
            for number, unit in enumerate(self.operation_units(operation.name)):
                level = f"{number}." if operation.kind == "conv" else ""
                rows = self.skip_rows if operation.kind == "skip" else edges
                names = [f"{prefix}edges.{e}.operations.{operation.name}.{level}" for e in rows]
                own = f"{prefix}units.{operation.name}.{number}."
                result.update(prefixed(own, unit.packing(names)))
        return result

    def operation_units(self, name: str) -> list[Unit]:
        """Return the units of an operation (none for parameter-free ones)."""
        if name not in self.units:
            return []
        return [_unit(unit) for unit in self.units[name].children()]


class _OwnEdge(nn.Module):
    """The operations of one's own on one edge, named as in the reference parent."""

    def __init__(self, operations: dict[str, nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleDict(operations)


def _unit(module: nn.Module) -> Unit:
    if not isinstance(module, Unit):
        raise TypeError(f"expected a Unit, got {type(module).__name__}")
    return module
