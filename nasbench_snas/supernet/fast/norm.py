"""Batch norms outside the cells (stem, residual blocks, head) on the compiled kernels.

Equal to differentiating the formulas with autograd, in a third of the passes over memory: a norm is
a mix of one candidate of weight one into a node of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasbench_snas.kernels.cpu.backend import CpuKernels
from nasbench_snas.kernels.operands import Candidate, Entries


class NormFunction(torch.autograd.Function):
    """A batch norm with the statistics of the batch, row by row."""

    @staticmethod
    def forward(
        ctx: Any, kernels: CpuKernels, y: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the norm of ``y``, shape ``(G, B, H, W, C)``, its means and biased variances.

        Args:
            ctx: Autograd's.
            kernels: The compiled kernels.
            y: Images.
            gamma: Learnt scale, shape ``(C,)``.
            beta: Learnt shift, likewise.
        """
        y = y.contiguous()
        mean, var = kernels.statistics(y)
        rows = torch.zeros(len(y), dtype=torch.int64)
        norm = kernels.norm_forward(mean, var, gamma[None], beta[None], rows)
        out = torch.addcmul(norm.shift[:, None, None, None], y, norm.scale[:, None, None, None])
        ctx.kernels = kernels
        ctx.save_for_backward(y, mean, var, gamma, beta)
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _mean: Tensor, _var: Tensor) -> Any:
        """Return the gradients of ``y``, ``gamma`` and ``beta``."""
        y, mean, var, gamma, beta = ctx.saved_tensors
        count = len(y)
        row = torch.arange(count)
        zero = torch.zeros_like(row)
        entries = Entries(
            torch.stack([zero, row, row, row, row, zero], dim=1), (torch.arange(count + 1),),
            (count,),
        )  # fmt: skip
        dgamma, dbeta = torch.zeros_like(gamma)[None], torch.zeros_like(beta)[None]
        one = y.new_ones(count)
        (upstream,) = ctx.kernels.mix_backward(
            one, entries, [Candidate(y, mean, var, gamma[None], beta[None])], g.contiguous(),
            torch.zeros_like(one), [dgamma], [dbeta], True,
        )  # fmt: skip
        a, p, r = (t[:, None, None, None] for t in (upstream.a, upstream.p, upstream.r))
        return None, torch.addcmul(r, y, p).addcmul_(g, a), dgamma[0], dbeta[0]
