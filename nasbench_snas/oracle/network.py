"""A parent network evaluated for many weighted architectures in one pass, and its loss closure.

What does not depend on the architecture is computed once: stem, and every operation on a node that
all draws share (in a one-cell network all edges that leave an input). One-hot rows run an operation
only for the draws that chose it. Every draw has its own batch-norm statistics; running statistics
are not touched.

Where there are compiled kernels, whole networks run on them
(:mod:`~nasbench_snas.oracle.compiled`).

One *evaluation* is one operation of one architecture, ``E`` of them one forward equivalent: costs
are counted as an implementation without sharing would pay them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.compiled import CompiledLogits
from nasbench_snas.oracle.functional import apply_module, normalise
from nasbench_snas.supernet.modules import Zero
from nasbench_snas.supernet.reference import (
    MixedEdge,
    ReferenceCell,
    ReferenceParent,
    present,
)

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Maps logits ``(S, B, classes)`` and labels ``(B,)`` to losses ``(S,)``."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each architecture in nats, shape ``(S,)``."""
    targets = labels.expand(logits.shape[0], -1)
    return functional.cross_entropy(logits.movedim(2, 1), targets, reduction="none").mean(dim=1)


class BatchedNetwork:
    """A reference parent's weights, evaluated for many architectures at once.

    Args:
        parent: The parent; its modules and its training or evaluation mode are used as they are.
        compiled: Its logits by compiled kernels, which are then taken unless gradients of gradients
            are needed.
    """

    def __init__(self, parent: ReferenceParent, compiled: CompiledLogits | None = None) -> None:
        self.parent, self.space, self.compiled = parent, parent.space, compiled
        edges = [edge for cell in parent.cells.values() for edge in cast(ReferenceCell, cell).edges]
        if any(cast(MixedEdge, edge).partial_channels != 1 for edge in edges):
            raise ConfigError(
                "gradients of partial-channel networks are not measured.",
                "Their parent is another network: its exact gradient is not comparable.",
            )

    def modules_of(self, layer: int, edge: int) -> list[nn.Module]:
        """Return the ``K`` operations of an edge of the cell at ``layer``; zero for absent ones."""
        own = list(self.mixed(layer, edge).operations.values())
        return own + [Zero(1)] * (self.space.num_operations - len(own))

    def mixed(self, layer: int, edge: int) -> MixedEdge:
        """Return ``edge`` of the cell at ``layer``."""
        cell = cast(ReferenceCell, self.parent.cells[str(layer)])
        return cast(MixedEdge, cell.edges[edge])

    def stem(self, images: Tensor) -> Tensor:
        """Return the stem's output, shape ``(1, B, C, H, W)``."""
        return apply_module(self.parent.stem, images[None])

    def adapt(self, layer: int, inputs: list[Tensor]) -> list[Tensor]:
        """Return the input nodes of the cell at ``layer`` from the preceding outputs."""
        cell = cast(ReferenceCell, self.parent.cells[str(layer)])
        return [apply_module(m, x) for m, x in zip(cell.preprocess, inputs, strict=True)]

    def logits(
        self,
        images: Tensor,
        z: Tensor,
        *,
        all_operations: bool | Tensor = False,
        double_backward: bool = False,
    ) -> Tensor:
        """Return logits ``(S, B, classes)``; see :meth:`ReferenceParent.forward`.

        Args:
            images: Shape ``(B, C, H, W)``.
            z: Weights, shape ``(S, E, K)``.
            all_operations: Whether operations of weight zero are run; a mask ``(S, E, K)``: which.
            double_backward: Whether gradients of gradients will be taken.
        """
        if self.compiled is not None and not double_backward:
            return self.compiled(images, z, all_operations)
        x = self.stem(images)
        history = [x, x]
        for index, layer in enumerate(self.space.layers):
            if layer.kind == "cell":
                inputs = history[-self.space.cell(layer.cell).num_inputs :]
                rows = self.space.rows[layer.cell]
                run = all_operations
                run = run[:, rows] if isinstance(run, Tensor) else run
                x = self._cell(index, self.adapt(index, inputs), z[:, rows], run)
            else:
                x = apply_module(self.parent.blocks[str(index)], x)
            history = [history[-1], x]
        logits = self.classify(self.pooled(x)).expand(z.shape[0], -1, -1)
        # an architecture of zeros only must still have a (zero) gradient for its weights
        return logits + 0 * z.flatten(1).sum(dim=1)[:, None, None] if z.requires_grad else logits

    def pooled(self, x: Tensor, channels: slice = slice(None)) -> Tensor:
        """Return the head's pooled features ``(P, B, C)`` of (a slice of channels of) its input."""
        head = self.parent.head
        if isinstance(head.norm, nn.Sequential):
            x = normalise_slice(cast(nn.BatchNorm2d, head.norm[0]), x, channels).relu()
        return x.mean(dim=(3, 4))

    def classify(self, features: Tensor) -> Tensor:
        """Return logits for pooled features ``(P, B, C)``."""
        linear = self.parent.head.linear
        return functional.linear(features, linear.weight, linear.bias)

    def _cell(
        self, layer: int, nodes: list[Tensor], z: Tensor, everything: bool | Tensor
    ) -> Tensor:
        cell = self.space.cell(self.space.layers[layer].cell)
        for target in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
            total: Tensor | None = None
            for index, (source, end) in enumerate(cell.edges):
                if end == target:
                    run = everything
                    run = run[:, index] if isinstance(run, Tensor) else run
                    term = self._edge(layer, index, nodes[source], z[:, index], run)
                    total = term if total is None else total + term
            if total is None:
                raise ConfigError(f"cell {cell.name!r}: node {target} has no incoming edge.")
            nodes.append(total)
        if cell.output == "last":
            return nodes[-1]
        kept = torch.broadcast_tensors(*nodes[cell.num_inputs :])
        return torch.cat(kept, dim=2)

    def _edge(
        self, layer: int, edge: int, x: Tensor, row: Tensor, everything: bool | Tensor
    ) -> Tensor:
        """Return an edge's output, ``(S, B, C, H, W)``: see :meth:`MixedEdge.forward`."""
        auxiliary = self.mixed(layer, edge).auxiliary
        out = self._sum(layer, edge, x, row, everything)
        if auxiliary is None:
            return out
        loud = [k not in self.mixed(layer, edge).silent for k in range(row.shape[1])]
        kept = (row.detach()[:, loud] != 0).any(dim=1).to(row.dtype)
        return out + kept.view(-1, 1, 1, 1, 1) * apply_module(auxiliary, x)

    def _sum(
        self, layer: int, edge: int, x: Tensor, row: Tensor, everything: bool | Tensor
    ) -> Tensor:
        """Return ``sum_k row[:, k] O_k(x)``, shape ``(S, B, C, H, W)``; ``row`` is ``(S, K)``."""
        used = row.detach() != 0
        if isinstance(everything, Tensor):
            used, everything = used | everything, False
        row = row if everything else torch.where(used, row, torch.zeros_like(row))
        some = [
            (k, module)
            for k, module in enumerate(self.modules_of(layer, edge))
            if not isinstance(module, Zero) and (everything or bool(used[:, k].any()))
        ]
        if not some:
            return self._blank(layer, edge, x)
        if x.shape[0] == 1:
            outputs = torch.cat([apply_module(module, x) for _, module in some])
            mixed = row[:, [k for k, _ in some]] @ outputs.flatten(1)
            return mixed.view(len(row), *outputs.shape[1:])
        total: Tensor | None = None
        for k, module in some:
            rows = used[:, k].nonzero().flatten()
            if everything or len(rows) == len(row):
                term = row[:, k, None, None, None, None] * apply_module(module, x)
                total = term if total is None else total + term
            else:
                part = row[rows, k, None, None, None, None] * apply_module(module, x[rows])
                blank = part.new_zeros(row.shape[:1] + part.shape[1:])
                total = (blank if total is None else total).index_add(0, rows, part)
        return self._blank(layer, edge, x) if total is None else total

    def _blank(self, layer: int, edge: int, x: Tensor) -> Tensor:
        cell = self.space.cell(self.space.layers[layer].cell)
        stride = self.space.layers[layer].stride
        step = stride if cell.edges[edge][0] < cell.num_inputs else 1
        return torch.zeros_like(x[..., ::step, ::step])


def normalise_slice(norm: nn.BatchNorm2d, x: Tensor, channels: slice) -> Tensor:
    """Apply the part of a batch norm that belongs to ``channels`` to ``x`` (already sliced)."""
    if channels == slice(None):
        return normalise(norm, x)
    part = nn.BatchNorm2d(x.shape[2], eps=norm.eps, affine=False, track_running_stats=False)
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        mean, variance = norm.running_mean[channels], norm.running_var[channels]
        y = (x - mean[:, None, None]) * (variance + norm.eps).rsqrt()[:, None, None]
    else:
        y = normalise(part, x)
    weight, bias = norm.weight[channels], norm.bias[channels]
    return torch.addcmul(bias[:, None, None], y, weight[:, None, None])


@dataclass
class Counter:
    """Executed operation evaluations: forward, and those that a backward pass went through."""

    forward: int = 0
    backward: int = 0

    def equivalents(self, num_edges: int) -> tuple[float, float]:
        """Return forward and backward passes of single-path architectures."""
        return self.forward / num_edges, self.backward / num_edges


class BatchedLoss:
    """The loss of weighted architectures on one batch; implements :class:`nasbench_snas.api.Loss`.

    Args:
        network: The network.
        images: Shape ``(B, C, H, W)``.
        labels: Class indices, shape ``(B,)``.
        all_operations: Whether operations of weight zero are run.
        criterion: Loss of logits; the mean cross-entropy by default.
        draws_per_pass: Largest number of architectures in one pass, to bound memory; None: all.
        double_backward: Whether gradients of gradients will be taken.

    Attributes:
        counter: Operation evaluations so far.
    """

    def __init__(
        self,
        network: BatchedNetwork,
        images: Tensor,
        labels: Tensor,
        *,
        all_operations: bool = False,
        criterion: Criterion = cross_entropy,
        draws_per_pass: int | None = None,
        double_backward: bool = False,
    ) -> None:
        self.network, self.images, self.labels = network, images, labels
        self.all_operations, self.criterion = all_operations, criterion
        self.draws_per_pass, self.double_backward = draws_per_pass, double_backward
        self.counter = Counter()

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses ``(R, n)`` of ``z``, shape ``(R, n, E, K)``; see ``api.Loss``."""
        flat = z.flatten(0, 1)
        used = present(self.network.space, flat.detach() != 0, flat)
        if run is not None and not self.all_operations:
            used |= run.flatten(0, 1)
        logits = self._logits(flat, None if run is None else used)
        losses = self.criterion(logits, self.labels).view(z.shape[:2])
        count = flat.numel() if self.all_operations else int(used.sum())
        self.counter.forward += count
        return count_backward(losses, self.counter, count)

    def error(self, z: Tensor) -> Tensor:
        """Return the misclassified fraction of each architecture, ``(R, n)``; see ``api.Loss``."""
        with torch.no_grad():
            predicted = self._logits(z.flatten(0, 1)).argmax(dim=-1)
        return (predicted != self.labels).to(z.dtype).mean(dim=1).view(z.shape[:2])

    def _logits(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        size = self.draws_per_pass or max(len(z), 1)
        masks: list[bool | Tensor] = [self.all_operations] * len(z.split(size))
        if run is not None and not self.all_operations:
            masks = list(run.split(size))
        rows = [
            self.network.logits(
                self.images, part, all_operations=mask, double_backward=self.double_backward
            )
            for part, mask in zip(z.split(size), masks, strict=True)
        ]
        return torch.cat(rows)


def count_backward(losses: Tensor, counter: Counter, count: int) -> Tensor:
    """Return ``losses``, adding ``count`` to the counter if a backward pass reaches them."""
    if not losses.requires_grad:
        return losses
    losses = losses * 1

    def reached(gradient: Tensor) -> None:
        if bool((gradient != 0).any()):
            counter.backward += count

    losses.register_hook(reached)
    return losses
