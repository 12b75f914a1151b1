"""A search step of the parent: soft weights, one-hot weights, several draws at once."""

import os

import pytest
from parents import batch, parent, step, weights

SIZE = os.environ.get("NASBENCH_BENCHMARK_SIZE", "tiny")


@pytest.mark.parametrize("kind", ["soft", "one-hot", "draws"])
def test_fast_parent(measure, place, kind):
    device, kernels = place
    net = parent(SIZE, kernels, device)
    images, labels = batch(SIZE, device)
    draws = 4 if kind == "draws" else 1
    z = weights(net.space, draws, kind == "one-hot", device)
    measure(lambda: step(net, images, labels, z), device, size=SIZE, draws=draws)


@pytest.mark.parametrize("kind", ["soft", "one-hot"])
def test_reference_parent(measure, device, kind):
    net = parent(SIZE, None, device)
    images, labels = batch(SIZE, device)
    z = weights(net.space, 1, kind == "one-hot", device)
    measure(lambda: step(net, images, labels, z, all_operations=True), device, size=SIZE, draws=1)
