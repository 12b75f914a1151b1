"""A search step of the parent: soft weights, one-hot weights, several draws at once."""

import os
from functools import cache

import pytest
import torch
from costs import bytes_of, counting, flops
from parents import batch, parent, step, weights

SIZE = os.environ.get("NASBENCH_BENCHMARK_SIZE", "tiny")


@cache
def cost(kind, fused):
    """Return bytes and operations of a step, counted on CPU: fused, or one module a candidate.

    Bytes of a fused step are those of the Triton backend; without Triton, they are not known (0).
    """
    kernels = counting() if fused else None
    known = kernels is not None or not fused
    net = parent(SIZE, kernels, "cpu")
    plain = parent(SIZE, None, "cpu")
    images, labels = batch(SIZE, "cpu")
    z = weights(net.space, 4 if kind == "draws" else 1, kind == "one-hot", "cpu")
    everything = not fused
    size = bytes_of(lambda: step(net, images, labels, z, everything), kernels) if known else 0
    return size, flops(lambda: plain(images, z, all_operations=everything))


@pytest.mark.parametrize("kind", ["soft", "one-hot", "draws"])
def test_fast_parent(measure, place, kind):
    device, kernels = place
    net = parent(SIZE, kernels, device)
    images, labels = batch(SIZE, device)
    draws = 4 if kind == "draws" else 1
    z = weights(net.space, draws, kind == "one-hot", device)
    measure(lambda: step(net, images, labels, z), device, *cost(kind, True), size=SIZE, draws=draws)


@pytest.mark.parametrize("kind", ["soft", "one-hot"])
def test_reference_parent(measure, device, kind):
    net = parent(SIZE, None, device)
    images, labels = batch(SIZE, device)
    z = weights(net.space, 1, kind == "one-hot", device)
    measure(
        lambda: step(net, images, labels, z, all_operations=True), device,
        costs=lambda: cost(kind, False), size=SIZE, draws=1,
    )  # fmt: skip


def test_one_hot_steps_move_and_compute_less_than_soft_ones():
    pytest.importorskip("triton")
    soft, one_hot = cost("soft", True), cost("one-hot", True)
    assert 0 < one_hot[0] < soft[0] and 0 < one_hot[1] < soft[1]
    assert torch.tensor(cost("soft", False)).gt(torch.tensor(soft) - 1).all()
