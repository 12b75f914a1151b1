"""A space of one's own that uses an operation of one's own, both in this file.

The operation is self-attention over all pixels: with ``q = W_q x``, ``k = W_k x``, ``v = W_v x``
of ``d = C / 2`` channels each, ``y = BN(W_o softmax(q^T k / sqrt(d)) v)``; at stride 2 an average
pooling comes first. The space is one cell of two nodes with three edges.

    nasbench --plugin examples/plugins/attention_space.py run -e snas -s attention-cell -p smoke

Reference: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; on feature maps Wang et al. 2018,
arXiv:1711.07971.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nasbench_snas.api import CandidateOperation, OperationCost, Space, SpaceFamily
from nasbench_snas.architecture.space import CellType, Layer, check_resolution, check_sizes


class Attention(nn.Module):
    """One head of self-attention over the pixels of a feature map."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.width = max(channels // 2, 1)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.qkv = nn.Conv2d(channels, 3 * self.width, 1, bias=False)
        self.out = nn.Conv2d(self.width, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every pixel attends to, for ``x`` of shape ``(B, C, H, W)``."""
        x = self.pool(x)
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        weights = (q.transpose(1, 2) @ k / self.width**0.5).softmax(dim=-1)
        seen = (v @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        result: Tensor = self.norm(self.out(seen))
        return result


class SelfAttention(CandidateOperation):
    """One head of self-attention, half of the channels wide."""

    name = "self-attention"
    summary = "every pixel attends to all pixels, one head, C/2 channels"

    def build(self, channels: int, stride: int, affine: bool) -> nn.Module:
        """Return the module; see ``CandidateOperation.build``."""
        return Attention(channels, stride, affine)

    def cost(self, channels: int, stride: int, resolution: int, affine: bool) -> OperationCost:
        """Return what projections and attention cost; see ``CandidateOperation.cost``."""
        width, pixels = max(channels // 2, 1), (-(-resolution // stride)) ** 2
        weights = 4 * channels * width
        parameters = weights + 2 * channels * affine
        macs = weights * pixels + 2 * width * pixels**2
        moved = channels * (resolution**2 + pixels) + pixels**2 + 4 * width * pixels
        return OperationCost(parameters, macs, moved + weights)


@dataclass(frozen=True, kw_only=True)
class AttentionCell(SpaceFamily):
    """Settings of the space.

    Attributes:
        cells: Cells in a row.
        channels: Channels of a node.
    """

    name = "attention-cell"
    summary = "one cell of two nodes: none, skip, a separable convolution or self-attention"
    reference = (
        "@inproceedings{vaswani2017attention, title = {Attention is All you Need}, author = "
        "{Vaswani, Ashish and others}, booktitle = {NIPS}, year = {2017}}"
    )
    enumerable = True

    cells: int = 1
    channels: int = 8

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        check_sizes(cells=self.cells, channels=self.channels)

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see ``SpaceFamily.build``."""
        check_resolution(self.name, resolution, 0)
        return Space(
            name=self.name,
            operations=("none", "skip_connect", "sep_conv_3x3", "self-attention"),
            cells=(CellType.dense("cell", 1, 2),),
            layers=(Layer("cell", self.channels, 1, "cell"),) * self.cells,
            stem_channels=self.channels,
            preprocess=self.cells > 1,
            in_channels=in_channels,
            num_classes=num_classes,
            resolution=resolution,
        )
