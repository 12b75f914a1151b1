"""Losses of all architectures of a one-cell network, every partial architecture computed once.

Edges are sorted by target, and architectures are numbered lexicographically with the first edge
most significant. Node ``j`` depends only on the ``e_j`` edges into nodes up to ``j``: it has
``K^e_j`` different values, and architecture ``a`` sees the one numbered ``a // K^(E - e_j)``. In
NAS-Bench-201 this makes 690 operation evaluations instead of 6 * 15,625.

The last node is worked block by block, so that the memory of a block (its values and what their
gradient needs) stays below a stated budget. The gradient of ``sum_a w_a L_a`` goes back the same
way: each block's graph lives only while the block is worked; gradients of earlier nodes are
collected and passed on when all blocks are done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.functional import apply_module
from nasbench_snas.oracle.network import BatchedNetwork, Criterion
from nasbench_snas.oracle.sums import applicable, pooled_sums
from nasbench_snas.supernet.modules import Zero

_COPIES = 12
"""Tensors of a node's size that a block holds for each value at most, with its graph."""
_TERMS = 5
"""The same for each output of the last edge, without a graph."""


def shares_prefixes(space: Space) -> bool:
    """Whether ``space`` has exactly one cell, with nothing but the head behind it."""
    kinds = [layer.kind for layer in space.layers]
    return kinds.count("cell") == 1 and kinds[-1] == "cell"


@dataclass(frozen=True)
class _Edge:
    """One incoming edge of a node; prefix ``p`` sees value ``p // span`` of its source."""

    index: int
    source: int
    span: int


class PrefixTable:
    """All architectures of a one-cell network on one batch.

    Args:
        network: The network.
        images: Shape ``(B, C, H, W)``.
        labels: Class indices, shape ``(B,)``.
        criterion: Loss of logits.
        memory: Budget of a block in bytes.

    Attributes:
        evaluations: Operation evaluations (one operation on one partial architecture) so far.

    Raises:
        ConfigError: The space has more than one cell.
    """

    def __init__(
        self,
        network: BatchedNetwork,
        images: Tensor,
        labels: Tensor,
        criterion: Criterion,
        memory: int,
    ) -> None:
        if not shares_prefixes(network.space):
            raise ConfigError("work can be shared between architectures of one cell only.")
        self.network, self.images, self.labels = network, images, labels
        self.criterion, self.memory, self.evaluations = criterion, memory, 0
        space = network.space
        self.layer = len(space.layers) - 1
        self.cell, self.K = space.cells[0], space.num_operations
        self.first = self.cell.num_inputs
        self.last = self.first + self.cell.num_nodes - 1
        self.linear_head = space.head == "linear"

    def count(self, node: int) -> int:
        """Return ``K^e_j``, the number of values of ``node``."""
        return int(self.K ** sum(target <= node for _, target in self.cell.edges))

    def losses(self) -> Tensor:
        """Return ``L(Z)`` of all architectures, shape ``(A,)``, in lexicographic order."""
        with torch.no_grad():
            nodes = self._nodes()
            features = self._features(nodes)
            return torch.cat(
                [loss for _, loss in self._blocks(nodes, self._ready(nodes), features)]
            )

    def gradient(self, weights: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
        """Return the gradient of ``sum_a weights_a L_a`` by each of ``parameters``.

        Args:
            weights: Shape ``(A,)``, for example probabilities.
            parameters: Parameters of the parent.
        """
        with torch.no_grad():
            leaves = _leaves(self._nodes())
            ready = {e: _leaves(outputs) for e, outputs in self._ready(leaves).items()}
            features = _leaves(self._features(leaves))
        shared = [y for outputs in ready.values() for y in outputs if y is not None]
        sums = _Sums([*parameters, *leaves, *shared, *features])
        with torch.enable_grad():
            for rows, losses in self._blocks(leaves, ready, features):
                sums.add((weights[rows] * losses).sum())
            again = self._ready(leaves).values()
            sums.pull([y for outputs in again for y in outputs if y is not None], shared)
            sums.pull(self._features(leaves), features)
            for node in range(self.last - 1, self.first - 1, -1):
                factor = self.count(node) // self.count(node - 1)
                for start, stop in self._ranges(node):
                    part = slice(start * factor, stop * factor)
                    sums.pull([self._values(node, leaves, {}, start, stop)], [leaves[node]], part)
            sums.pull(self._inputs(), leaves[: self.first])
        return sums.totals[: len(parameters)]

    def _inputs(self) -> list[Tensor]:
        x = self.network.stem(self.images)
        history = [x, x]
        for index in range(self.layer):
            x = apply_module(self.network.parent.blocks[str(index)], x)
            history = [history[-1], x]
        return self.network.adapt(self.layer, history[-self.first :])

    def _nodes(self) -> list[Tensor]:
        """Return all values of the inputs and of every node but the last, ``(P_j, B, C, H, W)``."""
        nodes = self._inputs()
        for node in range(self.first, self.last):
            parts = [self._values(node, nodes, {}, *span) for span in self._ranges(node)]
            nodes.append(torch.cat(parts))
        return nodes

    def _incoming(self, node: int) -> list[_Edge]:
        before = self.count(node - 1)
        return [
            _Edge(index, source, before // self.count(source))
            for index, (source, target) in enumerate(self.cell.edges)
            if target == node
        ]

    def _ready(self, nodes: list[Tensor]) -> dict[int, list[Tensor | None]]:
        """Return outputs of edges into the last node whose source several blocks share."""
        shared = [e for e in self._incoming(self.last) if e.span > 1 or e.source < self.first]
        return {edge.index: self._outputs(edge, nodes[edge.source]) for edge in shared}

    def _outputs(self, edge: _Edge, x: Tensor) -> list[Tensor | None]:
        """Return the K operations' outputs on ``x``; None for zero. Pooled if the head allows."""
        outputs: list[Tensor | None] = []
        last = self.cell.edges[edge.index][1] == self.last
        skip = self.network.mixed(self.layer, edge.index).auxiliary
        aside = None if skip is None else apply_module(skip, x)
        for module in self.network.modules_of(self.layer, edge.index):
            self.evaluations += len(x)
            if isinstance(module, Zero):
                outputs.append(None)
                continue
            y = apply_module(module, x)
            y = y if aside is None else y + aside
            outputs.append(y.mean(dim=(3, 4)) if last and self.linear_head else y)
        return outputs

    def _values(
        self,
        node: int,
        nodes: list[Tensor],
        ready: dict[int, list[Tensor | None]],
        start: int,
        stop: int,
    ) -> Tensor:
        """Return the values of ``node`` for the prefixes ``start`` to ``stop``.

        Returns:
            Shape ``((stop - start) K^m, B, C, H, W)`` for ``m`` incoming edges; ``(…, B, C)``,
            pooled, for the last node before a linear head.
        """
        shape = self._shape(node)
        terms = self._terms(node, nodes, ready, start, stop)
        total = terms[0]
        for term in terms[1:]:
            total = total.unsqueeze(-len(shape) - 1) + _align(term, total, len(shape))
        return total.reshape(-1, *shape)

    def _terms(
        self,
        node: int,
        nodes: list[Tensor],
        ready: dict[int, list[Tensor | None]],
        start: int,
        stop: int,
    ) -> list[Tensor]:
        """Return each incoming edge's outputs for the prefixes, ``(stop - start, K, …)``."""
        terms, prefix, shape = [], torch.arange(start, stop), self._shape(node)
        for edge in self._incoming(node):
            low, high = start // edge.span, (stop - 1) // edge.span + 1
            if edge.index in ready:
                outputs = [None if y is None else y[low:high] for y in ready[edge.index]]
            else:
                outputs = self._outputs(edge, nodes[edge.source][low:high])
            stacked = _stack(outputs, high - low, shape, nodes[0])
            if high - low != stop - start:
                stacked = stacked[prefix // edge.span - low]
            terms.append(stacked)
        return terms

    def _shape(self, node: int) -> tuple[int, ...]:
        layer = self.network.space.layers[self.layer]
        if node == self.last and self.linear_head:
            return (len(self.images), layer.channels)
        before = self.network.space.layers[: self.layer]
        size = self.images.shape[-1]
        for step in [*(item.stride for item in before), layer.stride]:
            size = -(-size // step)
        return (len(self.images), layer.channels, size, size)

    def _ranges(self, node: int, *, pieces: bool = False) -> Iterator[tuple[int, int]]:
        """Yield blocks of prefixes of ``node`` that fit the memory budget (one at least).

        Args:
            node: The node.
            pieces: Whether the node's values are never held, only its edges' outputs.
        """
        size = self.images.element_size() * math.prod(self._shape(node))
        values = self.count(node) // self.count(node - 1)
        copies = _TERMS * self.K if pieces else _COPIES * values
        step, total = max(1, self.memory // (size * copies)), self.count(node - 1)
        span = self._incoming(node)[-2].span if len(self._incoming(node)) > 1 else 1
        step -= step % span if step > span else 0
        for start in range(0, total, step):
            yield start, min(start + step, total)

    def _features(self, nodes: list[Tensor]) -> list[Tensor]:
        """Return pooled features of the nodes before the last, if the output concatenates them."""
        if self.cell.output == "last":
            return []
        return [
            self.network.pooled(nodes[node], self._channels(node))
            for node in range(self.first, self.last)
        ]

    def _pooled(
        self, nodes: list[Tensor], ready: dict[int, list[Tensor | None]], start: int, stop: int
    ) -> Tensor:
        """Return the last node's pooled features for the prefixes, ``(…, B, C)``."""
        norm, channels = self._norm(), self._channels(self.last)
        if norm is None:
            return self._values(self.last, nodes, ready, start, stop)
        if torch.is_grad_enabled() or not applicable(norm, channels):
            values = self._values(self.last, nodes, ready, start, stop)
            return self.network.pooled(values, channels)
        *firsts, last = self._terms(self.last, nodes, ready, start, stop)
        spans = [edge.span for edge in self._incoming(self.last)[:-1]]
        prefix, parts = torch.arange(start, stop) // min(spans, default=stop), []
        runs = torch.unique_consecutive(prefix, return_counts=True)[1].tolist()
        for rows in torch.split(torch.arange(stop - start), runs):
            u = torch.zeros_like(last[:1, 0])
            for term in firsts:
                u = (u[:, None] + term[rows[0]]).flatten(0, 1)
            t, column = self._distinct(last[rows])
            pooled = pooled_sums(norm, channels, u, t)[:, column]
            parts.append(pooled.transpose(0, 1).flatten(0, 2))
        return torch.cat(parts)

    def _distinct(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return distinct outputs of the last edge, and which of them each choice has.

        The operation ``none`` gives the same zero for every prefix.

        Args:
            last: Outputs, shape ``(n, K, B, C, H, W)``.

        Returns:
            Shapes ``(D, B, C, H, W)`` and ``(n, K)``.
        """
        modules = self.network.modules_of(self.layer, self._incoming(self.last)[-1].index)
        some = [k for k, module in enumerate(modules) if not isinstance(module, Zero)]
        column = torch.full(last.shape[:2], len(last) * len(some))
        column[:, some] = torch.arange(len(last) * len(some)).view(len(last), len(some))
        blank = torch.zeros_like(last[:1, 0])
        return torch.cat([last[:, some].flatten(0, 1), blank]), column

    def _norm(self) -> nn.BatchNorm2d | None:
        """Return the head's batch norm, or None."""
        norm = self.network.parent.head.norm
        return cast(nn.BatchNorm2d, norm[0]) if isinstance(norm, nn.Sequential) else None

    def _channels(self, node: int) -> slice:
        width = self.network.space.layers[self.layer].channels
        if self.cell.output == "last":
            return slice(None)
        return slice((node - self.first) * width, (node - self.first + 1) * width)

    def _blocks(
        self, nodes: list[Tensor], ready: dict[int, list[Tensor | None]], features: list[Tensor]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the slice of architectures and their losses, block by block."""
        factor = self.count(self.last) // self.count(self.last - 1)
        norm = self._norm()
        pieces = norm is not None and applicable(norm, self._channels(self.last))
        pieces &= not torch.is_grad_enabled()
        for start, stop in self._ranges(self.last, pieces=pieces):
            own = self._pooled(nodes, ready, start, stop)
            rows = torch.arange(start * factor, stop * factor)
            parts = [
                feature[rows // (self.count(self.last) // len(feature))] for feature in features
            ]
            logits = self.network.classify(torch.cat([*parts, own], dim=2))
            yield slice(start * factor, stop * factor), self.criterion(logits, self.labels)


class _Sums:
    """Running sums of gradients by parameters and by the values that blocks share.

    Args:
        inputs: What is differentiated by.
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        self.inputs = inputs
        self.totals = [torch.zeros_like(x) for x in inputs]
        self.position = {id(x): index for index, x in enumerate(inputs)}

    def add(self, value: Tensor) -> None:
        """Add the gradient of the scalar ``value``, and free its graph."""
        if not value.requires_grad:
            return
        found = torch.autograd.grad(value, self.inputs, allow_unused=True)
        for total, gradient in zip(self.totals, found, strict=True):
            if gradient is not None:
                total += gradient

    def pull(self, values: list[Tensor], leaves: list[Tensor], part: slice = slice(None)) -> None:
        """Pass the gradients collected at ``leaves`` on through ``values``, their recomputation.

        Args:
            values: What ``leaves`` hold, with a graph.
            leaves: Members of ``inputs``.
            part: Rows of the leaves that ``values`` are.
        """
        if values:
            grads = [self.totals[self.position[id(leaf)]][part] for leaf in leaves]
            pairs = zip(values, grads, strict=True)
            self.add(torch.stack([(y * g).sum() for y, g in pairs]).sum())


def _leaves(tensors: Iterable[Tensor | None]) -> list[Any]:
    return [None if x is None else x.detach().requires_grad_() for x in tensors]


def _align(term: Tensor, total: Tensor, tail: int) -> Tensor:
    """Return ``(n, K, …)`` with axes of length one for the choices that ``total`` has."""
    ones = [1] * (total.dim() - 1 - tail)
    return term.view(len(term), *ones, *term.shape[1:])


def _stack(
    outputs: list[Tensor | None], count: int, shape: tuple[int, ...], like: Tensor
) -> Tensor:
    """Return outputs as ``(count, K, …)``, None as zeros."""
    blank = like.new_zeros((count, *shape))
    return torch.stack([blank if y is None else y for y in outputs], dim=1)
