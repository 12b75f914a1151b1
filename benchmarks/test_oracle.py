"""The exact gradient of the expected loss by enumeration: all architectures of a small space."""

import torch
from costs import bytes_of, flops

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.oracle.exact import Oracle
from nasbench_snas.oracle.network import BatchedNetwork
from nasbench_snas.supernet.reference import ReferenceParent

OPERATIONS = ("none", "skip_connect", "conv_3x3")


def test_exact_gradient(measure, device):
    cell = CellType.dense("cell", 1, 3, "last")
    space = Space(
        "tiny", OPERATIONS, (cell,), (Layer("cell", 4, 1, "cell"),), 4, preprocess=False,
        num_classes=4, resolution=8,
    )  # fmt: skip
    net = ReferenceParent(space, torch.Generator().manual_seed(0)).to(device)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 8, 8, generator=generator).to(device)
    labels = torch.randint(4, (8,), generator=generator).to(device)
    dist = Categorical(torch.zeros(space.num_edges, len(OPERATIONS), device=device))
    oracle = Oracle(BatchedNetwork(net), images, labels)
    measure(
        lambda: oracle.gradient(dist), device, architectures=space.num_architectures,
        costs=lambda: (bytes_of(lambda: oracle.gradient(dist)), flops(oracle.losses)),
    )  # fmt: skip
