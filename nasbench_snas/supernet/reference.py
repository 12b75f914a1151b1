"""The readable parent network: one module per (edge, operation), mixed by a plain sum.

Eq. (2) of SNAS (arXiv:1812.09926): ``x_j = sum_{i<j} Z_ij^T O_ij(x_i)``, with ``Z_ij`` a row of
``z``. This is the network as the widely copied implementations write it. It stays as the reference
that every faster parent is proved equal to, and it supports gradients of gradients.

With ``partial_channels = k`` (PC-DARTS, Xu et al. 2020, arXiv:1907.05737) only the first ``1/k``
of an edge's channels pass the operations; the others bypass them, weighted by the sum of the row
of ``z``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.architecture.operations import Operation
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import seeded_init
from nasbench_snas.supernet.modules import auxiliary_skip, build_operation, build_preprocess
from nasbench_snas.supernet.skeleton import (
    CellPosition,
    Head,
    Stem,
    positions,
    residual_layers,
)


class Parent(Protocol):
    """What the search, the studies and the tests use of a parent network."""

    space: Space

    def __call__(
        self,
        images: Tensor,
        z: Tensor,
        *,
        all_operations: bool | Tensor = False,
        edge_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits; see :meth:`ReferenceParent.forward`."""


# Implements SNAS (2).
class MixedEdge(nn.Module):
    """All candidate operations of one edge, and its auxiliary skip connection if the space has one.

    Args:
        space: The space, for the batch-norm settings.
        specs: The edge's candidates.
        channels: Channels of a node.
        stride: Stride of the edge.
        partial_channels: ``k``; 1 sends all channels through the operations.
    """

    def __init__(
        self,
        space: Space,
        specs: Sequence[Operation],
        channels: int,
        stride: int,
        partial_channels: int,
    ) -> None:
        super().__init__()
        if channels % partial_channels:
            raise ConfigError(
                f"{channels} channels cannot be divided into {partial_channels} parts.",
                fix="Choose space.channels as a multiple of partial_channels.",
            )
        self.partial_channels, self.stride = partial_channels, stride
        self.operations = nn.ModuleDict(
            {
                spec.name: build_operation(
                    spec,
                    channels // partial_channels,
                    stride,
                    affine=space.affine,
                    pool_norm=space.pool_norm,
                )
                for spec in specs
            }
        )
        self.silent = {k for k, spec in enumerate(specs) if spec.kind == "zero"}
        self.auxiliary: nn.Module | None = None
        self.auxiliary_weight = 1.0
        if space.auxiliary_skip:
            self.auxiliary = auxiliary_skip(channels, stride, space.affine)

    def forward(self, x: Tensor, row: Tensor, selected: list[int]) -> Tensor:
        """Return ``sum_k row[k] O_k(x)`` over the ``selected`` operations, plus the auxiliary skip.

        The auxiliary skip connection is added with the weight that the parent was told (1 if it
        was not), unless ``none`` alone has one: an edge that chose ``none`` is dropped, in the
        child, too.

        Args:
            x: Source node, shape ``(B, C, H, W)``.
            row: Weights of the operations, shape ``(K,)``.
            selected: Indices of the operations to run; not empty.
        """
        out = self._mixed(x, row, selected)
        if self.auxiliary is None or self.auxiliary_weight == 0 or not self._kept(row):
            return out
        skipped: Tensor = self.auxiliary(x)
        return out + self.auxiliary_weight * skipped

    def _kept(self, row: Tensor) -> bool:
        """Whether an operation other than ``none`` has a weight."""
        return any(
            weight != 0 and k not in self.silent for k, weight in enumerate(row.detach().tolist())
        )

    def _mixed(self, x: Tensor, row: Tensor, selected: list[int]) -> Tensor:
        modules = list(self.operations.values())
        active = x[:, : x.shape[1] // self.partial_channels]
        out = torch.stack([row[k] * modules[k](active) for k in selected]).sum(dim=0)
        if self.partial_channels == 1:
            return out
        rest = x[:, active.shape[1] :]
        rest = functional.max_pool2d(rest, 2, 2, ceil_mode=True) if self.stride == 2 else rest
        joined = torch.cat([out, row.sum() * rest], dim=1)
        shuffled = joined.unflatten(1, (self.partial_channels, -1)).transpose(1, 2)
        result: Tensor = shuffled.flatten(1, 2)
        return result


# Implements SNAS (1, 2, 20).
class ReferenceCell(nn.Module):
    """A cell with all its candidate operations; see :class:`ReferenceParent`."""

    def __init__(self, space: Space, position: CellPosition, partial_channels: int) -> None:
        super().__init__()
        self.position = position
        channels = position.layer.channels
        if space.preprocess:
            pairs = zip(position.input_channels, position.input_reduces, strict=True)
            self.preprocess = nn.ModuleList(
                [build_preprocess(c_in, channels, reduces, space.affine) for c_in, reduces in pairs]
            )
        else:
            self.preprocess = nn.ModuleList([nn.Identity() for _ in position.input_channels])
        candidates = space.candidate_specs[space.rows[position.cell.name]]
        self.edges = nn.ModuleList(
            [
                MixedEdge(space, specs, channels, position.stride(source), partial_channels)
                for (source, _), specs in zip(position.cell.edges, candidates, strict=True)
            ]
        )

    def forward(
        self, inputs: list[Tensor], z: Tensor, selected: list[list[int]], mask: Tensor | None
    ) -> Tensor:
        """Return the cell's output.

        Args:
            inputs: The cell's inputs, oldest first, each ``(B, C_in, H, W)``.
            z: Weights of this cell type, shape ``(edges, K)``.
            selected: For each edge, the operations to run.
            mask: Factors of the edges' outputs for each image, shape ``(edges, B)``, or None.
        """
        nodes = [adapt(x) for adapt, x in zip(self.preprocess, inputs, strict=True)]
        cell, size = self.position.cell, self.position.output_resolution
        incoming: list[list[Tensor]] = [[] for _ in range(cell.num_inputs + cell.num_nodes)]
        blank = nodes[0].new_zeros(nodes[0].shape[:2] + (size, size))
        for target in range(cell.num_inputs, len(incoming)):
            for index, (source, end) in enumerate(cell.edges):
                if end == target and selected[index]:
                    out = self.edges[index](nodes[source], z[index], selected[index])
                    out = out if mask is None else out * mask[index].view(-1, 1, 1, 1)
                    incoming[target].append(out)
            nodes.append(torch.stack(incoming[target]).sum(dim=0) if incoming[target] else blank)
        return torch.cat(nodes[cell.num_inputs :], dim=1) if cell.output == "concat" else nodes[-1]


def present(space: Space, used: Tensor, z: Tensor) -> Tensor:
    """Return the mask ``used``, ``(…, E, K)``, without the operations that an edge does not have.

    Raises:
        ConfigError: One of those has a weight in ``z``, of the same shape.
    """
    if not space.absent:
        return used
    absent = torch.tensor(space.absent, device=z.device)
    if bool((z.detach()[..., absent] != 0).any()):
        raise ConfigError(
            f"space {space.name!r}: an architecture uses an operation that its edge does not have.",
            "The edges of this space have different numbers of operations.",
            "Use an estimator that draws from the default distribution (Categorical), or give "
            "every edge the same number of operations.",
        )
    return used & ~absent


class ReferenceParent(nn.Module):
    """Parent network of ``space`` with one module per (edge, operation).

    Args:
        space: The declaration.
        generator: Source of the initial weights.
        partial_channels: See the module's docstring.
    """

    def __init__(
        self, space: Space, generator: torch.Generator, *, partial_channels: int = 1
    ) -> None:
        super().__init__()
        self.space = space
        with seeded_init(generator):
            self.stem = Stem(space)
            self.cells = nn.ModuleDict(
                {str(p.index): ReferenceCell(space, p, partial_channels) for p in positions(space)}
            )
            self.blocks = residual_layers(space)
            self.head = Head(space)

    def forward(
        self,
        images: Tensor,
        z: Tensor,
        *,
        all_operations: bool | Tensor = False,
        edge_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits of ``S`` weighted architectures on one batch.

        Every architecture has its own batch-norm statistics: the draws are run one after another.
        In training mode they update the running statistics in that order.

        Args:
            images: Normalised images, shape ``(B, in_channels, resolution, resolution)``.
            z: Weights of the operations, shape ``(S, E, K)``; any real values. With the shape
                ``(S, C, E, K)`` each of the ``C`` cells has weights of its own, of which it reads
                the rows of its type.
            all_operations: Run operations of weight zero as well, so that their ``dL/dz`` is
                known. Otherwise they are skipped: the logits are the same, their ``dL/dz`` is zero,
                and their batch norms see nothing. A mask of the shape of ``z`` names those that
                run.
            edge_mask: Factors of every edge's output, shape ``(cells, edges, B)`` (path dropout),
                or None.

        Returns:
            Logits, shape ``(S, B, classes)``.

        Raises:
            ConfigError: An operation has a weight on an edge that does not have it.
        """
        used = present(self.space, all_operations | (z.detach() != 0), z)
        return torch.stack([self._one(images, z[s], used[s], edge_mask) for s in range(z.shape[0])])

    def _one(self, images: Tensor, z: Tensor, used: Tensor, edge_mask: Tensor | None) -> Tensor:
        apart = z.dim() == 3
        chosen = [[k for k, on in enumerate(row) if on] for row in used.flatten(0, -2).tolist()]
        x = self.stem(images)
        history, seen = [x, x], 0
        for index, layer in enumerate(self.space.layers):
            if layer.kind == "cell":
                cell, rows = self.cells[str(index)], self.space.rows[layer.cell]
                inputs = history[-self.space.cell(layer.cell).num_inputs :]
                mask = None if edge_mask is None else edge_mask[seen, : rows.stop - rows.start]
                own = z[seen, rows] if apart else z[rows]
                first = rows.start + (seen * self.space.num_edges if apart else 0)
                selected = chosen[first : first + rows.stop - rows.start]
                x, seen = cell(inputs, own, selected, mask), seen + 1
            else:
                x = self.blocks[str(index)](x)
            history = [history[-1], x]
        logits: Tensor = self.head(x)
        return logits

    def set_auxiliary_weight(self, weight: float) -> None:
        """Set the weight of the auxiliary skip connections of all edges; 1 unless it is set."""
        for module in self.modules():
            if isinstance(module, MixedEdge):
                module.auxiliary_weight = weight

    def cell(self, index: int) -> ReferenceCell:
        """Return the cell at layer ``index``."""
        found = self.cells[str(index)]
        if not isinstance(found, ReferenceCell):
            raise TypeError("cells are ReferenceCells")
        return found

    def load_canonical(self, tensors: dict[str, Tensor]) -> None:
        """Load a trained parent's tensors by canonical names.

        Those of auxiliary skip connections that this parent has not (they were there for the
        search alone) are left out.
        """
        own = self.state_dict()
        self.load_state_dict(
            {name: t for name, t in tensors.items() if name in own or ".auxiliary." not in name}
        )

    def canonical(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``tensors`` (this parent's parameters, buffers or momenta) by their canonical
        names.

        The names of this class's ``state_dict`` are the canonical ones: checkpoints hold them,
        whatever parent wrote them.
        """
        return tensors

    def from_canonical(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``tensors`` by this parent's own names; inverse of :meth:`canonical`."""
        return tensors
