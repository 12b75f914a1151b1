"""A packed cell as two calls of compiled code: what ``fast_plan.py``, ``fast_pass.py`` and
``fast_backward.py`` do in Python, without Python between the kernels.

``declare`` writes a cell down once for the compiled module; every step then plans, runs and keeps
what its backward pass needs in one tensor. Cells with a unit that has no compiled kernel
(``conv_7x1_1x7``) run in Python, kernel by kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasbench_snas.kernels.cpu import CpuKernels, compiled_spec
from nasbench_snas.operations import Operation
from nasbench_snas.supernet.fast_units import FastCell, Unit

_ROLES = {"zero": 0, "skip": 1, "pool": 2, "conv": 3}


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
        """Whether every unit of ``cell`` has a compiled kernel."""
        specs = [unit.spec for unit in cell.every if unit.spec is not None]
        return all(compiled_spec(spec) is not None for spec in specs)

    def buffers(self) -> list[Tensor]:
        """Return running mean, variance and count of every unit that has a norm."""
        return [tensor for unit in self._normed for tensor in unit.running]

    def forward(
        self, inputs: list[Tensor], z: Tensor, used: Tensor, mask: Tensor | None, training: bool,
        update: bool,
    ) -> tuple[Tensor, Tensor, Any]:  # fmt: skip
        """Return the cell's output, the tensor that the backward pass needs, and the plan.

        Args:
            inputs: The cell's inputs, each ``(1 or S, B, H, W, C)``.
            z: Weights of the operations, flat, ``S * edges * K`` numbers.
            used: Whether an operation is run, shape ``(S, edges, K)``.
            mask: Factors of the edges for each image, shape ``(edges, B)``, or None.
            training: Whether norms use the statistics of the batch.
            update: Whether running statistics change (in training).
        """
        result: tuple[Tensor, Tensor, Any] = self._declared.forward(
            inputs, z, used, self.cell.tensors(), self.buffers(), mask, training, update
        )
        return result

    def backward(
        self, plan: Any, inputs: list[Tensor], z: Tensor, mask: Tensor | None, kept: Tensor,
        g: Tensor, wanted: bool,
    ) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:  # fmt: skip
        """Return the gradients of the inputs, of ``z`` and, if ``wanted``, of the parameters."""
        result: tuple[list[Tensor], Tensor, list[Tensor | None]] = self._declared.backward(
            plan, inputs, z, self.cell.tensors(), self.buffers(), mask, kept, g, wanted
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
        return module.Operation(_ROLES[operation.kind], operation.pool == "max", units)

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


class CompiledFunction(torch.autograd.Function):
    """A compiled cell as one node of the autograd graph.

    Inputs after the options: ``z`` (flat), the cell's inputs, the cell's parameters (only to
    receive gradients).
    """

    @staticmethod
    def forward(
        ctx: Any, compiled: CompiledCell, used: Tensor, mask: Tensor | None, recompute: bool,
        count: int, z: Tensor, *tensors: Tensor,
    ) -> Tensor:  # fmt: skip
        """Return the cell's output; ``count`` of ``tensors`` are inputs."""
        inputs = [x.contiguous() for x in tensors[:count]]
        training = compiled.cell.training
        out, kept, plan = compiled.forward(inputs, z, used, mask, training, training)
        ctx.compiled, ctx.used, ctx.mask, ctx.count = compiled, used, mask, count
        ctx.training = training
        ctx.plan = None if recompute else plan
        ctx.save_for_backward(z, *inputs, *tensors[count:], *([] if recompute else [kept]))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradients."""
        compiled, plan, count = ctx.compiled, ctx.plan, ctx.count
        z, *rest = ctx.saved_tensors
        inputs = rest[:count]
        if plan is None:
            _, kept, plan = compiled.forward(inputs, z, ctx.used, ctx.mask, ctx.training, False)
        else:
            kept = rest[-1]
        wanted = any(ctx.needs_input_grad[6 + count :])
        dinputs, dz, gradients = compiled.backward(
            plan, inputs, z, ctx.mask, kept, g.contiguous(), wanted
        )
        return None, None, None, None, None, dz, *dinputs, *gradients
