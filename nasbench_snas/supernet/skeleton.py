"""The macro skeleton shared by the parent and by derived child networks: stem, layers, head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.supernet.modules import ResidualReduction

BATCH_NORM_MOMENTUM = 0.1
"""Weight of the newest batch in the running statistics of every network (torch's default)."""


@dataclass(frozen=True)
class CellPosition:
    """Where a cell stands in the network, and what reaches it.

    Attributes:
        index: Position in ``space.layers``.
        cell: The cell type.
        layer: The layer's declaration (channels, stride).
        input_channels: Channels of each input, oldest first.
        input_reduces: For each input, whether it has twice the resolution of the cell's input
            nodes.
        resolution: Height and width of the input nodes in pixels.
    """

    index: int
    cell: CellType
    layer: Layer
    input_channels: tuple[int, ...]
    input_reduces: tuple[bool, ...]
    resolution: int

    @property
    def output_resolution(self) -> int:
        """Height and width of the intermediate nodes in pixels."""
        return -(-self.resolution // self.layer.stride)

    def stride(self, source: int) -> int:
        """Stride of the edges that leave node ``source``."""
        return self.layer.stride if source < self.cell.num_inputs else 1


def positions(space: Space) -> Iterator[CellPosition]:
    """Yield the position of every searchable cell of ``space``, from stem to head.

    A DARTS cell's older input comes from before a reduction when the preceding layer reduced; it
    then passes a factorised reduction.
    """
    history = [(space.stem_channels, space.resolution)] * 2
    for index, layer in enumerate(space.layers):
        resolution = history[-1][1]
        if layer.kind == "cell":
            cell = space.cell(layer.cell)
            inputs = history[-cell.num_inputs :]
            yield CellPosition(
                index,
                cell,
                layer,
                tuple(channels for channels, _ in inputs),
                tuple(size != resolution for _, size in inputs),
                resolution,
            )
            width = layer.channels * cell.width
        else:
            width = layer.channels
        history = [history[-1], (width, -(-resolution // layer.stride))]


def output_channels(space: Space) -> int:
    """Channels that reach the head."""
    last = space.layers[-1]
    return last.channels * (space.cell(last.cell).width if last.kind == "cell" else 1)


class Stem(nn.Sequential):
    """3x3 convolution and batch norm (affine) from the images to ``stem_channels``."""

    def __init__(self, space: Space) -> None:
        super().__init__(
            nn.Conv2d(space.in_channels, space.stem_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(space.stem_channels),
        )


class Head(nn.Module):
    """Optional BN-ReLU, global average pooling, linear classifier."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        channels = output_channels(space)
        self.norm: nn.Module = nn.Identity()
        if space.head == "bn-relu-linear":
            self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.linear = nn.Linear(channels, space.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` for features ``(B, C, H, W)``."""
        result: Tensor = self.linear(self.norm(x).mean(dim=(2, 3)))
        return result


def residual_layers(space: Space) -> nn.ModuleDict:
    """Return the fixed residual blocks of ``space`` by layer index (as text)."""
    blocks, width = nn.ModuleDict(), space.stem_channels
    for index, layer in enumerate(space.layers):
        if layer.kind == "residual":
            blocks[str(index)] = ResidualReduction(width, layer.channels, layer.stride, True)
        width = layer.channels * (space.cell(layer.cell).width if layer.kind == "cell" else 1)
    return blocks


def parameter_count(network: nn.Module) -> int:
    """Number of trainable scalars in ``network``."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def module_device(network: nn.Module) -> torch.device:
    """Device of the first parameter of ``network``."""
    return next(network.parameters()).device
