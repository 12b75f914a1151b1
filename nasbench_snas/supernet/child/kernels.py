"""Derived networks on the compiled kernels: chains of ReLU-convolution-norm units as one function.

A separable or dilated convolution of a derived cell is a chain of units; so are the 1x1
convolution and the factorised reduction that adapt a cell's inputs. With ``x_0`` the input,

    y_i = conv_i(relu(x_i)),     x_{i+1} = gamma_i (y_i - mu_i) / sigma_i + beta_i,

the kernel of unit ``i + 1`` applies the norm of unit ``i`` while it loads ``y_i``, so that only the
``y_i`` and the chain's output are stored; the formulas of the backward pass are those of
:mod:`nasbench_snas.kernels.protocol` with one candidate of weight one.

:func:`fuse_child` exchanges those modules of a :class:`ChildNetwork` for :class:`FusedChain`, which
holds the same submodules under the same names: parameters, buffers, checkpoints and their order are
those of the plain network. Where the kernels do not apply (another device or type, autocast,
tracing for ``torch.compile`` or ``torch.export``) it runs the plain modules.

Deviation: gradients of gradients are not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasbench_snas.errors import ConfigError
from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu.backend import CpuKernels
from nasbench_snas.kernels.operands import (
    Candidate,
    Entries,
    Norm,
    Upstream,
)
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.supernet.child.cells import WholeCell
from nasbench_snas.supernet.child.network import ChildCell, ChildNetwork
from nasbench_snas.supernet.child.units import ChainUnit, chain_of

CHILD_BACKENDS = ("auto", "reference", "cpu")
"""What ``nasbench retrain --kernels`` accepts."""


@dataclass(frozen=True)
class Pass:
    """What a chain's function needs besides tensors: backend, units, mode."""

    kernels: Kernels
    units: tuple[ChainUnit, ...]
    training: bool


class FusedChain(nn.Module):
    """A chain of units on the kernels; the submodules and names are those of ``plain``.

    Copies and pickles lose the kernels (compiled code) and run the plain modules.

    Args:
        plain: The module it stands for.
        units: What ``plain`` computes.
        kernels: The backend.
    """

    def __init__(self, plain: nn.Module, units: tuple[ChainUnit, ...], kernels: Kernels) -> None:
        super().__init__()
        for name, child in plain.named_children():
            self.add_module(name, child)
        self.training = plain.training
        self._plain = (plain,)  # in a tuple: no submodule, so that no name changes
        self._units = units
        self._kernels: Kernels | None = kernels

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the kernels."""
        return {**self.__dict__, "_kernels": None}

    def forward(self, x: Tensor) -> Tensor:
        """Return the chain's output, ``(B, C_out, H', W')``, for ``x``, ``(B, C_in, H, W)``."""
        kernels, first = self._kernels, self._units[0]
        if kernels is None or torch.compiler.is_compiling() or not self._applies(x):
            plain: Tensor = self._plain[0](x)
            return plain
        tensors: list[Tensor] = []
        for unit in self._units:
            tensors += unit.weights()
            if unit.norm.affine:
                tensors += [unit.norm.weight[None], unit.norm.bias[None]]
        rows = x.permute(0, 2, 3, 1).contiguous()[None]
        out: Tensor = _Chain.apply(Pass(kernels, self._units, first.norm.training), rows, *tensors)
        return out[0].permute(0, 3, 1, 2)

    def _applies(self, x: Tensor) -> bool:
        """Whether the kernels can take ``x`` now."""
        first = self._units[0]
        stride = first.spec.stride
        pixels = len(x) * (-(-x.shape[2] // stride)) * (-(-x.shape[3] // stride))
        return (
            x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.float64)
            and x.dtype == first.norm.running_mean.dtype  # type: ignore[union-attr]
            and not torch.is_autocast_enabled("cpu")
            and all(unit.norm.training == first.norm.training for unit in self._units)
            and pixels > 1  # a batch norm of one value has no variance: torch says so
        )


def _row(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _split(
    units: tuple[ChainUnit, ...], tensors: tuple[Tensor, ...]
) -> list[tuple[list[Tensor], Tensor | None, Tensor | None]]:
    """Return each unit's weights, gamma and beta."""
    result: list[tuple[list[Tensor], Tensor | None, Tensor | None]] = []
    start = 0
    for unit in units:
        end = start + (2 if unit.spec.kind == "depthwise" else 1)
        weights = list(tensors[start:end])
        affine = unit.norm.affine
        gamma, beta = tensors[end : end + 2] if affine else (None, None)
        result.append((weights, gamma, beta))
        start = end + 2 * affine
    return result


class _Chain(torch.autograd.Function):
    """A chain of units; ``x`` and the result are ``(1, B, H, W, C)``."""

    @staticmethod
    def forward(ctx: Any, run: Pass, x: Tensor, *tensors: Tensor) -> Tensor:
        """Return the last norm's output; update running statistics in training."""
        zero, norm, kept = _row([0]), None, [x]
        for unit, (weights, gamma, beta) in zip(run.units, _split(run.units, tensors), strict=True):
            y, mean, var = run.kernels.unit_forward(
                unit.spec, kept[-1], norm, weights, zero, zero, run.training
            )
            running_mean, running_var, count = _running(unit.norm)
            if mean is None or var is None:
                mean, var = running_mean.clone(), running_var.clone()
            else:
                values = y.numel() // y.shape[-1]
                running = running_mean, running_var, count
                run.kernels.update_running(running, mean, var, zero, zero, values)
            norm = run.kernels.norm_forward(mean, var, gamma, beta, zero)
            kept += [mean, var, y]
        ctx.run, ctx.kept = run, len(kept)
        ctx.save_for_backward(*kept, *tensors)
        if norm is None:
            raise TypeError("a chain has at least one unit")
        return torch.addcmul(norm.shift[0], kept[-1], norm.scale[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, of the weights, and of the norms' scales and shifts."""
        run: Pass = ctx.run
        kept, tensors = ctx.saved_tensors[: ctx.kept], ctx.saved_tensors[ctx.kept :]
        parts = _split(run.units, tensors)
        gradients = _split(run.units, tuple(torch.zeros_like(tensor) for tensor in tensors))
        xs, zero = [kept[3 * number] for number in range(len(run.units) + 1)], _row([0])
        norms = [
            run.kernels.norm_forward(kept[3 * number + 1], kept[3 * number + 2], gamma, beta, zero)
            for number, (_, gamma, beta) in enumerate(parts)
        ]
        statistics = (kept[-3], kept[-2])
        upstream = _last_upstream(run, xs[-1], statistics, parts[-1], gradients[-1], g.contiguous())
        dx = xs[0]
        for number in reversed(range(len(run.units))):
            before = norms[number - 1] if number else None
            dx = torch.empty_like(xs[number])
            sums = run.kernels.unit_backward(
                run.units[number].spec, xs[number], before, parts[number][0], zero, zero,
                xs[number + 1], upstream, dx, True, gradients[number][0],
            )  # fmt: skip
            if before is not None and sums is not None:
                upstream = _inner_upstream(run, before, sums, dx, gradients[number - 1])
        flat: list[Tensor | None] = []
        for weights, gamma, beta in gradients:
            flat += weights + ([] if gamma is None else [gamma, beta])
        return None, dx, *flat


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Return views, one row each, of a norm's running mean, variance and number of batches."""
    mean, var, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or var is None or count is None:
        raise TypeError("fused norms keep running statistics")
    return mean[None], var[None], count.view(1)


def _last_upstream(
    run: Pass, y: Tensor, statistics: tuple[Tensor, Tensor], part: Any, gradients: Any, g: Tensor
) -> Upstream:
    """Return the gradient of the last unit's output from ``g``, that of its norm's output.

    Args:
        run: The pass.
        y: The last unit's output.
        statistics: Mean and variance of its norm, both ``(1, C)``.
        part: Its weights, gamma and beta.
        gradients: Buffers for their gradients, added to.
        g: Shape ``(1, B, H, W, C)``.
    """
    entries = Entries(_row([0] * 6).view(1, 6), (_row([0, 1]),), (1,))
    candidate = Candidate(y, *statistics, part[1], part[2])
    z = y.new_ones(1)
    (upstream,) = run.kernels.mix_backward(
        z, entries, [candidate], g, torch.zeros_like(z), [gradients[1]], [gradients[2]],
        run.training,
    )  # fmt: skip
    return upstream


def _inner_upstream(run: Pass, norm: Norm, sums: Tensor, t: Tensor, gradients: Any) -> Upstream:
    """Return the gradient of an inner unit's output from ``t``, that of its norm's output.

    Args:
        run: The pass.
        norm: The norm.
        sums: ``<t, 1>`` and ``<t, y - mean>``, shape ``(2, 1, C)``, float64.
        t: Shape ``(1, B, H, W, C)``.
        gradients: Buffers of the unit whose norm it is; gamma's and beta's are added to.
    """
    values, zero = t.numel() // t.shape[-1] if run.training else 0, _row([0])
    p, r = run.kernels.norm_backward(norm, sums, zero, gradients[1], gradients[2], values)
    return Upstream(t, zero, _row([0, 1]), norm.scale, p, r)


def fuse_child(network: ChildNetwork, kernels: Kernels) -> int:
    """Let ``network`` run its chains of units on ``kernels``, in place; return how many there are.

    On compiled kernels, cells of nothing but chains, poolings and identities run as a whole
    (:class:`~nasbench_snas.supernet.child.cells.WholeCell`), without their chains.

    Names, order and identity of parameters and buffers stay; stem, pooling, dense convolutions,
    auxiliary head and head stay plain. The network's tensors become channels-last inside.
    """
    fused = 0
    for cell in network.cells.children():
        if not isinstance(cell, ChildCell):
            continue
        if isinstance(kernels, CpuKernels) and WholeCell.takes(cell):
            cell.whole = WholeCell(cell, kernels)
        names = [edge.operation for edge in cell.plan.cell.edges]
        for place in (cell.preprocess, cell.edges, cell.skips, cell.reduced):
            for number, (name, plain) in enumerate(list(place.named_children())):
                units = chain_of(plain, names[number] if place is cell.edges else "")
                if units:
                    setattr(place, name, FusedChain(plain, units, kernels))
                    fused += 1
    network.channels_last_inside = fused > 0
    return fused


def child_kernels(
    name: str, device: torch.device | str, dtype: torch.dtype, *, plain_because: str = ""
) -> tuple[Kernels | None, str]:
    """Return the kernels of a derived network (None: plain modules) and one line that says why.

    Args:
        name: One of :data:`CHILD_BACKENDS`.
        device: Where the network runs.
        dtype: Its type.
        plain_because: A setting that only the plain modules serve, or an empty string.

    Raises:
        ConfigError: Unknown name, or ``cpu`` where the compiled kernels cannot serve.
        MissingDependencyError: ``cpu`` was asked for and cannot be built.
    """
    kind = torch.device(device).type
    if name not in CHILD_BACKENDS:
        raise ConfigError(f"unknown kernels {name!r}.", f"Known: {', '.join(CHILD_BACKENDS)}")
    if name == "cpu" and plain_because:
        raise ConfigError(
            f"kernels 'cpu' cannot be used: {plain_because} needs the plain modules.",
            fix="Use --kernels auto.",
        )
    if plain_because or (kind != "cpu" and name != "cpu"):
        return None, f"kernels: plain modules; {plain_because or f'nothing faster for {kind}'}"
    backend, note = select_backend(name, device, dtype)
    if isinstance(backend, CpuKernels):
        return backend, note
    return None, note.replace("reference (plain PyTorch)", "plain modules")
