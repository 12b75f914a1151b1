"""Launches and bytes of a step on paper."""

import torch

from nasbench_snas.kernels.accounting import CountingKernels, count_step
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.fast import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


def test_a_product_is_one_launch_that_reads_two_matrices_and_writes_one():
    a, b = torch.ones(4, 8), torch.ones(8, 2)
    count = count_step(lambda: a @ b)
    assert count.launches == 1 and count.bytes == 4 * (32 + 16 + 8)


def test_the_fused_step_needs_a_fraction_of_the_launches_and_bytes_of_the_reference():
    space = DartsCNN(cells=3, channels=8).build(3, 10, 8)
    images = torch.randn(8, 3, 8, 8)
    z = torch.rand(1, space.num_edges, space.num_operations, requires_grad=True)
    kernels = CountingKernels()
    fast = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    plain = ReferenceParent(space, torch.Generator().manual_seed(0))
    counts = [
        count_step(lambda net=net: net(images, z, all_operations=True).sum().backward(), counter)
        for net, counter in ((fast, kernels), (plain, None))
    ]
    assert 0 < counts[0].launches < counts[1].launches
    assert 0 < 1.5 * counts[0].bytes < counts[1].bytes
