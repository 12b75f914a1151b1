"""Plain PyTorch that folds norms into matrix products: what runs where nothing is compiled.

A candidate ends in a 1x1 convolution ``y = W^T d`` of a depthwise stage ``d``, a batch norm and its
weight ``z``. The batch statistics of ``y`` follow from those of ``d``,

    mean(y) = W^T mean(d),        var(y) = diag(W^T Cov(d) W),

so that the candidate's share of its node is one matrix product ``(d - mean(d)) (z gamma / sigma
W)``: neither ``y`` nor a normalised tensor is ever formed. ``d`` is centred before its covariance
is taken, so nothing cancels where ``|mean| >> std``. With the inner products ``G = (d - mean)^T g``
the backward pass needs no ``y`` either:

    <g, y_hat> = diag(W^T G) / sigma,    dL/dd = g (W a)^T + (d - mean) W p W^T + W r,
    dL/dW = G a + N Cov(d) W p.

Everything else is that of :class:`~nasbench_snas.kernels.reference.ReferenceKernels`, with explicit
backward passes. Runs on every device and dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.kernels.depthwise_backward import depthwise_gradients
from nasbench_snas.kernels.indices import consecutive, host, index_tensor, owners
from nasbench_snas.kernels.operands import Candidate, Entries, Fold, Norm, UnitSpec, Upstream
from nasbench_snas.kernels.reference import (
    ReferenceKernels,
    coefficients,
    combine,
    depthwise,
    own_entries,
)


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Return ``x[rows]``, without a copy where the rows follow one another or are all the same."""
    index = host(rows)
    if consecutive(rows):
        return x[index[0] : index[0] + len(index)]
    if index.count(index[0]) == len(index):
        return x[index[0] : index[0] + 1].expand(len(index), *x.shape[1:])
    return x[rows]


def give(total: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add ``values[i]`` to ``total[rows[i]]``; the adjoint of :func:`take`."""
    index = host(rows)
    if consecutive(rows):
        total[index[0] : index[0] + len(index)] += values
    elif index.count(index[0]) == len(index):
        total[index[0]] += values.sum(0)
    else:
        total.index_add_(0, rows, values)


def wide(x: Tensor) -> Tensor:
    """Return groups ``(G, B, H, W, C)`` side by side as channels, ``(B, G * C, H, W)``."""
    groups, batch, height, width, channels = x.shape
    rows = x.permute(1, 2, 3, 0, 4).reshape(batch, height, width, groups * channels)
    return rows.permute(0, 3, 1, 2)


def depthwise_backward(r: Tensor, dy: Tensor, taps: Tensor, spec: UnitSpec) -> tuple[Tensor, ...]:
    """Return the gradients of ``r``, shape ``(G, B, H, W, C)``, and of ``taps``, ``(G, k * k, C)``.

    Args:
        r: The input.
        dy: The gradient of the output.
        taps: The kernels.
        spec: Kernel side, dilation and stride.
    """
    groups, channels, k = len(r), r.shape[-1], spec.kernel
    kernels = taps.transpose(1, 2).reshape(groups * channels, 1, k, k)
    dx, dw = depthwise_gradients(wide(r), wide(dy), kernels, spec.stride, spec.dilation)
    dx = dx.permute(0, 2, 3, 1).unflatten(-1, (groups, channels)).permute(3, 0, 1, 2, 4)
    return dx, dw.view(groups, channels, k * k).transpose(1, 2)


def weight_rows(entries: Entries, number: int, fold: Fold) -> Tensor:
    """Return the row of a folded candidate's weights for each of its entries."""
    key = f"weight rows {number}"
    if key not in entries.cache:
        of_row, (columns, _) = host(fold.rows), own_entries(entries)[number]
        values = [of_row[row] for row in host(columns[1])]
        entries.cache[key] = index_tensor(values, fold.rows.device)
    found: Tensor = entries.cache[key]
    return found


class FoldedKernels(ReferenceKernels):
    """Backend ``reference`` as it runs; see :class:`~nasbench_snas.kernels.protocol.Kernels`."""

    def folds(self, spec: UnitSpec) -> bool:
        """Whether a candidate's last unit is left to the mix."""
        return spec.kind == "depthwise"

    def folded_forward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        statistics: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Return ``d``, mean and variance of ``W^T d``, and the covariance of ``d``.

        ``d`` is centred if ``statistics`` are wanted; shapes as in ``unit_forward``.
        """
        r = functional.relu(self._normalised(x, norm))
        d = depthwise(take(r, x_rows), take(weights[0], w_rows), spec).contiguous()
        if not statistics:
            return d, None, None, None
        flat, weight = d.flatten(1, 3), take(weights[1], w_rows)
        mean = flat.mean(1, keepdim=True)
        flat -= mean
        covariance = torch.bmm(flat.transpose(1, 2), flat) / flat.shape[1]
        var = (weight * torch.bmm(covariance, weight)).sum(1)
        return d, torch.bmm(mean, weight)[:, 0], var, covariance

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
        """Add gradients; of a folded unit, ``y`` is the depthwise stage."""
        if spec.kind != "depthwise":
            return super().unit_backward(
                spec, x, norm, weights, x_rows, w_rows, y, upstream, dx, overwrite, dweights
            )
        u = self._normalised(x, norm)
        r, taps = take(functional.relu(u), x_rows), take(weights[0], w_rows)
        if upstream.matrices is not None:
            dd, dpoint = self._folded_gradient(upstream, y), upstream.matrices[2]
        else:
            dy = self.gradient_of(upstream, y).flatten(1, 3)
            dd = torch.bmm(dy, take(weights[1], w_rows).transpose(1, 2)).view(
                *y.shape[:-1], weights[0].shape[2]
            )
            if dweights is not None:
                d = depthwise(r, taps, spec).flatten(1, 3)
                dpoint = torch.bmm(d.transpose(1, 2), dy)
        dr, dtaps = depthwise_backward(r, dd, taps, spec)
        if dweights is not None:
            give(dweights[0], w_rows, dtaps)
            give(dweights[1], w_rows, dpoint)
        if len(dr) > len(u) == 1:
            dr = dr.sum(0, keepdim=True)
        elif len(dr) != len(u) or not consecutive(x_rows, 0):
            dr = torch.zeros_like(u).index_add_(0, x_rows, dr)
        du: Tensor = torch.ops.aten.threshold_backward(dr, u, 0)
        if overwrite:
            dx.copy_(du)
        else:
            dx += du
        if norm is None:
            return None
        du, centred = du.flatten(1, 3), x.flatten(1, 3) - norm.mean[:, None]
        return torch.stack([du.sum(1), (du * centred).sum(1)]).double()

    @staticmethod
    def _folded_gradient(upstream: Upstream, d: Tensor) -> Tensor:
        """Return the gradient of ``d``; see ``Upstream.matrices``."""
        if upstream.matrices is None:
            raise TypeError("the upstream gradient of a folded candidate has matrices")
        first, second, _ = upstream.matrices
        terms = torch.bmm(take(upstream.g, upstream.index).flatten(1, 3), first)
        owner = owners(upstream.starts)
        if owner is None:
            total = terms
        else:
            total = terms.new_zeros((len(d), *terms.shape[1:])).index_add_(0, owner, terms)
        if second is not None:
            total.baddbmm_(d.flatten(1, 3), second)
        if upstream.r is not None:
            total += upstream.r[:, None]
        return total.view_as(d)

    def gradient_of(self, upstream: Upstream, y: Tensor) -> Tensor:
        """Return the upstream gradient of ``y`` as a tensor."""
        if len(upstream.index) != len(y) or not consecutive(upstream.index, 0):
            return combine(upstream, y, len(y))
        if len(upstream.g) != len(y) or upstream.mask is not None:
            return combine(upstream, y, len(y))
        if owners(upstream.starts) is not None:
            return combine(upstream, y, len(y))
        a = upstream.a[:, None, None, None]
        if upstream.p is None or upstream.r is None:
            return upstream.g * a
        total = torch.addcmul(upstream.r[:, None, None, None], y, upstream.p[:, None, None, None])
        return total.addcmul_(upstream.g, a)

    def mix_forward(
        self, z: Tensor, entries: Entries, candidates: Sequence[Candidate], out: Tensor
    ) -> None:
        """Add all entries to their targets, folded ones by one product each."""
        plain = [candidate for candidate in candidates if candidate.fold is None]
        if len(plain) == len(candidates):
            super().mix_forward(z, entries, candidates, out)
            return
        for number, (columns, chosen) in enumerate(own_entries(entries)):
            candidate = candidates[number]
            fold, target = candidate.fold, columns[3]
            if fold is None:
                super().mix_forward(z, self._only(entries, number, chosen), [candidate], out)
                continue
            mean, inverse, gamma, beta, weight = coefficients(z, columns, candidate)
            a = weight * gamma * inverse
            product = take(fold.weight, weight_rows(entries, number, fold)) * a[:, None]
            d, flat = take(candidate.y, columns[1]).flatten(1, 3), out.flatten(1, 3)
            shift = weight * beta
            if fold.covariance is None:  # evaluation: ``d`` is not centred, and ``mean`` fixed
                shift = shift - a * mean
            index = host(target)
            if consecutive(target):
                own = flat[index[0] : index[0] + len(index)]
                own.baddbmm_(d, product)
                if candidate.beta is not None or fold.covariance is None:
                    own += shift[:, None]
            else:
                flat.index_add_(0, target, torch.baddbmm(shift[:, None], d, product))

    @staticmethod
    def _only(entries: Entries, number: int, chosen: slice) -> Entries:
        """Return the entries of one candidate alone."""
        key = f"only {number}"
        if key not in entries.cache:
            entries.cache[key] = entries.table[chosen]
        mask = None if entries.mask is None else entries.mask[chosen]
        count = chosen.stop - chosen.start
        return Entries(entries.cache[key], (entries.starts[number],), (count,), mask)

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
        if all(candidate.fold is None for candidate in candidates):
            return super().mix_backward(
                z, entries, candidates, g, dz, dgammas, dbetas, batch_statistics
            )
        total = g.flatten(1, 3).sum(1)
        result: list[Upstream] = []
        for number, (columns, chosen) in enumerate(own_entries(entries)):
            small = dgammas[number], dbetas[number]
            candidate = candidates[number]
            if candidate.fold is None:
                own = self._only(entries, number, chosen)
                result += super().mix_backward(
                    z, own, [candidate], g, dz, [small[0]], [small[1]], batch_statistics
                )
            else:
                known = entries.starts[number], weight_rows(entries, number, candidate.fold)
                result.append(self._folded(z, columns, known, candidate, g, total, dz, small))
        return result

    @staticmethod
    def _folded(
        z: Tensor, columns: Sequence[Tensor], known: tuple[Tensor, Tensor], candidate: Candidate,
        g: Tensor, totals: Tensor, dz: Tensor, small: Any,
    ) -> Upstream:  # fmt: skip
        """Return the upstream gradient of a folded candidate; add to the small ones.

        Args:
            z: Weights, flat.
            columns: The candidate's entries, six times shape ``(q,)``.
            known: Its ``starts``, and the row of the weights of each entry.
            candidate: It.
            g: Gradients of the targets.
            totals: Their sums over images and pixels, shape ``(targets, C)``.
            dz: Gradient of ``z``, added to.
            small: Gradients of ``gamma`` and ``beta`` (or None), added to.
        """
        fold, (_, row, _, target, position, edge) = candidate.fold, columns
        if fold is None:
            raise TypeError("the candidate is not folded")
        starts, of_entry = known
        mean, inverse, gamma, beta, weight = coefficients(z, columns, candidate)
        d, flat = candidate.y.flatten(1, 3), take(g, target).flatten(1, 3)
        own, total = take(fold.weight, of_entry), take(totals, target)
        products = torch.bmm(take(d, row).transpose(1, 2), flat)
        hat = (own * products).sum(1)
        if fold.covariance is None:
            hat = hat - mean * total
        hat = hat * inverse
        dz.index_add_(0, position, (gamma * hat + beta * total).sum(1))
        for buffer, value in zip(small, (weight * hat, weight * total), strict=True):
            if buffer is not None:
                buffer.index_add_(0, edge, value)
        a = weight * gamma * inverse
        rows, square = len(d), fold.weight.shape[1:]
        dweight = a.new_zeros(rows, *square)
        give(dweight, row, products * a[:, None])
        first = (own * a[:, None]).transpose(1, 2)
        if fold.covariance is None:
            return Upstream(g, target, starts, a, matrices=(first, None, dweight))
        values = d.shape[1]
        slope, constant = a.new_zeros(2, rows, a.shape[1])
        give(slope, row, -a * inverse * hat / values)
        give(constant, row, -a * total / values)
        by_row = take(fold.weight, fold.rows)
        scaled = by_row * slope[:, None]
        dweight.baddbmm_(fold.covariance, scaled, alpha=values)
        second = torch.bmm(scaled, by_row.transpose(1, 2))
        r = torch.bmm(by_row, constant[:, :, None])[:, :, 0]
        return Upstream(g, target, starts, a, None, r, matrices=(first, second, dweight))
