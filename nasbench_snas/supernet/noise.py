"""The operation ``noise``: standard Gaussian noise in the place of what arrives.

Zela et al. 2020, arXiv:1909.09656, section 4 (space S4): ``O(x) ~ N(0, 1)``, drawn anew for every
element of the output at every pass, and of the strided shape. It carries no information, so a
search that keeps it has failed.

Deviation: the numbers are no stream of the process's. The k-th training pass of a module draws them
from a key, made with the initial weights, and from k; both are buffers and so in every checkpoint,
and a continued run draws what it would have drawn. In evaluation mode every pass draws the same
numbers, so that a network is a function of its images there. A module inherited by a child has the
parent's key.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasbench_snas.seeding import stream


class Noise(nn.Module):
    """Noise of the shape of the input, halved at stride 2.

    Args:
        stride: 1, or 2 to halve the resolution.
    """

    key: Tensor
    passes: Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("key", torch.randint(2**62, ()))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return noise of shape ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        shape = x[:, :, :: self.stride, :: self.stride].shape
        if x.is_meta:
            return x.new_empty(shape)
        if self.training:
            self.passes += 1
        name = f"noise {int(self.passes)}" if self.training else "noise"
        generator = stream(int(self.key), name, x.device)
        return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
