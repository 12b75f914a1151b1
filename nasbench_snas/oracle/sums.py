"""BN-ReLU-pooling of all sums ``u_i + t_j``, without passing over a sum more often than needed.

The last node of a cell is ``x = u + t``: ``t`` the last edge's output, ``u`` the other edges' sum.
With both centred over ``(B, H, W)``, the batch norm's variance is ``var u + var t + 2 cov(u, t)``,
a matrix product for all pairs at once. With ``s = gamma (var + eps)^-1/2 > 0`` and the threshold
``c = -beta / s``, ``relu(s x + beta) = s (max(x, c) - c)``: what remains for each pair is a sum, a
maximum and a mean, in pieces that stay in the cache. A negative ``gamma`` flips the sign of both.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

_PIECE = 1536 * 1024
"""Bytes of a piece."""


def applicable(norm: nn.BatchNorm2d, channels: slice) -> bool:
    """Whether :func:`pooled_sums` computes what ``norm`` (on ``channels``) does."""
    if not norm.training and norm.track_running_stats:
        return False
    return bool((norm.weight[channels] != 0).all()) if norm.affine else True


def pooled_sums(norm: nn.BatchNorm2d, channels: slice, u: Tensor, t: Tensor) -> Tensor:
    """Return ``mean_HW relu(norm(u_i + t_j))`` for all pairs, shape ``(I, J, B, C)``; no graph.

    Args:
        norm: The batch norm, in training mode, with a weight that is nowhere zero.
        channels: The part of its channels that ``u`` and ``t`` are.
        u: Shape ``(I, B, C, H, W)``.
        t: Shape ``(J, B, C, H, W)``.
    """
    one = torch.ones(u.shape[2], dtype=u.dtype)
    gamma = norm.weight[channels].detach() if norm.affine else one
    beta = norm.bias[channels].detach() if norm.affine else torch.zeros_like(one)
    u, t = (_centred(x, gamma.sign()) for x in (u, t))
    variance = _variances(u, t) + norm.eps
    scale = gamma.abs() * variance.rsqrt()
    threshold = -beta / scale
    out = u.new_empty((len(u), len(t), *u.shape[1:3]))
    step = max(1, _PIECE // (t[0].numel() * t.element_size()))
    buffer = torch.empty_like(t[:step])
    for j, i in product(range(0, len(t), step), range(len(u))):
        part = slice(j, j + step)
        piece = torch.add(u[i], t[part], out=buffer[: len(t[part])])
        torch.maximum(piece, threshold[i, part, None, :, None], out=piece)
        torch.sum(piece, dim=3, out=out[i, part])
    out.div_(u.shape[3]).sub_(threshold[:, :, None])
    return out.mul_(scale[:, :, None])


def _centred(x: Tensor, sign: Tensor) -> Tensor:
    """Return ``sign (x - mean)``, shape ``(P, B, C, H W)``."""
    x = x.flatten(3)
    return (x - x.mean(dim=(1, 3), keepdim=True)) * sign[:, None]


def _variances(u: Tensor, t: Tensor) -> Tensor:
    """Return the variance of every centred sum, shape ``(I, J, C)``."""
    a, b = (x.transpose(0, 2).transpose(1, 2).flatten(2) for x in (u, t))
    count = a.shape[2]
    cross = 2 * torch.bmm(a, b.transpose(1, 2))
    squares = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None]
    return ((cross + squares) / count).clamp_min(0).permute(1, 2, 0)
