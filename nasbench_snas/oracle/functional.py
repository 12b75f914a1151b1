"""The parent's modules applied to many architectures at once, each with its own batch statistics.

A feature map carries a leading axis ``P`` of architectures (or partial architectures): ``(P, B, C,
H, W)``. Convolutions and pooling fold ``P`` into the batch, which changes nothing; a batch norm in
training mode takes mean and variance over ``(B, H, W)`` of each ``P`` by itself, as a forward pass
per architecture would. Running statistics are read in evaluation mode and never written.

With ``y = (x - m) r``, ``r = (v + eps)^-1/2``, the batch norm's backward pass is
``dx = r (dy - mean(dy) - y mean(dy y))`` (Ioffe & Szegedy 2015, arXiv:1502.03167).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.errors import ConfigError
from nasbench_snas.supernet.modules import (
    OWN,
    FactorizedReduce,
    Pool,
    ResidualReduction,
    Zero,
    apart,
)
from nasbench_snas.supernet.noise import Noise

_AXES = (1, 3, 4)


class _Normalise(torch.autograd.Function):
    """Standardise ``(P, B, C, H, W)`` over ``(B, H, W)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(x, dim=_AXES, correction=0, keepdim=True)
        scale = (variance + eps).rsqrt()
        y = torch.addcmul(-mean * scale, x, scale)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        projection = (dy * y).mean(dim=_AXES, keepdim=True)
        dx = torch.addcmul(dy - dy.mean(dim=_AXES, keepdim=True), y, projection, value=-1)
        return dx.mul_(scale), None


def normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Apply a batch norm to ``x``, shape ``(P, B, C, H, W)``, statistics of each ``P`` apart."""
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        scale = (norm.running_var + norm.eps).rsqrt()
        y = (x - norm.running_mean[:, None, None]) * scale[:, None, None]
    else:
        y = _Normalise.apply(x, norm.eps)
    if norm.affine:
        y = torch.addcmul(norm.bias[:, None, None], y, norm.weight[:, None, None])
    return y


def apply_module(module: nn.Module, x: Tensor) -> Tensor:
    """Return ``module(x)`` for each of ``P`` architectures.

    Args:
        module: A module of the parent network.
        x: Shape ``(P, B, C, H, W)``.

    Returns:
        Shape ``(P, B, C', H', W')``, graph attached.

    Raises:
        ConfigError: The module is of a kind that is not known here.
    """
    if hasattr(module, OWN) or isinstance(module, Noise):
        return torch.stack([apart(module, row) for row in x])
    match module:
        case nn.Identity():
            return x
        case nn.BatchNorm2d():
            return normalise(module, x)
        case nn.ReLU():
            return x.relu()
        case nn.Conv2d():
            return _convolve(module, x)
        case Zero():
            return torch.zeros_like(x[..., :: module.stride, :: module.stride])
        case Pool():
            return apply_module(module.bn, _pool(module, x))
        case FactorizedReduce():
            x = x.relu()
            pads = (0, x.shape[4] % 2, 0, x.shape[3] % 2)
            shifted = functional.pad(x, pads)[..., 1:, 1:]
            halves = (_convolve(module.conv_1, x), _convolve(module.conv_2, shifted))
            return normalise(module.bn, torch.cat(halves, dim=2))
        case ResidualReduction():
            s = module.stride
            pooled = functional.avg_pool2d(x.flatten(0, 1), s, s, ceil_mode=True)
            short = _convolve(module.shortcut, _unfold(pooled, x))
            return apply_module(module.conv_b, apply_module(module.conv_a, x)) + short
        case nn.Sequential() | nn.ModuleList():
            for part in module:
                x = apply_module(part, x)
            return x
    raise ConfigError(
        f"a module of kind {type(module).__name__} cannot be evaluated for many architectures.",
        "Expected the modules of nasbench_snas.supernet.modules.",
    )


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
        weight = conv.weight.flatten(1)
        return torch.matmul(weight, x.flatten(3)).view(*x.shape[:2], -1, *x.shape[3:])
    flat = functional.conv2d(
        x.flatten(0, 1),
        conv.weight,
        conv.bias,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
    return _unfold(flat, x)


def _pool(pool: Pool, x: Tensor) -> Tensor:
    flat = x.flatten(0, 1)
    if pool.kind == "max":
        flat = functional.max_pool2d(flat, 3, pool.stride, 1)
    else:
        flat = functional.avg_pool2d(flat, 3, pool.stride, 1, count_include_pad=False)
    return _unfold(flat, x)


def _unfold(flat: Tensor, x: Tensor) -> Tensor:
    """Return ``(P B, …)`` as ``(P, B, …)`` with the leading axes of ``x``."""
    return flat.view(*x.shape[:2], *flat.shape[1:])
