"""A packed cell as two calls of compiled code: what ``plan.py``, ``forward.py`` and
``backward.py`` do in Python, without Python between the kernels.

A cell is declared to the compiled module once; every step then plans, runs and keeps what its
backward pass needs in one tensor. Cells with a unit that has no compiled kernel
(``conv_7x1_1x7``), or with an operation of one's own, run in Python, kernel by kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasbench_snas.architecture.operations import Operation
from nasbench_snas.kernels.cpu.backend import OPERATION_ROLES, CpuKernels, compiled_spec
from nasbench_snas.supernet.fast.units import FastCell, Unit


class CompiledCell:
    """A cell as the compiled module runs it.

    Args:
        cell: The cell; its tensors are read at every call, so they may be moved or replaced.
        kernels: The compiled kernels.
    """

    def __init__(self, cell: FastCell, kernels: CpuKernels) -> None:
        self.cell, self._kernels = cell, kernels
        self._normed = [unit for unit in cell.every if unit.norm]
        self._declared = self._declare(kernels.module)

    def __reduce__(self) -> tuple[type[CompiledCell], tuple[FastCell, CpuKernels]]:
        """Copies and pickles are declared anew."""
        return CompiledCell, (self.cell, self._kernels)

    @staticmethod
    def takes(cell: FastCell) -> bool:
        """Whether every unit of ``cell`` has a compiled kernel, and there are units only."""
        specs = [unit.spec for unit in cell.every if unit.spec is not None]
        return not len(cell.edges) and all(compiled_spec(spec) is not None for spec in specs)

    def buffers(self) -> list[Tensor]:
        """Return running mean, variance and count of every unit that has a norm."""
        return [tensor for unit in self._normed for tensor in unit.running]

    def forward(
        self, use: CellUse, inputs: list[Tensor], z: Tensor, parameters: list[Tensor], update: bool
    ) -> tuple[Tensor, Tensor, Any]:
        """Return the cell's output, the tensor that the backward pass needs, and the plan.

        Args:
            use: What is run.
            inputs: The cell's inputs, each ``(1 or S, B, H, W, C)``.
            z: Weights of the operations, flat, ``S * edges * K`` numbers.
            parameters: The cell's parameters.
            update: Whether running statistics change (in training).
        """
        result: tuple[Tensor, Tensor, Any] = self._declared.forward(
            inputs, z, use.used, parameters, use.buffers, use.mask, use.training, update
        )
        return result

    def backward(
        self, use: CellUse, plan: Any, inputs: list[Tensor], z: Tensor, parameters: list[Tensor],
        kept: Tensor, g: Tensor, wanted: bool,
    ) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:  # fmt: skip
        """Return the gradients of the inputs, of ``z`` and, if ``wanted``, of the parameters."""
        result: tuple[list[Tensor], Tensor, list[Tensor | None]] = self._declared.backward(
            plan, inputs, z, parameters, use.buffers, use.mask, kept, g, wanted
        )
        return result

    def _declare(self, module: Any) -> Any:
        cell, position = self.cell, self.cell.position
        shape = position.cell
        total = shape.num_inputs + shape.num_nodes
        return module.Cell(
            shape.num_inputs, shape.num_nodes, position.layer.channels, shape.output == "concat",
            [list(edge) for edge in shape.edges], [position.stride(node) for node in range(total)],
            [self._operation(module, operation) for operation in cell.operations],
            [cell.skip_rows.get(edge, -1) for edge in range(len(shape.edges))],
            [self._unit(module, unit) for unit in cell.preprocess if isinstance(unit, Unit)],
        )  # fmt: skip

    def _operation(self, module: Any, operation: Operation) -> Any:
        units = [self._unit(module, unit) for unit in self.cell.operation_units(operation.name)]
        return module.Operation(OPERATION_ROLES[operation.kind], operation.pool == "max", units)

    def _unit(self, module: Any, unit: Unit) -> Any:
        places = {id(tensor): place for place, tensor in enumerate(self.cell.tensors())}
        weights = [places[id(weight)] for weight in unit.weights]
        learnt = [-1 if t is None else places[id(t)] for t in (unit.gamma, unit.beta)]
        running = self._normed.index(unit) if unit.norm else -1
        kind = (0, 0, 0, 1) if unit.spec is None else compiled_spec(unit.spec)
        if kind is None:
            raise ValueError(f"no compiled unit for {unit.spec}")
        first = weights[0] if len(weights) == 2 else -1
        return module.Unit(
            *kind, *unit.width, first, weights[-1] if weights else -1, *learnt, running
        )


@dataclass(frozen=True)
class CellUse:
    """One use of a cell.

    Attributes:
        compiled: The cell.
        used: Whether an operation is run, shape ``(S, edges, K)``.
        mask: Factors of the edges for each image, shape ``(edges, B)``, or None.
        training: Whether norms use (and update) the statistics of the batch.
        recompute: Whether only the inputs are kept for the backward pass.
        buffers: The running statistics.
    """

    compiled: CompiledCell
    used: Tensor
    mask: Tensor | None
    training: bool
    recompute: bool
    buffers: list[Tensor]


class CompiledFunction(torch.autograd.Function):
    """A compiled cell as one node of the autograd graph.

    Inputs after ``use``: ``z`` (flat), the cell's inputs, the cell's parameters.
    """

    @staticmethod
    def forward(ctx: Any, use: CellUse, count: int, z: Tensor, *tensors: Tensor) -> Tensor:
        """Return the cell's output; ``count`` of ``tensors`` are inputs."""
        inputs, parameters = [x.contiguous() for x in tensors[:count]], list(tensors[count:])
        out, kept, plan = use.compiled.forward(use, inputs, z, parameters, use.training)
        ctx.use, ctx.count, ctx.plan = use, count, None if use.recompute else plan
        ctx.save_for_backward(z, *([] if use.recompute else [kept]), *inputs, *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradients."""
        use, plan, count = ctx.use, ctx.plan, ctx.count
        z, *rest = ctx.saved_tensors
        kept = None if plan is None else rest.pop(0)
        inputs, parameters = rest[:count], rest[count:]
        if kept is None:
            _, kept, plan = use.compiled.forward(use, inputs, z, parameters, False)
        wanted = any(ctx.needs_input_grad[3 + count :])
        dinputs, dz, gradients = use.compiled.backward(
            use, plan, inputs, z, parameters, kept, g.contiguous(), wanted
        )
        return None, None, dz, *dinputs, *gradients
