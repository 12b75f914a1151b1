"""Derived child networks: from any genotype, for CIFAR, for ImageNet, or inside a parent.

``ChildNetwork(genotype, settings, generator)`` is the evaluation network of sections 3.2 and 3.3
(SNAS, arXiv:1812.09926), built as the released DARTS and SNAS code builds it; see
:mod:`nasbench_snas.supernet.child.plan` for the recipes and options. Path dropout follows DARTS:
one Bernoulli mask per edge and image, scaled by the inverse keep probability, identities spared
(where edges have auxiliary skip connections, the mask is of the sum and spares none).

:func:`child_from_parent` derives the child inside a trained parent and inherits its weights; its
logits equal the parent's under the one-hot ``z`` of the genotype.

Deviation: auxiliary heads at another resolution than the published one pool adaptively to 2x2
(published: 5x5 windows of stride 3 on 8x8, or stride 2 on 7x7).
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.operations import operation
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import seeded_init
from nasbench_snas.supernet.child.plan import (
    AuxiliaryPlan,
    BlockPlan,
    CellPlan,
    ChildPlan,
    ChildSettings,
    keeps_identity,
    plan_child,
    plan_in_space,
)
from nasbench_snas.supernet.modules import (
    FactorizedReduce,
    ResidualReduction,
    auxiliary_skip,
    build_operation,
    build_preprocess,
)

__all__ = ["ChildCell", "ChildNetwork", "ChildOutput", "ChildSettings", "child_from_parent"]


class TrainedParent(Protocol):
    """What inheriting weights needs of a parent network."""

    space: Space
    training: bool

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers by the parent's own names."""

    def canonical(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``tensors`` by the canonical names (those of ``ReferenceParent``)."""


class Whole(Protocol):
    """What runs a cell as a whole; see :mod:`nasbench_snas.supernet.child.cells`."""

    def applies(self, inputs: list[Tensor]) -> bool:
        """Whether it can take these inputs now."""

    def __call__(self, inputs: list[Tensor], mask: Tensor | None) -> Tensor:
        """Return what :meth:`ChildCell.forward` does."""


class ChildOutput(NamedTuple):
    """What a child returns.

    Attributes:
        logits: Shape ``(B, classes)``.
        auxiliary: Logits of the auxiliary head in training mode, ``(B, classes)``; else None.
    """

    logits: Tensor
    auxiliary: Tensor | None


# Implements SNAS (1).
class ChildCell(nn.Module):
    """One derived cell.

    Args:
        plan: What it consists of.
        affine: Whether batch norms have a learnt scale and shift.
        pool_norm: Whether pooling is followed by a batch norm.
        skips: Whether every edge has an auxiliary skip connection beside it.

    Attributes:
        whole: What runs the cell instead of its modules, where it applies; None: nothing does.
            Copies and pickles lose it.
    """

    whole: Whole | None

    def __init__(self, plan: CellPlan, affine: bool, pool_norm: bool, skips: bool = False) -> None:
        super().__init__()
        self.plan, self.whole = plan, None
        inputs = zip(plan.input_channels, plan.input_reduces, plan.preprocess, strict=True)
        self.preprocess = nn.ModuleList(
            [
                build_preprocess(c_in, plan.channels, reduces, affine) if built else nn.Identity()
                for c_in, reduces, built in inputs
            ]
        )
        self.edges = nn.ModuleList(
            [
                build_operation(
                    operation(edge.operation),
                    plan.channels,
                    plan.edge_stride(edge.source),
                    affine=affine,
                    pool_norm=pool_norm,
                )
                for edge in plan.cell.edges
            ]
        )
        self.skips = nn.ModuleList(
            [
                auxiliary_skip(plan.channels, plan.edge_stride(edge.source), affine)
                for edge in plan.cell.edges
                if skips
            ]
        )
        self.reduced = nn.ModuleDict(
            {
                str(node): FactorizedReduce(plan.channels, plan.channels, affine)
                for node in plan.reduced_outputs
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what runs the cell as a whole (compiled code)."""
        return {**self.__dict__, "whole": None}

    def forward(self, inputs: list[Tensor], mask: Tensor | None) -> Tensor:
        """Return the cell's output, shape ``(B, output channels, H, W)``.

        Args:
            inputs: The cell's inputs, oldest first, each ``(B, C_in, H, W)``.
            mask: Factors of each edge's output for each image, shape ``(edges, B)``, or None.
        """
        if self.whole is not None and not torch.compiler.is_compiling():
            if self.whole.applies(inputs):
                return self.whole(inputs, mask)
        plan, cell = self.plan, self.plan.cell
        nodes = [adapt(x) for adapt, x in zip(self.preprocess, inputs, strict=True)]
        incoming: list[list[int]] = [[] for _ in range(cell.num_inputs + cell.num_nodes)]
        for index, edge in enumerate(cell.edges):
            incoming[edge.target].append(index)
        for target in range(cell.num_inputs, len(incoming)):
            if incoming[target]:
                nodes.append(reduce(add, [self._edge(i, nodes, mask) for i in incoming[target]]))
            else:
                size = plan.output_resolution
                nodes.append(inputs[-1].new_zeros(len(inputs[-1]), plan.channels, size, size))
        parts = [
            self.reduced[str(node)](nodes[node]) if str(node) in self.reduced else nodes[node]
            for node in cell.concat
        ]
        return torch.cat(parts, dim=1)

    def _edge(self, index: int, nodes: list[Tensor], mask: Tensor | None) -> Tensor:
        edge = self.plan.cell.edges[index]
        out: Tensor = self.edges[index](nodes[edge.source])
        if self.skips:
            out = out + self.skips[index](nodes[edge.source])
        identity = keeps_identity(edge.operation, self.plan.edge_stride(edge.source))
        if mask is None or (identity and not self.skips):
            return out
        return out * mask[index].to(out.dtype).view(-1, 1, 1, 1)


class AuxiliaryHead(nn.Module):
    """Auxiliary classifier: ReLU, pooling to 2x2, 1x1 and 2x2 convolutions, linear.

    Args:
        plan: Where it stands.
        num_classes: Classes.
    """

    def __init__(self, plan: AuxiliaryPlan, num_classes: int) -> None:
        super().__init__()
        self.resolution = plan.resolution
        self.features = nn.Sequential(
            nn.Conv2d(plan.channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768) if plan.norm else nn.Identity(),
            nn.ReLU(),
        )
        self.linear = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` for features ``(B, C, H, W)``."""
        x = functional.relu(x)
        if self.resolution in (7, 8):
            x = functional.avg_pool2d(x, 5, 3 if self.resolution == 8 else 2)
        else:
            x = functional.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.linear(self.features(x).flatten(1))
        return logits


class ChildHead(nn.Module):
    """Optional BN-ReLU, global average pooling, linear classifier."""

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__()
        self.norm: nn.Module = nn.Identity()
        if plan.head == "bn-relu-linear":
            self.norm = nn.Sequential(nn.BatchNorm2d(plan.head_channels), nn.ReLU())
        self.linear = nn.Linear(plan.head_channels, plan.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` for features ``(B, C, H, W)``."""
        logits: Tensor = self.linear(self.norm(x).mean(dim=(2, 3)))
        return logits


class ChildNetwork(nn.Module):
    """The network of a genotype.

    Args:
        genotype: The cells.
        settings: The recipe; a ready :class:`ChildPlan` is taken as it is.
        generator: Source of the initial weights.

    Attributes:
        channels_last_inside: Whether images are laid out channels-last before the stem; set by
            :func:`~nasbench_snas.supernet.child.kernels.fuse_child`, whose kernels want that.
    """

    def __init__(
        self,
        genotype: Genotype,
        settings: ChildSettings | ChildPlan,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        plan = settings if isinstance(settings, ChildPlan) else plan_child(genotype, settings)
        self.genotype, self.plan = genotype, plan
        self.channels_last_inside = False
        with seeded_init(generator):
            self.stem = _stem(plan)
            self.cells = nn.ModuleDict(
                {
                    str(p.index): ChildCell(p, plan.affine, plan.pool_norm, plan.auxiliary_skip)
                    for p in plan.cells
                }
            )
            self.blocks = nn.ModuleDict(
                {
                    str(p.index): ResidualReduction(p.c_in, p.channels, p.stride, True)
                    for p in plan.layers
                    if isinstance(p, BlockPlan)
                }
            )
            self.head = ChildHead(plan)
            self.auxiliary: AuxiliaryHead | None = None
            if plan.auxiliary is not None:
                self.auxiliary = AuxiliaryHead(plan.auxiliary, plan.num_classes)

    def forward(
        self,
        images: Tensor,
        *,
        drop_path: float = 0.0,
        generator: torch.Generator | None = None,
        masks: Tensor | None = None,
    ) -> ChildOutput:
        """Return the logits of one batch.

        Args:
            images: Normalised images, shape ``(B, in_channels, resolution, resolution)``.
            drop_path: Probability that an edge is dropped for an image; training mode only.
            generator: Source of the masks; needed when ``drop_path`` acts.
            masks: Ready masks from :meth:`draw_masks`, ``(edges of the network, B)``, instead.
        """
        if masks is None and self.training and drop_path != 0:
            masks = self.draw_masks(len(images), drop_path, generator).to(images)
        if self.channels_last_inside:
            images = images.contiguous(memory_format=torch.channels_last)
        history, seen, extra = self._stem_outputs(images), 0, None
        for layer in self.plan.layers:
            if isinstance(layer, CellPlan):
                end = seen + len(layer.cell.edges)
                mask = None if masks is None else masks[seen:end]
                inputs, seen = history[-layer.cell.num_inputs :], end
                x = self.cells[str(layer.index)](inputs, mask)
            else:
                x = self.blocks[str(layer.index)](history[-1])
            history = [history[-1], x]
            wanted = self.training and self.plan.auxiliary is not None
            if wanted and self.auxiliary is not None and self.plan.auxiliary is not None:
                if layer.index == self.plan.auxiliary.after:
                    extra = self.auxiliary(x)
        return ChildOutput(self.head(history[-1]), extra)

    def _stem_outputs(self, images: Tensor) -> list[Tensor]:
        if self.plan.stem == "conv3":
            x = self.stem(images)
            return [x, x]
        first, second = self.stem
        older = first(images)
        return [older, second(older)]

    def draw_masks(self, batch: int, drop_path: float, generator: torch.Generator | None) -> Tensor:
        """Return path-dropout masks: 0 or ``1 / (1 - drop_path)`` for each edge and image.

        Args:
            batch: Images ``B``.
            drop_path: Probability that an edge is dropped for an image, in (0, 1).
            generator: Source of the masks.

        Returns:
            Shape ``(edges of the network, B)``, float64, on the generator's device.
        """
        if not 0 < drop_path < 1:
            raise ConfigError(f"drop_path must be in [0, 1), got {drop_path}.")
        if generator is None:
            raise ConfigError("drop_path needs a generator: all randomness is passed in.")
        shape = (self.plan.num_edges, batch)
        draws = torch.rand(shape, generator=generator, device=generator.device)
        return (draws >= drop_path).double() / (1 - drop_path)


def child_from_parent(parent: TrainedParent, genotype: Genotype) -> ChildNetwork:
    """Return the child of ``genotype`` inside ``parent``, with the parent's weights.

    Device, floating-point type and mode are the parent's; running statistics are inherited too.

    Args:
        parent: A parent whose edges use all channels.
        genotype: Cells of the parent's space.

    Raises:
        GenotypeError: The genotype does not fit the space.
        ConfigError: The parent sends only a part of the channels through its operations.
    """
    space = parent.space
    plan = plan_in_space(genotype, space)
    source = parent.canonical(parent.state_dict())
    child = ChildNetwork(genotype, plan, torch.Generator().manual_seed(0))
    child.to(next(t for t in source.values() if t.is_floating_point()))
    tensors = {}
    for name, own in child.state_dict().items():
        theirs = source[_parent_name(name, plan, space)]
        if theirs.shape != own.shape:
            raise ConfigError(
                f"the parent's {name} has shape {tuple(theirs.shape)}, "
                f"a child's {tuple(own.shape)}.",
                "Partial-channel parents have no child of their own: retrain the genotype.",
            )
        tensors[name] = theirs
    child.load_state_dict(tensors)
    return child.train(parent.training)


def _parent_name(name: str, plan: ChildPlan, space: Space) -> str:
    """Return the canonical name, in the parent, of the child's tensor ``name``."""
    parts = name.split(".")
    if parts[0] != "cells" or parts[2] not in ("edges", "skips"):
        return name
    cell = plan.layers[int(parts[1])]
    if not isinstance(cell, CellPlan):
        return name
    edge = cell.cell.edges[int(parts[3])]
    row = space.cell(cell.kind).edges.index((edge.source, edge.target))
    part = ("auxiliary",) if parts[2] == "skips" else ("operations", edge.operation)
    return ".".join((*parts[:2], "edges", str(row), *part, *parts[4:]))


def _stem(plan: ChildPlan) -> nn.Sequential:
    width = plan.stem_channels
    if plan.stem == "conv3":
        return nn.Sequential(
            nn.Conv2d(plan.in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
    first = nn.Sequential(
        nn.Conv2d(plan.in_channels, width // 2, 3, 2, 1, bias=False),
        nn.BatchNorm2d(width // 2),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 3, 2, 1, bias=False),
        nn.BatchNorm2d(width),
    )
    second = nn.Sequential(
        nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
    )
    return nn.Sequential(first, second)
