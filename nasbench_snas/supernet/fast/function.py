"""The autograd function that joins a packed cell's forward and backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasbench_snas.supernet.fast.backward import run_backward
from nasbench_snas.supernet.fast.forward import CellRun, Tape, run_forward


class CellFunction(torch.autograd.Function):
    """A cell as one node of the autograd graph.

    Inputs after ``run``: ``z`` (flat), the cell's inputs, the cell's parameters (only to receive
    gradients).
    """

    @staticmethod
    def forward(ctx: Any, run: CellRun, count: int, z: Tensor, *tensors: Tensor) -> Tensor:
        """Return the cell's output; ``count`` of ``tensors`` are inputs."""
        inputs = tuple(x.contiguous() for x in tensors[:count])
        out, tape = run_forward(run, inputs, z, run.training)
        ctx.run, ctx.count = run, count
        kept = tape.tensors
        ctx.structure = None if run.recompute else tape
        ctx.save_for_backward(z, *inputs, *tensors[count:], *([] if run.recompute else kept))
        ctx.parameters = len(tensors) - count
        tape.tensors = []
        return out

    # Implements SNAS (6, 21, 23, 25, 26, 27, 32).
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return gradients; see :func:`run_backward`."""
        run: CellRun = ctx.run
        z, *rest = ctx.saved_tensors
        inputs = tuple(rest[: ctx.count])
        parameters = rest[ctx.count : ctx.count + ctx.parameters]
        if ctx.structure is None:
            _, tape = run_forward(run, inputs, z, update=False, again=True)
        else:
            kept = rest[ctx.count + ctx.parameters :]
            structure = ctx.structure
            tape = Tape(kept, structure.sources, structure.preprocess, structure.own)
        wanted = any(ctx.needs_input_grad[3 + ctx.count :])
        dinputs, dz, gradients = run_backward(run, tape, inputs, z, g.contiguous(), wanted)
        buffers = [gradients.buffers.get(id(parameter)) for parameter in parameters]
        return None, None, dz, *dinputs, *buffers
