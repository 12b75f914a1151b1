"""Torch modules of the candidate operations, built from their declarations.

Layout is NCHW and every module maps ``(B, C_in, H, W)`` to ``(B, C_out, ceil(H / stride), ceil(W /
stride))``.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from nasbench_snas.architecture.operations import OPERATIONS, Conv, Operation, OwnModule
from nasbench_snas.errors import PluginError
from nasbench_snas.supernet.noise import Noise


class Zero(nn.Module):
    """The operation ``none``: a zero map, so that its edge disappears."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the strided shape."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2 on shifted grids, concatenation, batch norm.

    The second grid starts at pixel (1, 1); an odd resolution is padded by one zero row and column,
    so that both grids have the same size.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution of ``x``, shape ``(B, C_in, H, W)``."""
        x = functional.relu(x)
        shifted = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
        result: Tensor = self.bn(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))
        return result


class ReLUConvBN(nn.Sequential):
    """One unit: ReLU, then convolutions without bias, then batch norm."""

    def __init__(
        self, c_in: int, c_out: int, convs: tuple[Conv, ...], stride: int, affine: bool
    ) -> None:
        layers: list[nn.Module] = [nn.ReLU()]
        for conv in convs:
            high, wide = (stride if on else 1 for on in conv.strided)
            width = c_in if conv.depthwise else c_out
            groups = c_in if conv.depthwise else 1
            layers.append(
                nn.Conv2d(
                    c_in,
                    width,
                    conv.kernel,
                    (high, wide),
                    conv.padding,
                    conv.dilation,
                    groups,
                    bias=False,
                )
            )
            c_in = width
        super().__init__(*layers, nn.BatchNorm2d(c_out, affine=affine))


class Pool(nn.Module):
    """3x3 pooling, padding not counted in averages, optionally followed by a batch norm."""

    def __init__(self, kind: str, channels: int, stride: int, affine: bool, norm: bool) -> None:
        super().__init__()
        self.kind, self.stride = kind, stride
        self.bn = nn.BatchNorm2d(channels, affine=affine) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``, shape ``(B, C, H, W)``."""
        if self.kind == "max":
            x = functional.max_pool2d(x, 3, self.stride, 1)
        else:
            x = functional.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        result: Tensor = self.bn(x)
        return result


def build_operation(
    operation: Operation, channels: int, stride: int, *, affine: bool, pool_norm: bool
) -> nn.Module:
    """Return the module of ``operation`` on ``channels`` channels.

    Args:
        operation: The declaration.
        channels: Channels of the source and of the target node.
        stride: 1, or 2 to halve the resolution.
        affine: Whether batch norms have a learnt scale and shift.
        pool_norm: Whether pooling is followed by a batch norm.
    """
    if operation.kind == "zero":
        return Zero(stride)
    if operation.kind == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
    if operation.kind == "noise":
        return Noise(stride)
    if operation.own is not None:
        return _own_module(operation.name, operation.own, channels, stride, affine)
    if operation.kind == "pool":
        return Pool(operation.pool, channels, stride, affine, pool_norm)
    units = [
        ReLUConvBN(channels, channels, convs, stride if index == 0 else 1, affine)
        for index, convs in enumerate(operation.units)
    ]
    return nn.Sequential(*units)


OWN = "own_operation"
"""Attribute of a module of one's own that holds the operation's name."""


def _own_module(name: str, own: OwnModule, channels: int, stride: int, affine: bool) -> nn.Module:
    """Return a module of one's own, marked, with a look at the shape of what it returns."""
    try:
        module = own.build(channels, stride, affine)
    except Exception as error:
        raise PluginError(
            f"operation {name!r}: build(channels={channels}, stride={stride}, affine={affine}) "
            f"failed: {type(error).__name__}: {error}",
            fix="Mend the plug-in; `nasbench check` runs its tests.",
        ) from error
    if not isinstance(module, nn.Module):
        raise PluginError(
            f"operation {name!r}: build() returned {type(module).__name__}.",
            "Expected a new torch.nn.Module at every call.",
        )
    setattr(module, OWN, name)
    module.register_forward_hook(partial(_check_shape, name, channels, stride))
    return module


def _check_shape(
    name: str, channels: int, stride: int, module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor
) -> None:
    """Raise a :class:`PluginError` if an operation returns anything but a map of its edge."""
    batch, _, height, width = inputs[0].shape
    expected = (batch, channels, -(-height // stride), -(-width // stride))
    if tuple(y.shape) != expected:
        raise PluginError(
            f"operation {name!r} returned shape {tuple(y.shape)}, not {expected}.",
            f"It has {channels} channels, stride {stride} and an input of {height}x{width} pixels.",
        )


def apart(module: nn.Module, x: Tensor) -> Tensor:
    """Return ``module(x)`` without a change of its buffers (running statistics)."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    result: Tensor = functional_call(module, buffers, (x,))
    return result


def auxiliary_skip(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return the auxiliary skip connection of an edge, whose output is added without a weight.

    It is what ``skip_connect`` is there, with weights of its own: the identity, or a factorised
    reduction (Jha et al. 2025, arXiv:2507.16533; without the decay of DARTS-, arXiv:2009.01027).
    Parents (:class:`~nasbench_snas.supernet.reference.MixedEdge`) and children have it of here.
    """
    skip = OPERATIONS["skip_connect"]
    return build_operation(skip, channels, stride, affine=affine, pool_norm=False)


def build_preprocess(c_in: int, c_out: int, reduces: bool, affine: bool) -> nn.Module:
    """Return what adapts a cell input: 1x1 ReLU-Conv-BN, or a factorised reduction.

    Args:
        c_in: Channels of the preceding output.
        c_out: Channels of the cell's nodes.
        reduces: Whether the input has twice the cell's resolution.
        affine: Whether batch norms have a learnt scale and shift.
    """
    if reduces:
        return FactorizedReduce(c_in, c_out, affine)
    return ReLUConvBN(c_in, c_out, (Conv((1, 1)),), 1, affine)


class ResidualReduction(nn.Module):
    """The fixed block between the stages of NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326,
    fig. 1).

    Two ReLU-Conv-BN units of 3x3, the first with the stride; the shortcut is a 2x2 average pooling
    and a 1x1 convolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, (Conv((3, 3)),), stride, affine)
        self.conv_b = ReLUConvBN(c_out, c_out, (Conv((3, 3)),), 1, affine)
        self.stride = stride
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for ``x``, shape ``(B, C_in, H, W)``."""
        short = functional.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
        result: Tensor = self.conv_b(self.conv_a(x)) + self.shortcut(short)
        return result
