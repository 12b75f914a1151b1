"""Squeeze-and-excitation as a candidate operation: channels weighted by what the image shows.

``y = BN(x * sigmoid(W2 relu(W1 mean(x) + b1) + b2))`` with the mean over all pixels and a hidden
layer of a quarter of the channels; at stride 2 an average pooling comes first.

Reference: Hu, Shen and Sun 2018, arXiv:1709.01507, eqs. 2-4. Deviations: a batch norm behind it, as
behind every other candidate.
"""

from __future__ import annotations

from torch import Tensor, nn

from nasbench_snas.api import CandidateOperation, OperationCost


class Excited(nn.Module):
    """Weighs the channels of a feature map."""

    def __init__(self, channels: int, hidden: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels of ``x``, shape ``(B, C, H, W)``."""
        x = self.pool(x)
        hidden = self.squeeze(x.mean(dim=(2, 3), keepdim=True)).relu()
        result: Tensor = self.norm(x * self.excite(hidden).sigmoid())
        return result


class SqueezeExcite(CandidateOperation):
    """Squeeze-and-excitation, reduction 4."""

    name = "squeeze-excite"
    summary = "channels weighted by a two-layer perceptron of their means (SENet)"
    reference = (
        "@inproceedings{hu2018squeeze, title = {Squeeze-and-Excitation Networks}, author = {Hu, "
        "Jie and Shen, Li and Sun, Gang}, booktitle = {CVPR}, year = {2018}}"
    )

    def build(self, channels: int, stride: int, affine: bool) -> nn.Module:
        """Return the module; see ``CandidateOperation.build``."""
        return Excited(channels, max(channels // 4, 1), stride, affine)

    def cost(self, channels: int, stride: int, resolution: int, affine: bool) -> OperationCost:
        """Return what the two layers and the norm cost; see ``CandidateOperation.cost``."""
        hidden, out = max(channels // 4, 1), -(-resolution // stride)
        weights = 2 * channels * hidden
        parameters = weights + hidden + channels + 2 * channels * affine
        moved = channels * (resolution**2 + out**2)
        return OperationCost(parameters, weights, moved + parameters)
