"""Gradients of depthwise convolutions in plain PyTorch, several times faster than PyTorch's own.

On CPU PyTorch's backward pass is slow for dilated kernels; its forward pass is fast for all. So,
with ``d`` the dilation, at stride one

- the gradient of the input is a forward convolution of ``dy`` with the kernel turned round;
- a dilated convolution is an undilated one on each of the ``d ** 2`` images that hold every
  ``d``-th pixel (space to batch), which are put side by side as images of one batch;

and at stride two a kernel of dilation two is an undilated one of stride one on the even pixels. On
small images the gradient of a large kernel is one matrix product with all shifted images. All are
exact rearrangements of the same sums.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMALL_IMAGE = 16
"""Up to that many pixels, the gradient of a large kernel is a product with all shifted images."""


def _spread(x: Tensor, step: int) -> Tensor:
    """Return the images of every ``step``-th pixel as images: ``(B * step ** 2, C, H', W')``.

    Args:
        x: Images, shape ``(B, C, H, W)``; sides are padded by zeros to multiples of ``step``.
        step: The distance of the pixels.
    """
    height, width = x.shape[2:]
    if height % step or width % step:
        x = functional.pad(x, (0, -width % step, 0, -height % step))
    batch, channels, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(
        batch, height // step, step, width // step, step, channels
    )
    images = parts.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // step, width // step, channels)
    return images.permute(0, 3, 1, 2)


def _weight_gradient(x: Tensor, dy: Tensor, taps: Tensor) -> Tensor:
    """Return the gradient of undilated ``taps``, shape ``(C, 1, k, k)``, by PyTorch's own pass."""
    kernel, half = taps.shape[-1], taps.shape[-1] // 2
    if kernel > 3 and dy.shape[2] * dy.shape[3] <= SMALL_IMAGE:
        padded = functional.pad(x, (half, half, half, half))
        columns = padded.unfold(2, kernel, 1).unfold(3, kernel, 1).transpose(0, 1)
        rows = dy.transpose(0, 1).reshape(len(taps), 1, -1)
        products = torch.bmm(rows, columns.reshape(len(taps), rows.shape[2], kernel * kernel))
        return products.view_as(taps)
    _, dw, _ = torch.ops.aten.convolution_backward(
        dy, x, taps, None, [1, 1], [half, half], [1, 1], False, [0, 0], x.shape[1],
        [False, True, False],
    )  # fmt: skip
    result: Tensor = dw
    return result


def depthwise_gradients(
    x: Tensor, dy: Tensor, taps: Tensor, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the input and of the kernels of a depthwise convolution.

    The padding is ``dilation * (k // 2)`` and ``k`` is odd.

    Args:
        x: Its input, shape ``(B, C, H, W)``, channels last in memory.
        dy: The gradient of its output, likewise.
        taps: Its kernels, shape ``(C, 1, k, k)``.
        stride: Its stride.
        dilation: The distance of its taps.
    """
    channels, kernel = x.shape[1], taps.shape[-1]
    if stride == dilation == 2:  # taps and steps of two pixels: only even pixels take part
        dx = torch.zeros_like(x)
        even = x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
        dx[:, :, ::2, ::2], dw = depthwise_gradients(even, dy, taps, 1, 1)
        return dx, dw
    padding = dilation * (kernel // 2)
    if stride != 1 or kernel < 3:
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy, x, taps, None, [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0],
            channels, [True, True, False],
        )  # fmt: skip
        return dx, dw
    dx = functional.conv2d(dy, taps.flip(2, 3), None, 1, padding, dilation, channels)
    if dilation > 1:
        x, dy = _spread(x, dilation), _spread(dy, dilation)
    return dx, _weight_gradient(x, dy, taps)
