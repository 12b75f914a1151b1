"""Operations of one's own inside the fast parent: modules called one by one, as the reference does.

A module has no place in the fused kernels. After the other candidates of a source node it is called
for every (draw, edge) that wants it, on that draw's row of the node, and its output times its
weight is added to the target::

    x_j += z_ijk O_k(x_i)      dL/dz_ijk = <g_j, O_k(x_i)>      dL/dx_i += J_k^T z_ijk g_j

with ``g_j`` the gradient of the target; ``J_k^T`` is autograd's, on a graph of the call's own.
Every draw so has its own batch statistics, and running statistics change draw by draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasbench_snas.supernet.modules import apart

if TYPE_CHECKING:
    from nasbench_snas.supernet.fast.units import FastCell


@dataclass(frozen=True)
class OwnCall:
    """One call: of which module, on which row, into which target.

    Attributes:
        edge: The edge.
        name: The operation.
        row: Row of the source node.
        target: Row of the targets, ``node * S + draw``.
        place: Place of its weight in the flat ``z``.
    """

    edge: int
    name: str
    row: int
    target: int
    place: int


@dataclass
class OwnRecord:
    """A call with its graph: from ``x``, ``(B, C, H, W)``, to ``y``, ``(B, C, H', W')``."""

    call: OwnCall
    x: Tensor
    y: Tensor


def plan_own(
    cell: FastCell, source: int, shared: bool, wanted: Sequence[Sequence[Sequence[int]]]
) -> tuple[OwnCall, ...]:
    """Return the calls of one source node, draw by draw.

    Args:
        cell: The cell.
        source: Number of the node.
        shared: Whether it has one row for all draws.
        wanted: For every draw and edge, the operations to run.
    """
    return tuple(_calls(cell, source, shared, wanted))


def _calls(
    cell: FastCell, source: int, shared: bool, wanted: Sequence[Sequence[Sequence[int]]]
) -> Iterator[OwnCall]:
    edges, draws, operations = cell.position.cell.edges, len(wanted), cell.operations
    own = [k for k, operation in enumerate(operations) if operation.kind == "module"]
    for draw, chosen in enumerate(wanted):
        for edge, (start, end) in enumerate(edges):
            for k in own if start == source else ():
                if k in chosen[edge]:
                    target = (end - cell.position.cell.num_inputs) * draws + draw
                    place = (draw * len(edges) + edge) * len(operations) + k
                    row = 0 if shared else draw
                    yield OwnCall(edge, operations[k].name, row, target, place)


def forward_own(
    cell: FastCell,
    calls: Sequence[OwnCall],
    node: Tensor,
    z: Tensor,
    mask: Tensor | None,
    out: Tensor,
    *,
    graph: bool,
    apart_from: bool,
) -> list[OwnRecord]:
    """Call the modules of a source and add what they return to the targets.

    Args:
        cell: The cell.
        calls: What to call.
        node: The source, shape ``(rows, B, H, W, C)``.
        z: Weights of the operations, flat.
        mask: Factors of the edges for each image, shape ``(edges, B)``, or None.
        out: The targets, shape ``(nodes * S, B, H', W', C)``; added to.
        graph: Whether a backward pass follows.
        apart_from: Whether running statistics must not change (a second pass in training).

    Returns:
        The calls with their graphs; empty without ``graph``.
    """
    records = []
    for call in calls:
        module = cell.own_module(call.edge, call.name)
        x = node[call.row].permute(0, 3, 1, 2).to(z.dtype)
        with torch.set_grad_enabled(graph):
            x = x.detach().clone().requires_grad_(graph)  # nodes share a tensor that still grows
            y: Tensor = apart(module, x) if apart_from else module(x)
        added = z[call.place] * y.detach()
        if mask is not None:
            added = added * mask[call.edge].to(added.dtype).view(-1, 1, 1, 1)
        out[call.target].add_(added.permute(0, 2, 3, 1))
        if graph:
            records.append(OwnRecord(call, x, y))
    return records


def backward_own(
    cell: FastCell,
    records: Sequence[OwnRecord],
    z: Tensor,
    mask: Tensor | None,
    dz: Tensor,
    g: Tensor,
    dx: Tensor,
    into: dict[int, Tensor] | None,
) -> None:
    """Add the calls' shares of all gradients.

    Args:
        cell: The cell.
        records: The calls with their graphs.
        z: Weights of the operations, flat.
        mask: As in the forward pass.
        dz: Gradient of ``z``; added to.
        g: Gradients of the targets, shape ``(nodes * S, B, H', W', C)``.
        dx: Gradient of the source, shape ``(rows, B, H, W, C)``; added to.
        into: Gradients of parameters by ``id``; added to. None: nobody wants them.
    """
    for record in records:
        call, upstream = record.call, g[record.call.target].permute(0, 3, 1, 2).to(z.dtype)
        if mask is not None:
            upstream = upstream * mask[call.edge].to(upstream.dtype).view(-1, 1, 1, 1)
        dz[call.place] += (upstream * record.y.detach()).sum()
        module = cell.own_module(call.edge, call.name)
        parameters = [p for p in module.parameters() if p.requires_grad and into is not None]
        if not record.y.requires_grad:
            continue
        found = torch.autograd.grad(
            record.y,
            [record.x, *parameters],
            z[call.place] * upstream,
            retain_graph=True,
            allow_unused=True,
        )
        if found[0] is not None:
            dx[call.row].add_(found[0].permute(0, 2, 3, 1))
        for parameter, gradient in zip(parameters, found[1:], strict=True):
            if gradient is None or into is None:
                continue
            if id(parameter) not in into:
                into[id(parameter)] = torch.zeros_like(parameter)
            into[id(parameter)].add_(gradient)
