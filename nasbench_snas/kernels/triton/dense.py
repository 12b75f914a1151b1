"""Dense convolutions beside grouped launches: PyTorch's own, with gradients from autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.kernels.reference import convolve
from nasbench_snas.kernels.sources import Slots, UnitWeights
from nasbench_snas.kernels.triton.layout import Dense


def _normed(x: Tensor, stats: Tensor | None) -> Tensor:
    """Return the norm of ``x`` (``stats``: shape ``(rows, 5, C)``, see ``norms.py``)."""
    if stats is None:
        return x
    scale, shift = (stats[:, i, None, None, None].to(x.dtype) for i in (3, 4))
    return torch.addcmul(shift, x, scale)


def dense_forward(
    dense: Dense, x: Tensor, stats: Tensor | None, units: Sequence[UnitWeights], y: Tensor
) -> None:
    """Set the rows of ``y`` that are a dense unit's.

    Args:
        dense: The unit.
        x: Its input, shape ``(rows, B, H, W, C)``.
        stats: Statistics of ``x`` if a norm stands before the unit, or None.
        units: The source's units.
        y: All outputs.
    """
    weights = [weight[dense.w_rows].to(x.dtype) for weight in units[dense.unit].weights]
    chosen = None if stats is None else stats[dense.x_rows]
    r = functional.relu(_normed(x[dense.x_rows], chosen))
    y[dense.first : dense.first + len(r)] = convolve(dense.spec, r, weights)


def dense_backward(
    dense: Dense, x: Tensor, stats: Tensor | None, units: Sequence[UnitWeights], up: Tensor,
    slots: Slots | None,
) -> Tensor:  # fmt: skip
    """Return the gradient of the norm of ``x`` (all its rows); add to the weights' gradients.

    Args:
        dense: The unit.
        x: Its input.
        stats: Statistics of ``x`` if a norm stands before the unit, or None.
        units: The source's units.
        up: Gradients of all outputs.
        slots: Gradients of the weights, or None if nobody wants them.
    """
    with torch.enable_grad():
        inputs = x.detach()[dense.x_rows]
        u = _normed(inputs, None if stats is None else stats[dense.x_rows]).requires_grad_()
        leaves = [w.detach().requires_grad_(slots is not None) for w in units[dense.unit].weights]
        chosen = [leaf[dense.w_rows].to(x.dtype) for leaf in leaves]
        out = convolve(dense.spec, functional.relu(u), chosen)
        wanted = [u, *leaves] if slots is not None else [u]
        dy = up[dense.first : dense.first + len(u)]
        du, *dws = torch.autograd.grad(out, wanted, dy)
    if slots is not None:
        for weight, dw in zip(units[dense.unit].weights, dws, strict=True):
            slots.of(weight).add_(dw)
    return torch.zeros_like(x).index_add_(0, dense.x_rows, du)
