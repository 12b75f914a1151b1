"""A search space small enough for double precision and whole Jacobians, and batches for it."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.architecture.space import CellType, Layer, Space

SPACE = Space(
    name="tiny",
    operations=("none", "skip_connect", "conv_1x1"),
    cells=(CellType.dense("cell", 1, 2),),
    layers=(Layer("cell", 2, 1, "cell"),),
    stem_channels=2,
    preprocess=False,
    in_channels=1,
    num_classes=3,
    resolution=4,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """Return six images and their labels."""
    g = generator(seed)
    images = torch.randn(6, 1, 4, 4, generator=g, dtype=torch.float64)
    return images, torch.randint(3, (6,), generator=g)
