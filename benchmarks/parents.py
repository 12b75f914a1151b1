"""Spaces, parents and steps that the benchmarks share."""

import torch
from torch.nn import functional

from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

SIZES = {
    "tiny": (8, 8, 8, 3),
    "small": (32, 16, 8, 5),
    "mid": (16, 32, 16, 8),
    "big": (64, 32, 16, 8),
}
"""Batch, resolution, channels, cells."""


def parent(size, kernels, device, recompute=False):
    """Return a parent of that size; kernels None gives the reference parent."""
    _, resolution, channels, cells = SIZES[size]
    space = DartsCNN(cells=cells, channels=channels).build(3, 10, resolution)
    generator = torch.Generator().manual_seed(0)
    if kernels is None:
        return ReferenceParent(space, generator).to(device)
    return FastParent(space, generator, kernels=kernels, recompute=recompute).to(device)


def weights(space, draws, one_hot, device):
    """Return weights of the operations, shape ``(draws, E, K)``."""
    noise = torch.randn(
        draws, space.num_edges, space.num_operations, generator=torch.Generator().manual_seed(1)
    )
    z = noise.softmax(-1)
    if one_hot:
        z = functional.one_hot(noise.argmax(-1), space.num_operations).float()
    return z.to(device).requires_grad_()


def batch(size, device):
    """Return images and labels."""
    count, resolution = SIZES[size][:2]
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 3, resolution, resolution, generator=generator)
    return images.to(device), torch.randint(10, (count,), generator=generator).to(device)


def step(net, images, labels, z, all_operations=False):
    """One forward and backward pass for theta and for the weights."""
    logits = net(images, z, all_operations=all_operations)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(z)))
    loss.backward()
