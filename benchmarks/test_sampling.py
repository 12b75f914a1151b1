"""Concrete samples of all edges and their backward pass."""

import torch


def test_concrete(measure, place):
    device, kernels = place
    logits, noise = torch.randn(28, 8, device=device), torch.randn(64, 1, 28, 8, device=device)
    g = torch.randn_like(noise)

    def sample():
        z = kernels.concrete_forward(logits, noise, 0.5)
        kernels.concrete_backward(z, g, 0.5)

    measure(sample, device, 4 * 6 * noise.numel(), 12 * noise.numel())
