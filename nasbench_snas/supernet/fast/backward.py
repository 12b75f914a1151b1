"""Backward pass of a packed cell (its forward pass: ``forward.py``).

Gradients of gradients are not offered (``build_parent`` takes the reference parent where they are
needed).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.kernels.operands import Norm, Upstream
from nasbench_snas.kernels.sources import CandidatePlan, Slots, UnitWeights
from nasbench_snas.supernet.fast.forward import (
    CellRun,
    SourceRecord,
    Tape,
    UnitRecord,
    input_operand,
    operands,
    source_of,
)
from nasbench_snas.supernet.fast.own import backward_own
from nasbench_snas.supernet.fast.units import FastCell


class Gradients:
    """Gradient buffers of a cell's parameters, made when first used.

    Args:
        wanted: Whether parameters need a gradient at all.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.buffers: dict[int, Tensor] = {}
        self.slots: Slots | None = None

    def allocate(self, cell: FastCell) -> None:
        """Make the buffers of all parameters of ``cell`` as parts of one tensor.

        They lie where they always do, whatever operations run.
        """
        parameters = cell.tensors()
        if not self.wanted or not parameters:
            return
        offsets, total = cell.slots()
        self.slots = Slots(parameters[0].new_zeros(total), offsets)
        self.buffers = {id(parameter): self.slots.of(parameter) for parameter in parameters}

    def of(self, parameter: Tensor) -> Tensor:
        """Return the buffer of ``parameter``."""
        key = id(parameter)
        if key not in self.buffers:
            self.buffers[key] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        return self.buffers[key]

    def weights(self, unit: UnitWeights) -> list[Tensor] | None:
        """Return the buffers of a unit's weights, or None if nobody wants them."""
        return [self.of(weight) for weight in unit.weights] if self.wanted else None

    def norm(self, unit: UnitWeights | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the buffers of a unit's ``gamma`` and ``beta``."""
        if unit is None or unit.gamma is None or unit.beta is None or not self.wanted:
            return None, None
        return self.of(unit.gamma), self.of(unit.beta)


def norm_upstream(
    run: CellRun, unit: UnitWeights, plan: CandidatePlan, norm: Norm, sums: Tensor, t: Tensor,
    gradients: Gradients,
) -> Upstream:  # fmt: skip
    """Return the gradient of a unit's output from the gradient ``t`` of its norm's output.

    Args:
        run: The run.
        unit: The unit whose output is normed.
        plan: Its candidate.
        norm: Its norm as the next unit used it.
        sums: ``<t, 1>`` and ``<t, y - mean>``, shape ``(2, rows, C)``, float64.
        t: Gradient of the norm's output, shape ``(rows, B, H, W, C)``.
        gradients: Where the gradients of gamma and beta go.
    """
    values = t[0].numel() // t.shape[-1] if run.training else 0
    p, r = run.kernels.norm_backward(norm, sums, plan.w_rows, *gradients.norm(unit), values)
    return Upstream(t, plan.every, plan.chain, norm.scale, p, r)


def backward_units(
    run: CellRun, tape: Tape, plan: CandidatePlan, records: list[UnitRecord], upstream: Upstream,
    dx: Tensor, overwrite: bool, gradients: Gradients,
) -> None:  # fmt: skip
    """Send the gradient of a chain's output through it; add to the source's ``dx``."""
    for number in reversed(range(len(records))):
        record, unit = records[number], plan.units[number]
        x, norm = tape.tensors[record.x], None
        if record.norm is not None:
            norm = Norm(*(tape.tensors[place] for place in record.norm))
        target = dx if number == 0 else torch.empty_like(x)
        sums = run.kernels.unit_backward(
            plan.specs[number], x, norm, unit.weights,
            plan.x_rows if number == 0 else plan.every, plan.w_rows,
            tape.tensors[record.y], upstream, target, overwrite or number > 0,
            gradients.weights(unit),
        )  # fmt: skip
        if norm is not None and sums is not None:
            before = plan.units[number - 1]
            upstream = norm_upstream(run, before, plan, norm, sums, target, gradients)


def backward_source(
    run: CellRun, tape: Tape, record: SourceRecord, z: Tensor, dz: Tensor, g: Tensor, dx: Tensor,
    overwrite: bool, gradients: Gradients,
) -> None:  # fmt: skip
    """Add a source's share of all gradients; ``g`` holds its targets' gradients, ``dx`` its own.

    ``overwrite``: ``dx`` is uninitialised (only with a backend that runs sources as a whole).
    """
    sources = run.kernels.sources
    if sources is not None:
        sources.source_backward(
            source_of(run.cell, run.training, record.plan),
            [tape.tensors[place] for place in record.kept],
            tape.tensors[record.x], z, run.mask, g, dz, dx, overwrite, gradients.slots,
        )  # fmt: skip
        return
    last = [plan.units[-1] if plan.units else None for plan in record.plan.candidates]
    norms = [gradients.norm(unit) for unit in last]
    upstreams = run.kernels.mix_backward(
        z, record.entries, operands(run, tape, record), g, dz,
        [dgamma for dgamma, _ in norms], [dbeta for _, dbeta in norms], run.training,
    )  # fmt: skip
    for number, (plan, upstream) in enumerate(zip(record.plan.candidates, upstreams, strict=True)):
        x = tape.tensors[record.x]
        if plan.kind == "conv":
            units = record.units[number]
            backward_units(run, tape, plan, units, upstream, dx, False, gradients)
        elif plan.kind == "pool":
            y = tape.tensors[record.operands[number][0]]
            run.kernels.pool_backward(plan.pool, record.plan.stride, x, y, upstream, dx)
        else:
            run.kernels.add_upstream(upstream, dx)


def run_backward(
    run: CellRun, tape: Tape, inputs: tuple[Tensor, ...], z: Tensor, g_out: Tensor, wanted: bool
) -> tuple[list[Tensor], Tensor, Gradients]:
    """Return the gradients of the inputs, of ``z`` (flat) and of the parameters."""
    cell, gradients, dz = run.cell.position.cell, Gradients(wanted), torch.zeros_like(z)
    if cell.output == "concat":
        g = torch.stack(g_out.chunk(cell.num_nodes, dim=-1))
    else:
        g = g_out.new_zeros((cell.num_nodes, *g_out.shape))
        g[-1] = g_out
    targets = g.flatten(0, 1)
    if run.kernels.sources is not None:
        gradients.allocate(run.cell)
    dinputs: list[Tensor] = []
    for source in reversed(range(len(tape.sources))):
        record = tape.sources[source]
        inner = source >= cell.num_inputs
        fresh = run.kernels.sources is not None and record is not None and not inner
        if inner:
            dx = g[source - cell.num_inputs]
        else:
            like = inputs[source]
            channels = run.cell.position.layer.channels
            size = (*like.shape[:2], *_node_size(run, inputs, source), channels)
            dx = like.new_empty(size) if fresh else like.new_zeros(size)
        if record is not None:
            backward_source(run, tape, record, z, dz, targets, dx, fresh, gradients)
        if tape.own[source]:
            into = gradients.buffers if wanted else None
            backward_own(run.cell, tape.own[source], z, run.mask, dz, targets, dx, into)
        if not inner:
            dinputs.append(_backward_preprocess(run, tape, source, inputs[source], dx, gradients))
    return dinputs[::-1], dz, gradients


def _node_size(run: CellRun, inputs: tuple[Tensor, ...], source: int) -> tuple[int, int]:
    """Return height and width of an input node after preprocessing."""
    height, width = inputs[source].shape[2:4]
    if len(run.cell.preprocess) and run.cell.position.input_reduces[source]:
        return (height + 1) // 2, (width + 1) // 2
    return height, width


def _backward_preprocess(
    run: CellRun, tape: Tape, index: int, x: Tensor, g: Tensor, gradients: Gradients
) -> Tensor:
    """Return the gradient of input ``index`` from that of its node."""
    if not run.plan.inputs:
        return g
    plan, record, sources = run.plan.inputs[index], tape.preprocess[index], run.kernels.sources
    dx = torch.empty_like(x)
    if sources is not None and not isinstance(record, UnitRecord):
        sources.source_backward(
            source_of(run.cell, run.training, plan), [tape.tensors[place] for place in record], x,
            plan.ones, None, g, torch.empty_like(plan.ones), dx, True, gradients.slots,
        )  # fmt: skip
        return dx
    if not isinstance(record, UnitRecord):
        raise TypeError("without SourceKernels, inputs are adapted by a unit")
    dgamma, dbeta = gradients.norm(plan.candidate.units[-1])
    (upstream,) = run.kernels.mix_backward(
        plan.ones, plan.entries, [input_operand(run, tape, plan, record)], g,
        torch.zeros_like(plan.ones), [dgamma], [dbeta], run.training,
    )  # fmt: skip
    backward_units(run, tape, plan.candidate, [record], upstream, dx, True, gradients)
    return dx
