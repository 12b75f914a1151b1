"""The ReLU-convolution-norm units of a derived network's plain modules, as kernels take them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.operations import operation
from nasbench_snas.kernels.operands import EPS, MOMENTUM, UnitSpec
from nasbench_snas.supernet.fast.units import unit_spec
from nasbench_snas.supernet.modules import OWN, FactorizedReduce, ReLUConvBN


@dataclass(frozen=True)
class ChainUnit:
    """One unit of a chain: its specification and the plain modules that hold its tensors."""

    spec: UnitSpec
    convs: tuple[nn.Conv2d, ...]
    norm: nn.BatchNorm2d

    def weights(self) -> list[Tensor]:
        """Return the weights as kernels take them, one row, differentiable.

        ``depthwise``: ``(1, k * k, C_in)`` and ``(1, C_in, C_out)``; else ``(1, C_in, C_out)``.
        """
        packed = [conv.weight.flatten(1).t() for conv in self.convs]
        if self.spec.kind == "shifted":
            packed = [torch.cat(packed, dim=1)]
        return [weight.contiguous()[None] for weight in packed]


def chain_of(plain: nn.Module, name: str) -> tuple[ChainUnit, ...]:
    """Return the units of a module, or nothing if the kernels do not have them.

    Args:
        plain: An edge's operation or a cell's preprocessing.
        name: The operation's name, or an empty string.
    """
    units: tuple[ChainUnit, ...] = ()
    if hasattr(plain, OWN):
        return units
    if isinstance(plain, FactorizedReduce):
        spec = UnitSpec("shifted", stride=2)
        units = (ChainUnit(spec, (plain.conv_1, plain.conv_2), plain.bn),)
    elif isinstance(plain, ReLUConvBN):
        units = (unit_of(plain, UnitSpec("point")),)
    elif isinstance(plain, nn.Sequential) and name:
        declared = operation(name).units
        units = tuple(
            unit_of(module, unit_spec(convs))
            for module, convs in zip(plain.children(), declared, strict=True)
        )
    usable = all(unit.spec.kind != "dense" and usable_norm(unit.norm) for unit in units)
    return units if usable else ()


def usable_norm(norm: nn.Module) -> bool:
    """Whether the kernels compute what ``norm`` does."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.track_running_stats
        and (norm.eps, norm.momentum) == (EPS, MOMENTUM)
    )


def unit_of(module: nn.Module, spec: UnitSpec) -> ChainUnit:
    """Return a ReLU-convolutions-norm module as a unit, with the stride it was built with."""
    _, *convs, norm = module.children()
    first = convs[0]
    if not isinstance(first, nn.Conv2d):
        raise TypeError(f"expected a convolution, got {type(first).__name__}")
    if spec.kind == "depthwise":
        spec = replace(spec, stride=int(first.stride[0]))
    return ChainUnit(spec, tuple(convs), norm)  # type: ignore[arg-type]
