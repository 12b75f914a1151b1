"""The primitives in plain PyTorch: what the other backends are tested against, and what runs
without a compiler.

Backward passes differentiate the forward pass with autograd, so they are right by construction.
Runs on every device and dtype. For the formulas see :mod:`nasbench_snas.kernels.protocol`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.kernels.indices import host, index_tensor, owners
from nasbench_snas.kernels.operands import (
    EPS,
    MOMENTUM,
    Candidate,
    Entries,
    Norm,
    UnitSpec,
    Upstream,
)
from nasbench_snas.kernels.sources import SourceKernels


def depthwise(r: Tensor, weight: Tensor, spec: UnitSpec) -> Tensor:
    """Return the depthwise convolution of every group.

    Args:
        r: Activations, shape ``(G, B, H, W, C)``.
        weight: Kernels, shape ``(G, k * k, C)``.
        spec: Kernel side, dilation and stride.

    Returns:
        Shape ``(G, B, H', W', C)``.
    """
    groups, batch, height, width, channels = r.shape
    k, total = spec.kernel, groups * channels
    wide = r.permute(1, 2, 3, 0, 4).reshape(batch, height, width, total).permute(0, 3, 1, 2)
    taps = weight.transpose(1, 2).reshape(total, 1, k, k)
    padding = spec.dilation * (k // 2)
    y = functional.conv2d(wide, taps, None, spec.stride, padding, spec.dilation, total)
    y = y.permute(0, 2, 3, 1)
    return y.reshape(*y.shape[:3], groups, channels).permute(3, 0, 1, 2, 4)


def shifted_grids(r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels (2h, 2w) and (2h + 1, 2w + 1); an odd side is padded by zeros."""
    height, width = r.shape[2:4]
    moved = functional.pad(r, (0, 0, 0, width % 2, 0, height % 2))
    return r[:, :, ::2, ::2], moved[:, :, 1::2, 1::2]


def pointwise(d: Tensor, weight: Tensor) -> Tensor:
    """Return ``d @ weight`` for every group: ``(G, B, H, W, C_in)`` by ``(G, C_in, C_out)``."""
    return torch.bmm(d.flatten(1, 3), weight).view(*d.shape[:4], weight.shape[2])


def convolve(spec: UnitSpec, r: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return the convolutions of ``r``, shape ``(G, B, H, W, C)``; ``weights`` have ``G`` rows."""
    if spec.kind == "point":
        return pointwise(r[:, :, :: spec.stride, :: spec.stride], weights[0])
    if spec.kind == "depthwise":
        return pointwise(depthwise(r, weights[0], spec), weights[1])
    if spec.kind == "shifted":
        split = weights[0].shape[2] - weights[0].shape[2] // 2
        first, second = shifted_grids(r)
        parts = (
            pointwise(first, weights[0][:, :, :split]),
            pointwise(second, weights[0][:, :, split:]),
        )
        return torch.cat(parts, dim=-1)
    rows = []
    for group in range(r.shape[0]):
        h = r[group].permute(0, 3, 1, 2)
        for conv, weight in zip(spec.convs, weights, strict=True):
            steps = [spec.stride if on else 1 for on in conv.strided]
            groups = h.shape[1] if conv.depthwise else 1
            h = functional.conv2d(
                h, weight[group], None, steps, conv.padding, conv.dilation, groups
            )
        rows.append(h.permute(0, 2, 3, 1))
    return torch.stack(rows)


def combine(upstream: Upstream, y: Tensor | None, rows: int) -> Tensor:
    """Return the upstream gradient as a tensor with ``rows`` rows."""
    terms = upstream.a[:, None, None, None] * upstream.g[upstream.index]
    if upstream.mask is not None:
        terms = terms * upstream.mask[:, :, None, None, None]
    owner = owners(upstream.starts)
    if owner is None:
        total = terms
    else:
        total = terms.new_zeros((rows, *terms.shape[1:])).index_add_(0, owner, terms)
    if upstream.p is not None and y is not None:
        total = total + upstream.p[:, None, None, None] * y
    if upstream.r is not None:
        total = total + upstream.r[:, None, None, None]
    return total


def pool(kind: str, stride: int, x: Tensor) -> Tensor:
    """Return the 3x3 pooling of ``x``, shape ``(G, B, H, W, C)``; padding is not counted."""
    flat = x.flatten(0, 1).permute(0, 3, 1, 2)
    if kind == "max":
        y = functional.max_pool2d(flat, 3, stride, 1)
    else:
        y = functional.avg_pool2d(flat, 3, stride, 1, count_include_pad=False)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:2], *y.shape[2:], y.shape[1])


def coefficients(
    z: Tensor, columns: Sequence[Tensor], candidate: Candidate
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return ``mu``, ``1 / sigma``, ``gamma``, ``beta`` (each ``(q, C)``) and ``z`` (``(q, 1)``).

    They belong to the entries of one candidate, of which ``columns`` is the table turned round.
    """
    stat, position, edge = columns[2], columns[4], columns[5]
    weight = z[position][:, None]
    shape = (len(stat), candidate.y.shape[-1])
    one, zero = weight.new_ones(shape), weight.new_zeros(shape)
    normal = candidate.mean is not None and candidate.var is not None
    mean = candidate.mean[stat] if candidate.mean is not None else zero
    inverse = (candidate.var[stat] + EPS).rsqrt() if candidate.var is not None else one
    gamma = candidate.gamma[edge] if candidate.gamma is not None and normal else one
    beta = candidate.beta[edge] if candidate.beta is not None and normal else zero
    return mean, inverse, gamma, beta, weight


def own_entries(entries: Entries) -> list[tuple[tuple[Tensor, ...], slice]]:
    """Return for each candidate the columns of its part of the table, and its entries."""
    result: list[tuple[tuple[Tensor, ...], slice]] | None = entries.cache.get("own entries")
    if result is None:
        columns, first = entries.table.t().contiguous(), 0
        result = entries.cache["own entries"] = []
        for count in entries.counts:
            own = columns[:, first : first + count].unbind(0)
            result.append((own, slice(first, first + count)))
            first += count
    return result


def targets_of(entries: Entries) -> list[Tensor]:
    """Return for each candidate the targets of its entries."""
    if "targets" not in entries.cache:
        column = entries.table[:, 3].contiguous()
        entries.cache["targets"] = list(column.split(entries.counts))
    targets: list[Tensor] = entries.cache["targets"]
    return targets


class ReferenceKernels:
    """Backend ``reference``; see :class:`~nasbench_snas.kernels.protocol.Kernels`."""

    name = "reference"

    sources: SourceKernels | None = None

    def indices(self, values: Sequence[int], device: object) -> Tensor:
        """Return ``values`` on ``device``."""
        return index_tensor(values, device)

    def gradient_of(self, upstream: Upstream, y: Tensor) -> Tensor:
        """Return the upstream gradient of ``y`` as a tensor."""
        return combine(upstream, y, y.shape[0])

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance, both ``(G, C)``, in two passes."""
        var, mean = torch.var_mean(y.flatten(1, -2), dim=1, correction=0)
        return mean, var

    def unit_forward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        statistics: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ``y`` and its statistics."""
        r = functional.relu(self._normalised(x, norm))
        y = convolve(spec, r[x_rows], [weight[w_rows] for weight in weights]).contiguous()
        return (y, *self.statistics(y)) if statistics else (y, None, None)

    def unit_backward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        y: Tensor,
        upstream: Upstream,
        dx: Tensor,
        overwrite: bool,
        dweights: Sequence[Tensor] | None,
    ) -> Tensor | None:
        """Add gradients; return the sums for the norm before the unit."""
        dy = self.gradient_of(upstream, y)
        with torch.enable_grad():
            u = self._normalised(x, norm).detach().requires_grad_()
            leaves = [weight.detach().requires_grad_(dweights is not None) for weight in weights]
            rows = [weight[w_rows] for weight in leaves]
            out = convolve(spec, functional.relu(u)[x_rows], rows)
            wanted = [u, *leaves] if dweights is not None else [u]
            du, *dws = torch.autograd.grad(out, wanted, dy)
        if overwrite:
            dx.copy_(du)
        else:
            dx += du
        for total, dw in zip(dweights or (), dws, strict=True):
            total += dw
        if norm is None:
            return None
        du, centred = du.flatten(1, 3), x.flatten(1, 3) - norm.mean[:, None]
        return torch.stack([du.sum(1), (du * centred).sum(1)]).double()

    def norm_forward(
        self, mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None, rows: Tensor
    ) -> Norm:
        """Return a batch norm as scale and shift."""
        inverse = (var + EPS).rsqrt()
        if gamma is None or beta is None:
            return Norm(inverse, -mean * inverse, mean, inverse)
        scale = inverse * gamma[rows]
        return Norm(scale, torch.addcmul(beta[rows], mean, scale, value=-1), mean, inverse)

    def norm_backward(
        self,
        norm: Norm,
        sums: Tensor,
        rows: Tensor,
        dgamma: Tensor | None,
        dbeta: Tensor | None,
        values: int,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Add small gradients; return ``p`` and ``r``."""
        total, hat = sums[0], sums[1] * norm.inverse
        if dgamma is not None and dbeta is not None:
            dgamma.index_add_(0, rows, hat.to(dgamma.dtype))
            dbeta.index_add_(0, rows, total.to(dbeta.dtype))
        if not values:
            return None, None
        slope = norm.scale * norm.inverse * hat / -values
        r = norm.scale * total / -values - slope * norm.mean
        return slope.to(norm.scale.dtype), r.to(norm.scale.dtype)

    def pool_forward(
        self, kind: str, stride: int, x: Tensor, statistics: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the pooling and its statistics."""
        y = pool(kind, stride, x)
        return (y, *self.statistics(y)) if statistics else (y, None, None)

    def pool_backward(
        self, kind: str, stride: int, x: Tensor, y: Tensor, upstream: Upstream, dx: Tensor
    ) -> None:
        """Add the gradient of the pooling's input."""
        dy = self.gradient_of(upstream, y)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            out = pool(kind, stride, leaf)
            (du,) = torch.autograd.grad(out, leaf, dy)
        dx += du

    def add_upstream(self, upstream: Upstream, dx: Tensor) -> None:
        """Add the gradient itself."""
        dx += combine(upstream, None, dx.shape[0])

    def mix_forward(
        self, z: Tensor, entries: Entries, candidates: Sequence[Candidate], out: Tensor
    ) -> None:
        """Add all entries to their targets."""
        for (columns, chosen), candidate in zip(own_entries(entries), candidates, strict=True):
            mean, inverse, gamma, beta, weight = coefficients(z, columns, candidate)
            a = weight * gamma * inverse
            b = weight * beta - a * mean
            terms = torch.addcmul(b[:, None, None, None], a[:, None, None, None],
                                  candidate.y[columns[1]])  # fmt: skip
            if entries.mask is not None:
                terms = terms * entries.mask[chosen][:, :, None, None, None]
            out.index_add_(0, columns[3], terms)

    def mix_backward(
        self,
        z: Tensor,
        entries: Entries,
        candidates: Sequence[Candidate],
        g: Tensor,
        dz: Tensor,
        dgammas: Sequence[Tensor | None],
        dbetas: Sequence[Tensor | None],
        batch_statistics: bool,
    ) -> list[Upstream]:
        """Add small gradients; return each candidate's upstream gradient."""
        result = []
        for number, (columns, chosen) in enumerate(own_entries(entries)):
            candidate = candidates[number]
            mean, inverse, gamma, beta, weight = coefficients(z, columns, candidate)
            row, target, edge = columns[1], columns[3], columns[5]
            mask = None if entries.mask is None else entries.mask[chosen]
            seen = g[target] if mask is None else g[target] * mask[:, :, None, None, None]
            y = candidate.y[row]
            total = seen.flatten(1, 3).sum(1)
            centred = y.flatten(1, 3) - mean[:, None]
            hat = (seen.flatten(1, 3) * centred).sum(1) * inverse
            dz.index_add_(0, columns[4], (gamma * hat + beta * total).sum(1))
            dgamma, dbeta = dgammas[number], dbetas[number]
            if dgamma is not None and dbeta is not None:
                dgamma.index_add_(0, edge, weight * hat)
                dbeta.index_add_(0, edge, weight * total)
            p = r = None
            a = weight * gamma * inverse
            if candidate.mean is not None and batch_statistics:
                values = y[0].numel() // y.shape[-1]
                zeros = a.new_zeros((candidate.y.shape[0], a.shape[1]))
                slope = zeros.index_add(0, row, -a * inverse * hat / values)
                p = slope
                r = zeros.index_add(0, row, -a * total / values)
                r = r.index_add(0, row, a * inverse * hat * mean / values)
            result.append(Upstream(g, target, entries.starts[number], a, p, r, mask))
        return result

    def update_running(
        self,
        running: tuple[Tensor, Tensor, Tensor],
        mean: Tensor,
        var: Tensor,
        rows: Tensor,
        w_rows: Tensor,
        count: int,
    ) -> None:
        """Update running statistics; updates of different edges are made at once."""
        unbiased = var * (count / (count - 1))
        edges, first = host(w_rows), 0
        while first < len(edges):
            last = first + 1
            while last < len(edges) and edges[last] not in edges[first:last]:
                last += 1
            row, edge = rows[first:last], w_rows[first:last]
            for total, new in ((running[0], mean), (running[1], unbiased)):
                total[edge] = total[edge].mul_(1 - MOMENTUM).add_(new[row], alpha=MOMENTUM)
            running[2][edge] += 1
            first = last

    # Implements SNAS (5, 22).
    def concrete_forward(self, logits: Tensor, noise: Tensor, tau: float) -> Tensor:
        """Return the concrete sample."""
        return ((logits + noise) / tau).softmax(dim=-1)

    # Implements SNAS (6, 24).
    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``."""
        return z * (g - (g * z).sum(dim=-1, keepdim=True)) / tau

    @staticmethod
    def _normalised(x: Tensor, norm: Norm | None) -> Tensor:
        if norm is None:
            return x
        return torch.addcmul(norm.shift[:, None, None, None], x, norm.scale[:, None, None, None])
