"""Launches and bytes of a step on paper."""

import pytest
import torch

from nasbench_snas.kernels.accounting import count_step, counting_kernels
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


def test_a_product_is_one_launch_that_reads_two_matrices_and_writes_one():
    a, b = torch.ones(4, 8), torch.ones(8, 2)
    count = count_step(lambda: a @ b)
    assert count.launches == 1 and count.bytes == 4 * (32 + 16 + 8)


@pytest.fixture(scope="module")
def counts():
    """Counts of the second step of the fast parent, and of the reference parent."""
    pytest.importorskip("triton")
    space = DartsCNN(cells=3, channels=8).build(3, 10, 8)
    images = torch.randn(8, 3, 8, 8)
    z = torch.rand(1, space.num_edges, space.num_operations, requires_grad=True)
    kernels = counting_kernels()
    fast = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    plain = ReferenceParent(space, torch.Generator().manual_seed(0))
    result = []
    for net, counter in ((fast, kernels), (fast, kernels), (plain, None)):
        z.grad = None
        net.zero_grad()
        result.append(
            count_step(
                lambda net=net: net(images, z, all_operations=True).sum().backward(), counter
            )
        )
    return result


def test_a_step_of_the_fused_parent_is_some_hundred_launches_instead_of_thousands(counts):
    _, fast, plain = counts
    assert 0 < fast.launches < 560 < 5000 < plain.launches
    assert 0 < 2 * fast.bytes < plain.bytes


def test_the_launches_of_a_source_do_not_grow_with_its_operations_or_edges(counts):
    by_name = counts[1].by_name
    sources, inputs = 3 * 5, 3 * 2  # no operation leaves the last node
    assert by_name["mix_forward"] == by_name["mix_dots"] == sources + inputs
    assert by_name["depthwise_input"] == 2 * sources + inputs  # two depths of units
    assert by_name["depthwise_taps"] == 2 * sources
    assert by_name["pool_forward"] == sources


def test_the_first_step_launches_the_same_and_plans_besides(counts):
    first, second = counts[0].by_name, counts[1].by_name
    assert set(first - second) == {"new_ones.default"}
    assert not second - first
