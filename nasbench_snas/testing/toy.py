"""A space of a few edges that checks of rules and transformers work in."""

from __future__ import annotations

from nasbench_snas.architecture.space import CellType, Layer, Space


def toy_space() -> Space:
    """Return a space of one cell with five edges and four operations, ``none`` among them."""
    return Space(
        name="toy",
        operations=("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3"),
        cells=(CellType.dense("cell", 2, 2),),
        layers=(Layer("cell", 4, 1, "cell"),),
        stem_channels=4,
        in_channels=1,
        num_classes=3,
        resolution=8,
    )
