"""A space of a few edges, and a smooth loss, that checks of rules, transformers and stops use."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.architecture.space import CellType, Layer, Space


def toy_space() -> Space:
    """Return a space of two equal cells: five edges and four operations, ``none`` among them."""
    return Space(
        name="toy",
        operations=("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3"),
        cells=(CellType.dense("cell", 2, 2),),
        layers=(Layer("cell", 4, 1, "cell"), Layer("cell", 4, 1, "cell")),
        stem_channels=4,
        in_channels=1,
        num_classes=3,
        resolution=8,
    )


class SmoothLoss:
    """A smooth loss of the weights, with an interaction of the edges.

    Weights may differ between two cells: shape ``(R, n, 2, E, K)``. Equal ones give the loss of
    weights without that axis.

    Attributes:
        run: The last mask of operations.
        asked: Evaluations so far.
    """

    def __init__(self) -> None:
        self.run: Tensor | None = None
        self.asked = 0

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses, shape ``(R, n)``."""
        self.run, self.asked = run, self.asked + 1
        count = z.shape[-2] * z.shape[-1]
        flat = z.flatten(-2)
        if z.dim() == 5:
            share = torch.linspace(0.1, 0.8, count, dtype=z.dtype, device=z.device)
            flat = share * flat[:, :, 0] + (1 - share) * flat[:, :, 1]
        slope = torch.linspace(0.5, 2.0, count, dtype=z.dtype, device=z.device)
        each = (flat * slope).sin()
        return 1.0 + each.mean(dim=-1) + each.sum(dim=-1).square() / 50

    def error(self, z: Tensor) -> Tensor:
        """Return an error of one quarter each, shape ``(R, n)``."""
        return torch.full(z.shape[:2], 0.25, dtype=z.dtype, device=z.device)
