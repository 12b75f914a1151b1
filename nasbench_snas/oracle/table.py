"""Losses of discrete architectures from the oracle's table instead of the network.

At frozen theta and batch, ``L(Z)`` of a one-hot ``Z`` is a number that the oracle knows; where the
credits ``h = dL/dZ`` are tabulated too, so is its gradient. Relaxed weights go through the network.
Draws are the same to rounding, and costs are counted as if the network had run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.oracle.exact import architecture_index
from nasbench_snas.oracle.network import BatchedLoss, count_backward


class _Lookup(torch.autograd.Function):
    """``L[index]`` with gradient ``h`` for the weights."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, losses: Tensor, credits_: Tensor) -> Tensor:
        ctx.save_for_backward(credits_)
        return losses.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (credits_,) = ctx.saved_tensors
        return gradient[..., None, None] * credits_, None, None


class TableLoss(BatchedLoss):
    """A :class:`BatchedLoss` that looks up one-hot architectures; no gradient for theta then.

    Args:
        loss: The loss on the network.
        losses: ``L`` of all architectures, shape ``(A,)``.
        credits_: ``dL/dZ`` of all architectures, shape ``(A, E, K)``, or None: one-hot weights
            that need a gradient go through the network.
    """

    def __init__(self, loss: BatchedLoss, losses: Tensor, credits_: Tensor | None) -> None:
        super().__init__(
            loss.network,
            loss.images,
            loss.labels,
            all_operations=loss.all_operations,
            criterion=loss.criterion,
            draws_per_pass=loss.draws_per_pass,
        )
        self.counter = loss.counter
        self.losses, self.credits_ = losses, credits_

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses ``(R, n)``; see :meth:`BatchedLoss.__call__`."""
        with torch.no_grad():
            hard = bool(((z == 0) | (z == 1)).all() and (z.sum(dim=-1) == 1).all())
        needs_gradient = z.requires_grad and torch.is_grad_enabled()
        if not hard or (needs_gradient and self.credits_ is None):
            return super().__call__(z, run)
        index = architecture_index(z.detach())
        losses = self.losses[index]
        used = z.detach() != 0 if run is None else run | (z.detach() != 0)
        used = torch.ones_like(used) if self.all_operations else used
        count = int(used.sum())
        self.counter.forward += count
        if self.credits_ is None or not needs_gradient:
            return losses
        h = self.credits_[index]
        h = h * used
        looked: Tensor = _Lookup.apply(z, losses, h)
        return count_backward(looked, self.counter, count)
