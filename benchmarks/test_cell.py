"""One cell by itself, with all operations on all edges."""

import pytest
import torch

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.supernet.fast.parent import FastParent

BATCH, SIDE, CHANNELS = 8, 16, 16
OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
    "dil_conv_5x5",
)  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2])
def test_cell(measure, place, stride):
    device, kernels = place
    layers = (Layer("cell", CHANNELS, stride, "cell"),)
    space = Space(
        "one", OPERATIONS, (CellType.dense("cell", 2, 2),), layers, CHANNELS, preprocess=False,
        resolution=SIDE,
    )  # fmt: skip
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels).to(device)
    z = torch.rand(1, space.num_edges, len(OPERATIONS), device=device, requires_grad=True)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device)
    measure(lambda: net(images, z, all_operations=True).sum().backward(), device)
