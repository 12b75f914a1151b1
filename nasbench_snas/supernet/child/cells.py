"""Whole cells of a derived network in compiled code: two calls, forward and backward.

A derived cell is a cell of the parent (:mod:`nasbench_snas.supernet.fast.compiled`) in which every
edge has one operation of weight one; path dropout is the factor of an edge for each image. The
compiled cell applies the last norm of a chain while it sums a node, so that neither it nor a
pooling, a sum or a concatenation is an operation of PyTorch's, and no normalised tensor is stored.

Parameters and running statistics stay those of the plain modules. For a pass they are packed: row
``e`` of a packed tensor belongs to edge ``e``, whatever its operation.

Cells with other modules (dense convolutions, operations of one's own, auxiliary skips, reduced
input nodes in the concatenation) run module by module, their chains on the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasbench_snas.architecture.operations import operation
from nasbench_snas.kernels.cpu.backend import OPERATION_ROLES, CpuKernels, compiled_spec
from nasbench_snas.supernet.child.network import ChildCell
from nasbench_snas.supernet.child.plan import keeps_identity
from nasbench_snas.supernet.child.units import ChainUnit, chain_of, usable_norm
from nasbench_snas.supernet.modules import Pool

_MATRIX = "matrix"


@dataclass(frozen=True)
class _Piece:
    """One tensor of the plain modules and where it lies: columns of a row of a packed tensor."""

    owner: nn.Module
    place: int
    row: int
    columns: tuple[int, int] | None = None  # of a matrix, which is packed transposed

    def tensor(self, name: str = "weight") -> Tensor:
        found: Tensor = getattr(self.owner, name)
        return found

    def within(self, packed: Sequence[Tensor]) -> Tensor:
        """Return the part of a packed tensor as the plain tensor's transposed matrix or row."""
        row = packed[self.place][self.row]
        return row if self.columns is None else row[:, slice(*self.columns)]


class _Packing:
    """The packed tensors of a cell: their sizes, and the pieces that fill them."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.weights: list[tuple[_Piece, str]] = []
        self.norms: list[_Piece] = []
        self.running: list[tuple[int, int]] = []
        self._places: dict[object, int] = {}

    def place(self, key: object, shape: tuple[int, ...]) -> int:
        """Return the number of a packed parameter."""
        if key not in self._places:
            self._places[key] = len(self.shapes)
            self.shapes.append(shape)
        return self._places[key]

    def norm(self, norm: nn.BatchNorm2d, key: object, row: int, rows: int) -> tuple[int, int, int]:
        """Add a norm; return the numbers of gamma and beta (or -1) and of its statistics."""
        width = norm.num_features
        learnt = []
        for name in ("weight", "bias") if norm.affine else ():
            place = self.place((name, key), (rows, width))
            self.weights.append((_Piece(norm, place, row), name))
            learnt.append(place)
        known = self._places.setdefault(("running", key), len(self.running))
        if known == len(self.running):
            self.running.append((rows, width))
        self.norms.append(_Piece(norm, known, row))
        gamma, beta = learnt or (-1, -1)
        return gamma, beta, known

    def unit(self, unit: ChainUnit, key: object, row: int, rows: int) -> tuple[int, ...]:
        """Add a unit; return what the compiled module wants to know of it."""
        compiled = compiled_spec(unit.spec)
        if compiled is None:
            raise ValueError(f"no compiled unit for {unit.spec}")
        first, *rest = unit.convs
        depthwise = -1
        if unit.spec.kind == "depthwise":
            side = unit.spec.kernel
            shape = (rows, side * side, first.in_channels)
            depthwise = self.place(("taps", side, key), shape)
            self._matrix(first, depthwise, row, (0, first.in_channels))
            first, rest = rest[0], []
        c_in, c_out = first.in_channels, sum(conv.out_channels for conv in (first, *rest))
        point = self.place((_MATRIX, key), (rows, c_in, c_out))
        start = 0
        for conv in (first, *rest):
            self._matrix(conv, point, row, (start, start + conv.out_channels))
            start += conv.out_channels
        gamma, beta, running = self.norm(unit.norm, key, row, rows)
        return (*compiled, c_in, c_out, depthwise, point, gamma, beta, running)

    def _matrix(self, conv: nn.Conv2d, place: int, row: int, columns: tuple[int, int]) -> None:
        self.weights.append((_Piece(conv, place, row, columns), "weight"))


class WholeCell:
    """A derived cell that runs in compiled code as a whole.

    Args:
        cell: The cell; its tensors are read at every call, so they may be moved or replaced.
        kernels: The compiled kernels.
    """

    def __init__(self, cell: ChildCell, kernels: CpuKernels) -> None:
        plan, edges = cell.plan, cell.plan.cell.edges
        self._packing = _Packing()
        self._stored: tuple[torch.dtype | None, list[Tensor]] = None, []
        module, packing, rows = kernels.module, self._packing, len(edges)
        strides = [plan.edge_stride(n) for n in range(plan.cell.num_inputs + plan.cell.num_nodes)]
        adapting = [
            module.Unit(*packing.unit(unit, ("input", number), 0, 1))
            for number, unit in enumerate(_adapting(cell))
        ]
        units: dict[str, list[Any]] = {edge.operation: [] for edge in edges}
        for row, (edge, plain) in enumerate(zip(edges, cell.edges, strict=True)):
            declared = []
            for depth, unit in enumerate(_units(plain, edge.operation)):
                if isinstance(unit, ChainUnit):
                    numbers = packing.unit(unit, depth, row, rows)
                else:
                    width = unit.num_features
                    norm = packing.norm(unit, depth, row, rows)
                    numbers = (0, 0, 0, 1, width, width, -1, -1, *norm)
                declared.append(module.Unit(*numbers))
            units[edge.operation] = declared or units[edge.operation]
        operations = [
            module.Operation(
                OPERATION_ROLES[operation(name).kind], operation(name).pool == "max", found
            )
            for name, found in units.items()
        ]
        names = list(units)
        self._used = torch.zeros(1, rows, len(names), dtype=torch.bool)
        for row, edge in enumerate(edges):
            self._used[0, row, names.index(edge.operation)] = True
        self._spared = torch.tensor(
            [keeps_identity(edge.operation, strides[edge.source]) for edge in edges]
        )
        self._declared = module.Cell(
            plan.cell.num_inputs, plan.cell.num_nodes, plan.channels, len(plan.cell.concat) > 1,
            [[edge.source, edge.target] for edge in edges], strides, operations,
            list(range(rows)), adapting,
        )  # fmt: skip
        self._pixels = plan.output_resolution**2

    @staticmethod
    def takes(cell: ChildCell) -> bool:
        """Whether compiled code has all that ``cell`` consists of."""
        plan, shape = cell.plan, cell.plan.cell
        inner = tuple(range(shape.num_inputs, shape.num_inputs + shape.num_nodes))
        adapted = len(_adapting(cell))
        return (
            bool(shape.edges)
            and shape.concat in (inner, inner[-1:])
            and not len(cell.skips)
            and adapted in (0, shape.num_inputs)
            and (adapted > 0 or not any(plan.preprocess))
            and all(
                _known(plain, edge.operation)
                for edge, plain in zip(shape.edges, cell.edges, strict=True)
            )
        )

    def applies(self, inputs: Sequence[Tensor]) -> bool:
        """Whether it can take ``inputs`` now."""
        x, norms = inputs[0], self._packing.norms
        modes = {piece.owner.training for piece in norms}
        return (
            x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.float64)
            and all(piece.tensor("running_mean").dtype == x.dtype for piece in norms)
            and not torch.is_autocast_enabled("cpu")
            and len(modes) == 1
            and len(x) * self._pixels > 1  # a batch norm of one value has no variance
        )

    def __call__(self, inputs: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """Return the cell's output, as :meth:`ChildCell.forward` does."""
        rows = [x.permute(0, 2, 3, 1).contiguous()[None] for x in inputs]
        factors = None
        if mask is not None:
            factors = mask.to(inputs[0].dtype).masked_fill(self._spared[:, None], 1.0)
        parameters = [piece.tensor(name) for piece, name in self._packing.weights]
        out: Tensor = _Whole.apply(self, factors, len(rows), *rows, *parameters)
        return out[0].permute(0, 3, 1, 2)

    def forward(
        self, inputs: Sequence[Tensor], parameters: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Any, _Use]:
        """Return the output, what the backward pass needs, the plan, and how the cell was used."""
        x, pieces = inputs[0], self._packing.norms
        training = pieces[0].owner.training
        statistics = [x.new_empty(2, *shape) for shape in self._packing.running]
        counts = [torch.empty(rows, dtype=torch.int64) for rows, _ in self._packing.running]
        values = [statistics[piece.place][:, piece.row].unbind() for piece in pieces]
        packed = [value for pair in values for value in pair]
        own = [piece.tensor(name) for piece in pieces for name in ("running_mean", "running_var")]
        torch._foreach_copy_(packed, own)
        if training:
            packed += [counts[piece.place][piece.row] for piece in pieces]
            own += [piece.tensor("num_batches_tracked") for piece in pieces]
            torch._foreach_copy_(packed[2 * len(pieces) :], own[2 * len(pieces) :])
        buffers = [
            tensor
            for pair, count in zip(statistics, counts, strict=True)
            for tensor in (*pair.unbind(), count)
        ]
        use = _Use(self._used.to(x.dtype).flatten(), mask, buffers)
        out, kept, plan = self._declared.forward(
            inputs, use.ones, self._used, self._packed(parameters), buffers, mask, training,
            training,
        )  # fmt: skip
        if training:
            torch._foreach_copy_(own, packed)
        return out, kept, plan, use

    def backward(
        self, use: _Use, plan: Any, inputs: Sequence[Tensor], parameters: Sequence[Tensor],
        kept: Tensor, g: Tensor, wanted: bool,
    ) -> list[Tensor | None]:  # fmt: skip
        """Return the gradients of the inputs and, if ``wanted``, of the parameters."""
        found, _, gradients = self._declared.backward(
            plan, inputs, use.ones, self._packed(parameters), use.buffers, use.mask, kept, g, wanted
        )
        result: list[Tensor | None] = list(found)
        for (piece, _), parameter in zip(self._packing.weights, parameters, strict=True):
            if gradients[piece.place] is None:
                result.append(None)
                continue
            part = piece.within(gradients)
            result.append((part if piece.columns is None else part.t()).view(parameter.shape))
        return result

    def _packed(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the packed parameters, in memory that is kept for the next pass.

        A backward pass packs them again: other passes may have come between.
        """
        kind = parameters[0].dtype if parameters else torch.get_default_dtype()
        if self._stored[0] != kind:
            self._stored = kind, [torch.empty(s, dtype=kind) for s in self._packing.shapes]
        packed = self._stored[1]
        pieces = [piece for piece, _ in self._packing.weights]
        rows = [p if p.dim() == 1 else p.flatten(1).t() for p in parameters]
        torch._foreach_copy_([piece.within(packed) for piece in pieces], rows)
        return packed


@dataclass(frozen=True)
class _Use:
    """One use of a cell: weights of its operations (flat), factors of its edges, statistics."""

    ones: Tensor
    mask: Tensor | None
    buffers: list[Tensor]


class _Whole(torch.autograd.Function):
    """A whole cell; inputs and the result are ``(1, B, H, W, C)``."""

    @staticmethod
    def forward(
        ctx: Any, cell: WholeCell, mask: Tensor | None, count: int, *tensors: Tensor
    ) -> Tensor:
        """Return the output; ``count`` of ``tensors`` are inputs, the others parameters."""
        out, kept, ctx.plan, ctx.use = cell.forward(tensors[:count], tensors[count:], mask)
        ctx.cell, ctx.count = cell, count
        ctx.save_for_backward(kept, *tensors)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs and of the parameters."""
        kept, *tensors = ctx.saved_tensors
        wanted = any(ctx.needs_input_grad[3 + ctx.count :])
        found = ctx.cell.backward(
            ctx.use, ctx.plan, tensors[: ctx.count], tensors[ctx.count :], kept, g.contiguous(),
            wanted,
        )  # fmt: skip
        return (None, None, None, *found)


def _adapting(cell: ChildCell) -> list[ChainUnit]:
    """Return the units that adapt the inputs of a cell, of those inputs that have one."""
    found: list[ChainUnit] = []
    for module in cell.preprocess:
        found += chain_of(module, "")
    return found


def _units(module: nn.Module, name: str) -> Sequence[ChainUnit | nn.BatchNorm2d]:
    """Return the units of an edge's operation; of a pooling, its norm."""
    if isinstance(module, Pool):
        return [module.bn] if isinstance(module.bn, nn.BatchNorm2d) else []
    return chain_of(module, name)


def _known(module: nn.Module, name: str) -> bool:
    """Whether compiled code has an edge's operation."""
    if isinstance(module, nn.Identity):
        return operation(name).kind == "skip"
    if isinstance(module, Pool):
        return type(module.bn) is nn.Identity or usable_norm(module.bn)
    return operation(name).kind in ("skip", "conv") and bool(chain_of(module, name))
